"""`run.plot`: the charts of a run on matplotlib's axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from genz_ppl.diagnostics.checks import coverage
from genz_ppl.diagnostics.class_measures import calibration
from genz_ppl.diagnostics.report.facts import ReportData
from genz_ppl.diagnostics.report.page import needed
from genz_ppl.diagnostics.report.steps import steps_of
from genz_ppl.discovery.reporting import gather
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import OptionError, did_you_mean
from genz_ppl.inference.posterior import with_uncertainty
from genz_ppl.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)


class Plots:
    """Charts of a run. ax: the axes to draw on, by default those of a new figure; the axes are returned.

    target: one of several by name (of classes "<target> is <class>"). Raise OptionError where matplotlib is missing. What they
    draw is computed once, which takes seconds where there are many items.
    """

    def __init__(self, run: RunView) -> None:
        self._run = run

    def curve(self, ax: Axes | None = None) -> Axes:
        """Error on training and test items by change to the list of features, and their number."""
        curve = self._run.curve
        steps = steps_of(curve, self._run.features)
        return self._draw(ax, lambda figures: figures.CURVE, "learning_curve", steps, str(curve["metric"].iloc[-1]))

    def effects(self, ax: Axes | None = None, target: str | None = None) -> Axes:
        """What yes instead of no to each question adds, in the target's units, with 90 % intervals; the strongest first.

        Of several targets without `target` how far each question moves all of them together.
        """
        data = self._data
        return self._draw(ax, lambda figures: figures.height_of(data.features), "effects", data, self._position(target))

    def predicted(self, ax: Axes | None = None, target: str | None = None) -> Axes:
        """Predicted against actual targets, training and test items."""
        return self._draw(ax, lambda figures: figures.SQUARE, "predicted_actual", self._data, self._position(target))

    def calibration(self, ax: Axes | None = None) -> Axes:
        """How often predictive intervals hold the target, by level; of classes how often what was given a probability came."""
        if self._data.kind == "classes":
            points = {side: [point[:2] for point in calibration(*_all_of(self._data, side))] for side in ("train", "test")}
            words = "probability predicted", "share that happened"
        else:
            train, test = self._run.fitted(), self._run.fitted(side="test")
            sure = replace(train, state=with_uncertainty(train.state, train.data, train.seed))
            parts = {"train": sure, "test": test.with_parameters_of(sure)}
            points = {side: list(coverage(part, _LEVELS).items()) for side, part in parts.items()}
            words = "level of the predictive interval", "share of targets inside"
        return self._draw(ax, lambda figures: figures.SQUARE, "calibration", points, *words)

    @cached_property
    def _data(self) -> ReportData:
        return gather(self._run)

    def _position(self, target: str | None) -> int | None:
        names = [column.name for column in self._data.columns]
        if target is not None and target not in names:
            raise OptionError(f"target: there is no {target!r}; {did_you_mean(target, names)}known are {', '.join(names[:12])}")
        return None if target is None else names.index(target)

    def _draw(self, ax: Axes | None, height: Callable[[Any], float], chart: str, *arguments: Any) -> Axes:
        needed("matplotlib", "plot")
        from matplotlib import pyplot, rc_context

        from genz_ppl.diagnostics.report import figures

        if ax is not None:
            getattr(figures, chart)(ax, *arguments)
            return ax
        # Made outside the context: what a notebook's backend sets when it is loaded must outlive that.
        figure = pyplot.figure(figsize=(figures.WIDTH, height(figures)), layout="constrained")
        with rc_context(figures.STYLE):
            return self._draw(figure.add_subplot(), height, chart, *arguments)


def _all_of(data: ReportData, side: str) -> list[FloatArray]:
    """What came and what was predicted, of all columns together."""
    return [np.concatenate([getattr(column, what)[side] for column in data.columns]) for what in ("actual", "predicted")]
