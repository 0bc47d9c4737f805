"""The charts of a report on two sides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genz_ppl.diagnostics.report.chart import Chart, chart, escaped, line, numbers, table_of
from genz_ppl.diagnostics.report.charts_run import cost_chart
from genz_ppl.diagnostics.report.pair_facts import PAIR_PART_NAMES, PairPoints, PairReportData
from genz_ppl.diagnostics.report.pair_words import location
from genz_ppl.diagnostics.report.words import METRICS, metric_words, number, shortened
from genz_ppl.types import FloatArray

# Points of a scatter chart, and bins of pairs whose mean is compared.
MOST_POINTS = 2_500
BINS = 10
# Rows and columns of cells with their number written in, at most: more cannot be read on a phone.
MOST_LABELLED = (14, 8)
_LINES = {"train": ("@@train", "dot"), "held_out": ("@@test", "solid"), "new_rows": ("@@blue", "solid")}
_LINES |= {"new_columns": ("@@red", "dash"), "new_both": ("@@purple", "solid")}
#: Columns of the table of scores: a metric, and what it is beside.
_SCORES = ("log_loss", "deviance", "rmse")
_MORE_SCORES = {"r2": "R²", "auc": "AUC", "log_likelihood": "log likelihood"}


def pair_charts(data: PairReportData) -> dict[str, Chart]:
    """Every chart of the report by name; those without anything to show are left out."""
    found = {"stages": stage_chart(data)}
    if data.affinity is not None:
        found["affinity"] = affinity_chart(data, data.affinity)
    if data.points:
        found["predictions"] = prediction_chart(data)
    found["cost"] = cost_chart(data.curve.assign(fit=range(len(data.curve))), "fit", "linear")
    return found


def affinity_chart(data: PairReportData, affinity: FloatArray) -> Chart:
    """A heat map, row features down and column features across; red is below zero, blue above."""
    names = [[f"{side.letter}{feature.number}" for feature in side.features] for side in data.sides]
    texts = [[escaped(feature.text, 80) for feature in side.features] for side in data.sides]
    most = float(np.abs(affinity).max()) or 1.0
    trace = {
        "type": "heatmap",
        "x": names[1],
        "y": names[0],
        "z": [numbers(row) for row in affinity],
        "text": [[_to_the_same_decimal(value, most) for value in row] for row in affinity.tolist()],
        "customdata": [[f"{row}<br>{column}" for column in texts[1]] for row in texts[0]],
        "hovertemplate": "%{y} with %{x}: %{z:+.3g}<br>%{customdata}<extra></extra>",
        "colorscale": [[0, "@@red"], [0.5, "@@card"], [1, "@@blue"]],
        "zmin": -most,
        "zmax": most,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 0.9, "tickfont": {"color": "@@muted"}},
    }
    if affinity.shape[0] <= MOST_LABELLED[0] and affinity.shape[1] <= MOST_LABELLED[1]:
        trace["texttemplate"] = "%{text}"
    axis = {"type": "category", "showgrid": False, **({"dtick": 1} if max(affinity.shape) <= 24 else {})}
    layout = {
        "xaxis": {"title": {"text": "feature of the columns"}, **axis},
        "yaxis": {"title": {"text": "feature of the rows"}, "autorange": "reversed", **axis},
    }
    across = [f"{name} {shortened(f.text, 40)}" for name, f in zip(names[1], data.columns.features, strict=True)]
    rows = [
        [f"{name} {feature.text}", *(number(value, signed=True) for value in values)]
        for name, feature, values in zip(names[0], data.rows.features, affinity.tolist(), strict=True)
    ]
    i, j = np.unravel_index(int(np.abs(affinity).argmax()), affinity.shape)
    alt = (
        f"Heat map of {affinity.shape[0]} row features by {affinity.shape[1]} column features: what {location(data)} gains "
        f"where both are true. The largest is {number(float(affinity[i, j]), signed=True)}, of {names[0][i]} with {names[1][j]}."
    )
    return chart(
        "Which row feature goes with which column feature",
        alt,
        layout,
        table_of(("feature of the rows", *across), rows),
        traces=[trace],
    )


def _to_the_same_decimal(value: float, most: float) -> str:
    """The largest has two digits; what is too small for that is 0."""
    decimals = min(6, max(0, 1 - math.floor(math.log10(most))))
    shown = f"{value:+.{decimals}f}"
    return "0" if float(shown) == 0 else shown.replace("-", "−")


def stage_chart(data: PairReportData) -> Chart:
    """Errors of each part of the pairs after every fit, with the numbers of features."""
    curve = data.curve.to_dict("records")
    places = [f"fit {i}<br>{row['n_row_features']} + {row['n_column_features']}" for i, row in enumerate(curve)]
    places[0] = "no features" if places else ""
    traces, shown = [], []
    for part, (colour, dash) in _LINES.items():
        errors = numbers([_finite(row.get(f"{part}_error")) for row in curve])
        if all(error is None for error in errors):
            continue
        name = PAIR_PART_NAMES[part][1]
        trace = line(name, places, errors, colour, mode="lines+markers", line={"dash": dash}, marker={"color": colour, "size": 7})
        traces.append({**trace, "hovertemplate": f"{name}: %{{y}}<extra></extra>"})
        shown.append((part, name, errors))
    layout = {
        "xaxis": {"type": "category", "title": {"text": "fit, and features of rows + columns"}},
        "yaxis": {"title": {"text": escaped(metric_words(data.metric))}},
        "hovermode": "x unified",
    }
    headings = ("stage", "features of the rows", "of the columns", "bound", *(name for _, name, _ in shown))
    rows = [
        [
            "factorisation without features" if row["what"] == "factorise" else f"{row['what']} fit {i}",
            number(row["n_row_features"]),
            number(row["n_column_features"]),
            number(float(row["bound"]), 5),
            *(number(_finite(row.get(f"{part}_error"))) for part, _, _ in shown),
        ]
        for i, row in enumerate(curve)
    ]
    ends = [f"{name} from {number(_finite(e[0]))} to {number(_finite(e[-1]))}" for _, name, e in shown]
    alt = f"{metric_words(data.metric)} of pairs by stage: {', '.join(ends)}."
    return chart("Errors by stage", alt, layout, table_of(headings, rows), traces=traces)


def _finite(value: Any) -> float:
    return math.nan if value is None else float(value)


def prediction_chart(data: PairReportData) -> Chart:
    """Predictions of each part against what came, and both as means of tenths of the pairs."""
    classes = data.likelihood == "bernoulli"
    options, rows = [], []
    for part, points in sorted(data.points.items(), key=lambda found: found[0] == "train"):
        name = PAIR_PART_NAMES[part][1]
        bins = _bins(points)
        rows += [[name, number(n), number(predicted, 4), number(actual, 4)] for predicted, actual, n in bins]
        options.append({"label": f"pairs {name}", "traces": _prediction_traces(points, bins, classes)})
    layout = {
        "xaxis": {"title": {"text": "predicted probability of a one" if classes else "predicted"}},
        "yaxis": {"title": {"text": "share of ones" if classes else "actual"}},
    }
    alt = "Pairs in ten groups by their prediction: mean prediction against mean of what came; on the diagonal both agree."
    note = "Ten groups of as many pairs each, from the smallest prediction to the largest."
    table = table_of(("pairs", "number", "predicted, mean", "came, mean"), rows, note)
    return chart("Calibration" if classes else "Predicted against actual", alt, layout, table, options=options)


def _prediction_traces(points: PairPoints, bins: list[tuple[float, float, int]], classes: bool) -> list[dict[str, Any]]:
    chosen = slice(None, None, 1 + (len(points.actual) - 1) // MOST_POINTS)
    x, y = points.predicted[chosen], points.actual[chosen]
    means = numbers([one[0] for one in bins]), numbers([one[1] for one in bins])
    seen = np.array([0.0, 1.0]) if classes else np.concatenate([x, y])
    ends = numbers([seen.min(), seen.max()])
    exact = line("exact", ends, ends, "@@muted", line={"width": 1, "dash": "dash"}, hoverinfo="skip")
    binned = line("means of tenths", *means, "@@blue", mode="lines+markers", marker={"color": "@@blue", "size": 8})
    binned["hovertemplate"] = "predicted %{x}, came %{y}<extra></extra>"
    if classes:
        return [exact, binned]
    cloud = {
        "type": "scatter",
        "mode": "markers",
        "name": "pairs",
        "x": numbers(x),
        "y": numbers(y),
        "marker": {"color": "@@train", "symbol": "circle-open", "size": 5, "opacity": 0.6},
        "hovertemplate": "predicted %{x}, actual %{y}<extra></extra>",
    }
    return [cloud, exact, binned]


def _bins(points: PairPoints) -> list[tuple[float, float, int]]:
    """Mean prediction, mean of what came and number, of bins of as many pairs each in the order of their predictions."""
    order = np.argsort(points.predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return [(float(points.predicted[part].mean()), float(points.actual[part].mean()), len(part)) for part in parts]


def pair_score_table(data: PairReportData) -> dict[str, Any]:
    """Metrics by part, with those of guessing."""
    parts = [part for part in ("held_out", "new_rows", "new_columns", "new_both", "train") if data.score(part, "n_pairs") > 0]
    errors = [name for name in _SCORES if any(name in data.scores[part] for part in parts)]
    more = [name for name in _MORE_SCORES if any(name in data.scores[part] for part in parts)]
    headings = ["pairs", "number", *(word for name in errors for word in (METRICS[name], "guess"))]
    rows = []
    for part in parts:
        found = [number(data.score(part, name)) for error in errors for name in (error, f"guess_{error}")]
        found += [number(data.score(part, name)) for name in more]
        rows.append([PAIR_PART_NAMES[part][1], number(data.score(part, "n_pairs")), *found])
    return table_of([*headings, *(_MORE_SCORES[name] for name in more)], rows)
