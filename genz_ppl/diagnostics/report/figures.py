"""Charts on matplotlib's axes: for notebooks, and as pdf and png for papers, without a display and the same for the same run."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genz_ppl.diagnostics.report.facts import FeatureFacts, ReportData
from genz_ppl.diagnostics.report.steps import Step
from genz_ppl.diagnostics.report.words import metric_words, shortened
from genz_ppl.diagnostics.summary import LARGER_IS_BETTER
from genz_ppl.inference.feature_effects import NINE_IN_TEN

BLUE, RED, TEAL, INK, GREY, PURPLE = "#1d5fc4", "#b3261e", "#0b7268", "#1b2330", "#8a919e", "#6d3bd1"
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters
    "text.parse_math": False,  # a dollar sign in a question is a dollar sign
}
WIDTH = 6.5
CURVE, SQUARE = 3.2, 4.2
# Sides of the split: name, colour, and the size of a point.
SIDES = (("train", TEAL, 7), ("test", INK, 16))
# Files without dates are the same every time.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


def save_figures(data: ReportData, folder: Path) -> list[Path]:
    """learning_curve, predicted_actual, and with features feature_weights and error_rates. Raises OSError."""
    drawn: dict[str, tuple[float, Callable[[Any], None]]] = {
        "learning_curve": (CURVE, lambda axes: learning_curve(axes, data.steps, data.metric, data.facts.baseline)),
        "predicted_actual": (SQUARE, lambda axes: predicted_actual(axes, data)),
    }
    if data.features:
        height = height_of(data.features)
        drawn["feature_weights"] = height, lambda axes: effects(axes, data)
        drawn["error_rates"] = height, lambda axes: error_rates(axes, data.features)
    paths = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Letters that the font lacks (emoji) are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        for name, (height, draw) in drawn.items():
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            draw(figure.add_subplot())
            FigureCanvasAgg(figure)
            for kind, metadata in METADATA.items():
                paths.append(folder / f"{name}.{kind}")
                figure.savefig(paths[-1], format=kind, dpi=200, metadata=metadata)
    return paths


def learning_curve(axes: Any, steps: Sequence[Step], metric: str, baseline: Sequence[tuple[int, float]] = ()) -> None:
    """Errors by change, additions and removals marked, number of features on the right, the baseline's best as a line."""
    x = np.arange(len(steps))
    test, known = (np.array([getattr(step, name) for step in steps]) for name in ("test_error", "known_error"))
    added = [i for i, step in enumerate(steps) if step.added]
    removed = [i for i, step in enumerate(steps) if step.removed and not step.added]
    right = axes.twinx()
    right.fill_between(x, [len(step.active) for step in steps], step="post", color=BLUE, alpha=0.08, linewidth=0)
    right.set_ylabel("number of features", color=GREY)
    right.set_ylim(bottom=0)
    right.spines["right"].set_visible(True)
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(x, [step.train_error for step in steps], color=TEAL, linestyle=":", label="train")
    axes.plot(x, test, color=INK, marker="o" if np.isnan(test).any() else None, markersize=3, label="test")
    axes.plot(added, known[added], linestyle="", marker="^", color=BLUE, markersize=4.5, label="added")
    axes.plot(removed, known[removed], linestyle="", marker="v", color=RED, markersize=4.5, label="removed")
    if baseline:
        errors = [error for _, error in baseline]
        best = max(errors) if metric in LARGER_IS_BETTER else min(errors)
        axes.axhline(best, color=PURPLE, linestyle="--", label="0-shot baseline, best")
    for axis in (axes.xaxis, right.yaxis):
        axis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("change to the list of features")
    axes.set_ylabel(metric_words(metric))
    axes.legend(loc="best", ncols=2)


def effects(axes: Any, data: ReportData, target: int | None = None) -> None:
    """What yes instead of no to each question adds to a target, with 90 % intervals where they are known.

    target: the number of a column; None: the only one, or of several the strength over all of them.
    """
    if target is None and len(data.columns) > 1:
        unit = data.unit or ("standard deviations of the targets" if data.kind == "numbers" else "all columns together")
        label = f"strength ({unit})"
    else:
        label = f"effect on {data.columns[target or 0].name}{f' ({data.unit})' if data.unit else ''}"
    if target is None:
        values, lower, upper = (np.array([getattr(f, name) for f in data.features]) for name in ("effect", "lower", "upper"))
    else:
        values, width = np.array([(f.effects[target], NINE_IN_TEN * f.effect_sd[target]) for f in data.features]).reshape(-1, 2).T
        lower, upper = values - width, values + width
    y, colours = _rows(axes, data.features), [RED if value < 0 else BLUE for value in values]
    known = np.isfinite(lower)
    axes.hlines(y, np.where(known, lower, 0.0), np.where(known, upper, values), colours)
    axes.scatter(values, y, s=22, c=colours, zorder=3)
    axes.set_xlabel(shortened(label, 80), parse_math=False)


def error_rates(axes: Any, features: Sequence[FeatureFacts]) -> None:
    """Share of wrong answers of every feature."""
    values = [f.error_rate for f in features]
    axes.barh(_rows(axes, features), values, color=BLUE, height=0.6)
    axes.set_xlim(0, max(0.1, 1.05 * max(values)))
    axes.set_xlabel("error rate of the answers")


def height_of(features: Sequence[FeatureFacts]) -> float:
    """Inches of a chart with a row for each feature."""
    return 0.9 + sum(0.24 + 0.16 * text.count("\n") for text in _labels(features))


def _labels(features: Sequence[FeatureFacts]) -> list[str]:
    return ["\n".join(textwrap.wrap(shortened(f.text, 150), 58)) for f in features]


def _rows(axes: Any, features: Sequence[FeatureFacts]) -> Any:
    """A row for each feature, the first on top; returns where they are."""
    y = np.arange(len(features))
    axes.set_yticks(y, _labels(features), fontsize=7.5, parse_math=False)
    axes.set_ylim(len(features) - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    return y


def predicted_actual(axes: Any, data: ReportData, target: int | None = None) -> None:
    """Predicted against actual values of all columns or of one, training and test items."""
    columns = data.columns if target is None else data.columns[target : target + 1]
    parts = []
    for side, colour, size in SIDES:
        predicted = np.concatenate([column.predicted[side] for column in columns])
        actual = np.concatenate([column.actual[side] for column in columns])
        there = ~np.isnan(actual)
        parts += [predicted[there], actual[there]]
        # Many points are drawn as pixels: a pdf of 70 000 circles takes minutes to print.
        axes.scatter(*parts[-2:], s=size, color=colour, alpha=0.5, linewidth=0, label=side, rasterized=True)
    values = np.concatenate(parts)
    axes.axline((float(values.min()),) * 2, slope=1, color=GREY, linestyle="--", linewidth=0.8)
    axes.set_xlabel("predicted probability" if data.kind == "classes" else "predicted")
    axes.set_ylabel("what came (1) or not (0)" if data.kind == "classes" else "actual")
    axes.legend(loc="best")


def calibration(axes: Any, points: Mapping[str, Sequence[tuple[float, float]]], expected: str, found: str) -> None:
    """Shares that were found, by side of the split, against those that were expected; on the diagonal both agree."""
    axes.axline((0.0, 0.0), slope=1, color=GREY, linestyle="--", linewidth=0.8)
    for side, colour, _ in SIDES:
        axes.plot(*zip(*points[side], strict=True), marker="o", markersize=4, color=colour, label=side)
    axes.set_xlabel(expected)
    axes.set_ylabel(found)
    axes.legend(loc="best")
