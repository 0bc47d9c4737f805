"""Charts of a fit: predictions, residuals, effects by target, and data that the model makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from genz_ppl.diagnostics.report.chart import Chart, chart, escaped, line, numbers, table_of
from genz_ppl.diagnostics.report.facts import Column, ReportData
from genz_ppl.diagnostics.report.words import number, percent, shortened
from genz_ppl.inference.feature_effects import NINE_IN_TEN
from genz_ppl.types import FloatArray

# Points of all scatter charts together: more make the file large and show nothing more.
MOST_POINTS = 16_000
MOST_ROWS = 100
# Bars of a histogram of probabilities.
BINS = 20


def fit_chart(data: ReportData) -> Chart:
    """Predicted against actual values."""
    options = [_scatter(data, column) for column in data.columns]
    axes = {
        "xaxis": {"title": {"text": "predicted"}, "zeroline": False},
        "yaxis": {"title": {"text": "actual"}, "zeroline": False},
    }
    alt = "Predicted against actual values, one point an item; on the diagonal a prediction is exact."
    alt += f" R² on unseen items: {number(data.facts.scores['test']['r2'])}."
    return chart("Predicted against actual", alt, axes, _worst(data), options=options)


def _scatter(data: ReportData, column: Column) -> dict[str, Any]:
    traces, ends = [], []
    for side, name, colour, symbol in (
        ("train", "training items", "@@train", "circle-open"),
        ("test", "unseen items", "@@test", "circle"),
    ):
        there = np.flatnonzero(~np.isnan(column.actual[side]))
        chosen = there[:: 1 + (len(there) * 2 * len(data.columns) - 1) // MOST_POINTS]
        x, y = column.predicted[side][chosen], column.actual[side][chosen]
        ends += [x, y]
        point = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": numbers(x),
            "y": numbers(y),
            "marker": {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.75},
        }
        if len(data.columns) == 1:
            point["text"] = [escaped(data.item_ids[side][row], 40) for row in chosen.tolist()]
            point["hovertemplate"] = "%{text}<br>predicted %{x}<br>actual %{y}<extra></extra>"
        traces.append(point)
    values = np.concatenate(ends)
    ends_of_line = numbers([values.min(), values.max()])
    exact = line("exact", ends_of_line, ends_of_line, "@@muted", line={"width": 1, "dash": "dash"}, hoverinfo="skip")
    return {"label": shortened(column.name, 80), "traces": [exact, *traces]}


def _worst(data: ReportData) -> dict[str, Any]:
    """The unseen items that are predicted worst, or for many targets every target's scores."""
    if len(data.columns) > 1:
        rows = [[c.name, number(c.r2("train")), number(c.r2("test")), number(_rmse(c, "test"))] for c in data.columns]
        return table_of(("target", "R² on training items", "R² on unseen items", "root mean squared error, unseen"), rows)
    column = data.columns[0]
    error = np.abs(column.actual["test"] - column.predicted["test"])
    order = [row for row in np.argsort(-error, kind="stable").tolist() if not math.isnan(error[row])][:MOST_ROWS]
    rows = [
        [
            shortened(data.item_ids["test"][row], 60),
            number(column.predicted["test"][row], 4),
            number(column.actual["test"][row], 4),
            number(column.actual["test"][row] - column.predicted["test"][row], signed=True),
        ]
        for row in order
    ]
    note = f"The {len(rows)} unseen items that are predicted worst." if len(error) > len(rows) else ""
    return table_of(("unseen item", "predicted", "actual", "actual − predicted"), rows, note)


def _rmse(column: Column, side: str) -> float:
    error = column.actual[side] - column.predicted[side]
    return float(np.sqrt(np.nanmean(error**2))) if not np.isnan(error).all() else math.nan


