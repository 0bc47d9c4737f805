"""The charts of a report for papers: pdf and png, drawn without a display and the same for the same run."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genz_ppl.diagnostics.report.facts import FeatureFacts, ReportData
from genz_ppl.diagnostics.report.words import metric_name, shortened

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
# Files without dates are the same every time.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


def save_figures(data: ReportData, folder: Path) -> list[Path]:
    """learning_curve, predicted_actual, and with features feature_weights and error_rates. Raises OSError."""
    drawn: dict[str, Callable[[ReportData], Figure]] = {"learning_curve": learning_curve, "predicted_actual": predicted_actual}
    if data.features:
        drawn |= {"feature_weights": feature_weights, "error_rates": error_rates}
    paths = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Letters that the font lacks (emoji) are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        for name, draw in drawn.items():
            figure = draw(data)
            FigureCanvasAgg(figure)
            for kind, metadata in METADATA.items():
                paths.append(folder / f"{name}.{kind}")
                figure.savefig(paths[-1], format=kind, dpi=200, metadata=metadata)
    return paths


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def learning_curve(data: ReportData) -> Figure:
    """Errors by change, additions and removals marked, number of features on the right, the baseline's best as a line."""
    figure, axes = _figure(3.2)
    steps, x = data.steps, np.arange(len(data.steps))
    test = np.array([step.test_error for step in steps])
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
    axes.plot(x, test, color=INK, label="test")
    axes.plot(added, test[added], linestyle="", marker="^", color=BLUE, markersize=4.5, label="added")
    axes.plot(removed, test[removed], linestyle="", marker="v", color=RED, markersize=4.5, label="removed")
    if data.facts.baseline:
        errors = [error for _, error in data.facts.baseline]
        best = max(errors) if data.higher_is_better else min(errors)
        axes.axhline(best, color=PURPLE, linestyle="--", label="0-shot baseline, best")
    axes.set_xlabel("change to the list of features")
    axes.set_ylabel(metric_name(data))
    axes.legend(loc="best", ncols=2)
    return figure


def feature_weights(data: ReportData) -> Figure:
    """Effect of every feature on the target; with several targets its strength over all of them."""
    if len(data.columns) > 1:
        unit = "change of probabilities" if data.kind == "classes" else "standard deviations of the targets"
        return _bars(data.features, [f.strength for f in data.features], f"strength ({unit})")
    unit = f"change of P({data.columns[0].name})" if data.kind == "classes" else f"effect on {data.columns[0].name}"
    spread = [f.effect_sd[0] for f in data.features if f.effect_sd]
    return _bars(data.features, [f.effects[0] for f in data.features], shortened(unit, 80), spread)


def error_rates(data: ReportData) -> Figure:
    """Share of wrong answers of every feature."""
    return _bars(data.features, [f.error_rate for f in data.features], "error rate of the answers", smallest_end=0.1)


def _bars(
    features: Sequence[FeatureFacts], values: list[float], label: str, spread: Sequence[float] = (), smallest_end: float = 0.0
) -> Figure:
    texts = ["\n".join(textwrap.wrap(shortened(f.text, 150), 58)) for f in features]
    lines = sum(1 + text.count("\n") for text in texts)
    figure, axes = _figure(0.9 + 0.16 * lines + 0.08 * len(texts))
    y = np.arange(len(values))
    error = {"xerr": spread, "error_kw": {"elinewidth": 0.8, "ecolor": INK}} if spread else {}
    axes.barh(y, values, color=[RED if value < 0 else BLUE for value in values], height=0.6, **error)
    axes.set_yticks(y, texts, fontsize=7.5)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    if min(values) >= 0:
        axes.set_xlim(0, max(smallest_end, 1.05 * max(values)))
    axes.set_xlabel(label)
    return figure


def predicted_actual(data: ReportData) -> Figure:
    """Predicted against actual values of all columns, training and test items."""
    figure, axes = _figure(4.2)
    parts = []
    for side, colour, label in (("train", TEAL, "train"), ("test", INK, "test")):
        predicted = np.concatenate([column.predicted[side] for column in data.columns])
        actual = np.concatenate([column.actual[side] for column in data.columns])
        there = ~np.isnan(actual)
        parts += [predicted[there], actual[there]]
        # Many points are drawn as pixels: a pdf of 70 000 circles takes minutes to print.
        axes.scatter(*parts[-2:], s=7, color=colour, alpha=0.5, linewidth=0, label=label, rasterized=True)
    values = np.concatenate(parts)
    axes.axline((float(values.min()),) * 2, slope=1, color=GREY, linestyle="--", linewidth=0.8)
    axes.set_xlabel("predicted probability" if data.kind == "classes" else "predicted")
    axes.set_ylabel("what came (1) or not (0)" if data.kind == "classes" else "actual")
    axes.legend(loc="best")
    return figure
