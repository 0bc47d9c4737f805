"""Charts of targets that are classes: how far probabilities can be believed, and which classes are taken for which."""

from __future__ import annotations

import math
from typing import Any

from genz_ppl.diagnostics.class_measures import ClassTarget, calibration, confusion
from genz_ppl.diagnostics.report.chart import Chart, chart, escaped, line, numbers, table_of
from genz_ppl.diagnostics.report.facts import Column, ReportData
from genz_ppl.diagnostics.report.words import number, percent, shortened

# Classes whose counts are written into the fields of a confusion matrix.
MOST_LABELLED = 12
SIDES = (("train", "training items", "@@train", "dot"), ("test", "unseen items", "@@test", "solid"))


def calibration_chart(data: ReportData) -> Chart:
    """How often what was given a probability came, class by class."""
    rows = [
        [column.name, name, percent(predicted), number(count), percent(came)]
        for column in data.columns
        for side, name, _, _ in SIDES
        for predicted, came, count in calibration(column.actual[side], column.predicted[side])
    ]
    axes = {"xaxis": {"title": {"text": "probability predicted"}}, "yaxis": {"title": {"text": "share that happened"}}}
    alt = "Predicted probabilities, in tenths, against the share of items with the class; on the diagonal both agree."
    table = table_of(("class", "items", "probability predicted", "number", "happened"), rows)
    return chart("Calibration", alt, axes, table, options=[_curves(column) for column in data.columns])


def _curves(column: Column) -> dict[str, Any]:
    traces = [line("perfect", [0, 1], [0, 1], "@@muted", line={"width": 1, "dash": "dash"}, hoverinfo="skip")]
    for side, name, colour, dash in SIDES:
        bins = calibration(column.actual[side], column.predicted[side])
        trace = line(name, numbers([b[0] for b in bins]), numbers([b[1] for b in bins]), colour, line={"dash": dash})
        sizes = [6 + 2 * math.sqrt(b[2]) if b[2] < 200 else 34 for b in bins]
        texts = [f"{b[2]} items" for b in bins]
        trace |= {"mode": "lines+markers", "marker": {"size": sizes, "color": colour, "opacity": 0.8}, "text": texts}
        traces.append({**trace, "hovertemplate": "%{text}: predicted %{x:.2f}, happened %{y:.2f}<extra></extra>"})
    return {"label": shortened(column.name, 80), "traces": traces}


def confusion_chart(data: ReportData) -> Chart:
    """Which classes came where which were the most probable ones: of unseen items, and of training items to choose."""
    options, rows = [], []
    for side, name, _, _ in reversed(SIDES):
        for target in data.classes[side]:
            of = "" if len(data.target_names) == 1 else f"{target.name}: "
            ticks = {"tickvals": list(range(len(target.labels))), "ticktext": [escaped(label, 24) for label in target.labels]}
            axes = {"xaxis": ticks, "yaxis": ticks}
            options.append({"label": shortened(f"{of}{name}", 80), "traces": [_matrix(target)], "layout": axes})
            rows += [
                [f"{of}{name}", came, taken, number(count)]
                for came, counts in zip(target.labels, confusion(target).tolist(), strict=True)
                for taken, count in zip(target.labels, counts, strict=True)
                if count
            ]
    layout = {
        "xaxis": {"title": {"text": "most probable class"}, "showgrid": False},
        "yaxis": {"title": {"text": "class that came"}, "autorange": "reversed", "showgrid": False},
    }
    alt = "Confusion matrix: classes that came, down, by the most probable ones, across; what is right lies on the diagonal."
    table = table_of(("items", "class that came", "most probable class", "number"), rows)
    return chart("Which class is taken for which", alt, layout, table, options=options)


def _matrix(target: ClassTarget) -> dict[str, Any]:
    """Shares of each class's items as colours, their numbers as texts."""
    counts, names = confusion(target), [escaped(label, 40) for label in target.labels]
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    trace = {
        "type": "heatmap",
        # By number: names may be alike when shortened, and plotly would put them into one row.
        "x": list(range(len(names))),
        "y": list(range(len(names))),
        "z": [numbers(row) for row in shares],
        "text": counts.tolist(),
        "customdata": [[[came, taken] for taken in names] for came in names],
        "hovertemplate": "%{customdata[0]}, taken for %{customdata[1]}: %{text} (%{z:.0%})<extra></extra>",
        "colorscale": [[0, "@@card"], [1, "@@blue"]],
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    return {**trace, "texttemplate": "%{text}"} if len(names) <= MOST_LABELLED else trace