def residual_chart(data: ReportData) -> Chart:
    """Distribution of what predictions miss; where y is a class, of its probability by what came."""
    options, rows = [], []
    for column in data.columns:
        parts = _parts(data, column)
        edges = _common_edges([values for _, values, _, _ in parts], data.kind == "classes")
        middle = numbers((edges[:-1] + edges[1:]) / 2)
        traces = []
        for name, values, colour, dash in parts:
            counts = np.histogram(values, edges)[0] / max(1, len(values))
            trace = line(name, middle, numbers(counts), colour, line={"dash": dash, "shape": "hvh"})
            filled = {} if dash == "dot" else {"fill": "tozeroy", "fillcolor": "@@fill"}
            traces.append({**trace, **filled, "hovertemplate": "%{x}: %{y:.1%}<extra></extra>"})
            rows.append([column.name, name, number(len(values)), *_quantiles(values)])
        options.append({"label": shortened(column.name, 80), "traces": traces})
    of = "predicted probability" if data.kind == "classes" else "actual − predicted"
    layout = {
        "xaxis": {"title": {"text": of}},
        "yaxis": {"title": {"text": "share of items"}, "tickformat": ".0%", "rangemode": "tozero"},
    }
    title = "Predicted probabilities by what came" if data.kind == "classes" else "Residuals"
    alt = f"Histogram: {of}, as shares of the items of each group. Quantiles are in the table."
    table = table_of(("target", "items", "number", "5 %", "25 %", "median", "75 %", "95 %"), rows)
    return chart(title, alt, layout, table, options=options)


def _parts(data: ReportData, column: Column) -> list[tuple[str, FloatArray, str, str]]:
    found = []
    if data.kind == "classes":
        there = ~np.isnan(column.actual["test"])
        actual, predicted = column.actual["test"][there], column.predicted["test"][there]
        found = [("unseen, it came", predicted[actual > 0.5], "@@blue", "solid")]
        return [*found, ("unseen, it did not", predicted[actual <= 0.5], "@@train", "dot")]
    for side, name, colour, pattern in (
        ("train", "training items", "@@train", "dot"),
        ("test", "unseen items", "@@test", "solid"),
    ):
        error = column.actual[side] - column.predicted[side]
        found.append((name, error[~np.isnan(error)], colour, pattern))
    return found


def _common_edges(parts: Sequence[FloatArray], unit: bool) -> FloatArray:
    if unit:
        return np.linspace(0, 1, BINS + 1)
    values = np.concatenate(parts)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    edges: FloatArray = np.linspace(low, high, 22)
    return edges


def _quantiles(values: FloatArray) -> list[str]:
    if not len(values):
        return ["–"] * 5
    return [number(float(q)) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]


def effect_chart(data: ReportData) -> Chart:
    """What every question does to one target (or to the probability of one class), and its strength over all of them."""
    x = [f"{f.number}" for f in data.features]
    texts = [escaped(f.text) for f in data.features]
    unit = f"yes instead of no adds{f' ({data.unit})' if data.unit else ''}"
    strength = data.unit or ("standard deviations of the targets" if data.kind == "numbers" else "all columns together")
    options = [_bars("all targets: strength", x, [f.strength for f in data.features], texts, strength)]
    for position, column in enumerate(data.columns):
        bars = _bars(shortened(column.name, 80), x, [f.effects[position] for f in data.features], texts, unit)
        sd = [NINE_IN_TEN * f.effect_sd[position] for f in data.features]
        if np.isfinite(sd).all():
            bars["traces"][0]["error_y"] = {"type": "data", "array": numbers(sd), "color": "@@muted", "thickness": 1}
        options.append(bars)
    rows = [[number(f.number), f.text, *(number(value, signed=True) for value in f.effects)] for f in data.features]
    headings = ("#", "question", *(shortened(column.name, 60) for column in data.columns))
    alt = "What yes instead of no to each question adds to a target; the strongest over all targets is question 1."
    layout = {"xaxis": {"title": {"text": "question (number in the table)"}, "type": "category"}}
    return chart("What each question does to each target", alt, layout, table_of(headings, rows), options=options)


def _bars(label: str, x: list[str], y: list[float], texts: list[str], unit: str) -> dict[str, Any]:
    trace = {
        "type": "bar",
        "x": x,
        "y": numbers(y),
        "text": texts,
        "width": min(0.7, 0.1 + 0.06 * len(x)),
        "textposition": "none",
        "hovertemplate": "%{text}<br>%{y}<extra></extra>",
        "marker": {"color": "@@blue"},
    }
    return {"label": label, "traces": [trace], "layout": {"yaxis": {"title": {"text": unit}}}}


def dimension_chart(data: ReportData) -> Chart:
    """R² of every target."""
    order = sorted(data.columns, key=lambda c: -(c.r2("test") if math.isfinite(c.r2("test")) else -math.inf))
    names = [escaped(c.name, 60) for c in order]
    x = list(range(1, len(order) + 1))
    traces: list[dict[str, Any]] = []
    for side, name, colour, symbol in (
        ("train", "training items", "@@train", "circle-open"),
        ("test", "unseen items", "@@test", "circle"),
    ):
        trace = {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": numbers([c.r2(side) for c in order])}
        marker = {"color": colour, "symbol": symbol, "size": 8}
        traces.append({**trace, "marker": marker, "text": names, "hovertemplate": "%{text}: %{y:.2f}<extra></extra>"})
    rows = [[c.name, number(c.r2("train")), number(c.r2("test")), number(_rmse(c, "test"))] for c in order]
    layout = {
        "xaxis": {"title": {"text": "targets, the best explained first"}},
        "yaxis": {"title": {"text": "R² (1 is perfect, 0 is the mean)"}, "zeroline": True},
    }
    best = shortened(order[0].name, 60)
    ends = number(order[0].r2("test")), number(order[-1].r2("test"))
    alt = f"R² of {len(order)} targets on unseen items, from {ends[0]} ({best}) to {ends[1]}."
    headings = ("target", "R² on training items", "R² on unseen items", "root mean squared error, unseen")
    return chart("How well each target is explained", alt, layout, table_of(headings, rows), traces=traces)


def check_chart(data: ReportData) -> Chart:
    """Histograms of the training targets and of data that the model makes; of counts as hanging rootograms."""
    counts = data.kind == "counts"
    options = [_rootogram(column) if counts else _histogram(column) for column in data.columns]
    rows = [
        [str(row["target"]), str(row["statistic"]), number(row["observed"]), number(row["drawn"]), percent(row["p"])]
        for row in data.check.to_dict("records")
    ]
    layout = {
        "xaxis": {"title": {"text": "target"}},
        "yaxis": {"title": {"text": "training items"}, **({"zeroline": True} if counts else {"rangemode": "nonnegative"})},
        "bargap": 0.06,
    }
    alt = "Histogram of the training targets with that of data drawn from the model, and the range of nine in ten such data sets."
    if counts:
        alt = "Rootogram: bars of how many items have a count hang, as roots, from the numbers that are expected of the model."
    headings = ("target", "statistic", "in the data", "in data from the model, mean", "draws above the data")
    return chart("Does the model make data like these?", alt, layout, table_of(headings, rows), options=options)


def _histogram(column: Column) -> dict[str, Any]:
    middle = numbers((column.edges[:-1] + column.edges[1:]) / 2)
    observed = {"type": "bar", "name": "the data", "x": middle, "y": numbers(column.observed)}
    drawn = line("data from the model", middle, numbers(column.drawn), "@@blue", mode="lines+markers")
    reach = {"array": numbers(column.high - column.drawn), "arrayminus": numbers(column.drawn - column.low)}
    drawn["error_y"] = {"type": "data", "symmetric": False, **reach, "color": "@@blue", "thickness": 1.5}
    return {"label": shortened(column.name, 80), "traces": [{**observed, "marker": {"color": "@@soft"}}, drawn]}


def _rootogram(column: Column) -> dict[str, Any]:
    """Roots show small numbers beside large ones; where a bar ends above 0 items are missing, below 0 there are too many."""
    middle = numbers((column.edges[:-1] + column.edges[1:]) / 2)
    observed, drawn, low, high = (np.sqrt(getattr(column, name)) for name in ("observed", "drawn", "low", "high"))
    bars = {
        "type": "bar",
        "name": "the data",
        "x": middle,
        "y": numbers(observed),
        "base": numbers(drawn - observed),
        "customdata": numbers(column.observed),
        "hovertemplate": "%{x}: %{customdata} items<extra></extra>",
        "marker": {"color": "@@soft"},
    }
    expected = line("expected of the model", middle, numbers(drawn), "@@blue", mode="lines+markers")
    expected |= {"customdata": numbers(column.drawn), "hovertemplate": "%{x}: %{customdata} expected<extra></extra>"}
    # The range of the draws need not hold their mean, where most of them have none.
    reach = {"array": numbers(np.maximum(high - drawn, 0)), "arrayminus": numbers(np.maximum(drawn - low, 0))}
    expected["error_y"] = {"type": "data", "symmetric": False, **reach, "color": "@@blue", "thickness": 1.5}
    roots = list(range(0, 1 + math.ceil(max(observed.max(), high.max())), max(1, math.ceil(drawn.max() / 6))))
    ticks = {"tickvals": roots, "ticktext": [number(root**2) for root in roots]}
    return {"label": shortened(column.name, 80), "traces": [bars, expected], "layout": {"yaxis": ticks}}
