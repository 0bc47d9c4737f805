"""The charts of a report: how its run went and what it cost, here, and what was fitted, in `plots_fit`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.diagnostics.class_measures import CLASS_MEASURES
from genz_ppl.diagnostics.report.chart import Chart, chart, escaped, line, numbers, table_of
from genz_ppl.diagnostics.report.charts_classes import calibration_chart, confusion_chart
from genz_ppl.diagnostics.report.charts_fit import check_chart, dimension_chart, effect_chart, fit_chart, residual_chart
from genz_ppl.diagnostics.report.charts_groups import group_chart
from genz_ppl.diagnostics.report.facts import ReportData
from genz_ppl.diagnostics.report.words import metric_words, number, percent
from genz_ppl.output import plural


def charts(data: ReportData) -> dict[str, Chart]:
    """Every chart of the report by name; those without anything to show are left out."""
    classes = data.kind == "classes"
    fit = calibration_chart(data) if classes else fit_chart(data)
    found = {"curve": learning_curve(data), "fit": fit, "residuals": residual_chart(data)}
    if classes:
        found["confusion"] = confusion_chart(data)
    if data.features and len(data.columns) > 1:
        found["effects"] = effect_chart(data)
    if len(data.columns) > 2 and not classes:
        found["dimensions"] = dimension_chart(data)
    if data.groups is not None:
        found["groups"] = group_chart(data, data.groups)
    if data.facts.baseline:
        found["baseline"] = baseline_chart(data)
    if not classes:
        found["check"] = check_chart(data)
    found["cost"] = cost_chart(data.facts.curve)
    return found


def learning_curve(data: ReportData) -> Chart:
    """Errors and number of features by step; triangles up where a feature came, down where one went."""
    steps = data.steps
    x = list(range(len(steps)))
    test, train, known = (numbers([getattr(s, name) for s in steps]) for name in ("test_error", "train_error", "known_error"))
    unseen = {"mode": "lines+markers"} if None in test else {}
    best, most = _baseline_error(data), max(len(s.active) for s in steps)
    traces = [
        {
            **line("questions", x, [len(s.active) for s in steps], "@@soft", yaxis="y2", hoverinfo="skip"),
            "fill": "tozeroy",
            "fillcolor": "@@fill",
            "line": {"color": "@@soft", "width": 1, "shape": "hv"},
        },
        line("training items", x, train, "@@train", line={"dash": "dot"}, hovertemplate="train %{y}<extra></extra>"),
        line("unseen items", x, test, "@@test", hovertemplate="unseen %{y}<extra></extra>", **unseen),
        _marks("added", [i for i, s in enumerate(steps) if s.added], known, "triangle-up", "@@blue", data),
        _marks("removed", [i for i, s in enumerate(steps) if s.removed and not s.added], known, "triangle-down", "@@red", data),
    ]
    if best is not None:
        ends = [0, max(1, len(steps) - 1)]
        traces.append(line("baseline, best", ends, [best, best], "@@purple", line={"dash": "dash"}, hoverinfo="skip"))
    layout = {
        "xaxis": {"title": {"text": "change to the list of questions"}, **_whole(len(steps))},
        "yaxis": {"title": {"text": escaped(metric_words(data.metric))}, "rangemode": "normal", "zeroline": False},
        "yaxis2": {
            "title": {"text": "questions"},
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "dtick": max(1, math.ceil(most / 5)),
            "range": [0, 1.05 * max(1, most)],
            "zeroline": False,
        },
        "hovermode": "x unified",
    }
    first, last, metric = steps[0], steps[-1], metric_words(data.metric)
    alt = (
        f"Learning curve over {len(steps) - 1} changes: {metric} on unseen items goes from {number(first.test_error)} "
        f"to {number(last.test_error)}, on training items from {number(first.train_error)} to {number(last.train_error)}, "
        f"with {plural(len(last.active), 'question')} at the end."
    )
    rows = [
        [
            number(i),
            s.event,
            "; ".join([f"+ {text}" for text in s.added] + [f"− {text}" for text in s.removed]),
            number(len(s.active)),
            number(s.train_error),
            number(s.test_error),
        ]
        for i, s in enumerate(steps)
    ]
    headings = ("change", "event", "questions added (+) and removed (−)", "questions", "training error", "error on unseen items")
    return chart("Learning curve", alt, layout, table_of(headings, rows), traces=traces)


def _whole(most: int) -> dict[str, Any]:
    """Ticks at whole numbers, also where there are few."""
    return {"dtick": 1} if most <= 12 else {}


def _marks(name: str, at: list[int], y: list[float | None], symbol: str, colour: str, data: ReportData) -> dict[str, Any]:
    texts = []
    for i in at:
        step = data.steps[i]
        parts = [f"+ {escaped(text, 60)}" for text in step.added[:4]] + [f"− {escaped(text, 60)}" for text in step.removed[:4]]
        texts.append("<br>".join(parts))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": at,
        "y": [y[i] for i in at],
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": symbol, "color": colour, "size": 9, "line": {"color": "@@paper", "width": 1}},
    }


def _baseline_error(data: ReportData) -> float | None:
    errors = [error for _, error in data.facts.baseline if math.isfinite(error)]
    if not errors:
        return None
    return max(errors) if data.higher_is_better else min(errors)


def baseline_chart(data: ReportData) -> Chart:
    """Error on unseen items by number of questions: of this run and of the baseline as it is pruned."""
    by_count = {len(step.active): step.test_error for step in data.steps if not math.isnan(step.test_error)}
    own = sorted(by_count.items())
    other = sorted(data.facts.baseline)
    traces = [
        line("this run", [n for n, _ in own], numbers([e for _, e in own]), "@@test", mode="lines+markers"),
        line("baseline", [n for n, _ in other], numbers([e for _, e in other]), "@@purple", line={"dash": "dash"}),
    ]
    layout = {
        "xaxis": {"title": {"text": "number of questions"}, "rangemode": "tozero", **_whole(max(n for n, _ in own + other))},
        "yaxis": {"title": {"text": escaped(metric_words(data.metric))}},
    }
    alt = f"{metric_words(data.metric)} on unseen items by number of questions, this run against the baseline."
    theirs = dict(other)
    rows = [[number(n), number(by_count.get(n, math.nan)), number(theirs.get(n, math.nan))] for n in sorted({*by_count, *theirs})]
    return chart("Against the baseline", alt, layout, table_of(("questions", "this run", "baseline"), rows), traces=traces)


COSTS = {
    "answers_asked": "answers asked",
    "proposals_asked": "requests for questions",
    "calls": "calls",
    "tokens_in": "tokens read",
    "tokens_out": "tokens written",
    "cost": "cost in dollars",
    "seconds": "seconds",
}


def cost_chart(curve: pd.DataFrame, step: str = "step", shape: str = "hv") -> Chart:
    """What the run had cost after each step. step: the column that counts them; shape: of the line between them."""
    shown = [name for name in COSTS if name in ("answers_asked", "seconds") or float(np.nan_to_num(curve[name]).max()) > 0]
    options = []
    for name in shown:
        trace = line(COSTS[name], curve[step].tolist(), numbers(curve[name].to_numpy()), "@@test")
        trace |= {"line": {"color": "@@test", "width": 2, "shape": shape}, "fill": "tozeroy", "fillcolor": "@@fill"}
        options.append({"label": COSTS[name], "traces": [trace], "layout": {"yaxis": {"title": {"text": COSTS[name]}}}})
    last = curve.iloc[-1]
    ticks = {} if step == "step" else _whole(len(curve))
    rows = [[COSTS[name], number(float(last[name]))] for name in COSTS]
    alt = f"Cumulative cost by {step}; in the end {number(float(last['answers_asked']))} answers."
    layout = {"xaxis": {"title": {"text": f"{step} of the run"}, **ticks}, "yaxis": {"rangemode": "tozero"}}
    return chart("What the run cost", alt, layout, table_of(("what", "in the end"), rows), options=options)


def score_rows(data: ReportData) -> list[list[str]]:
    """Metrics by side, with those of guessing."""
    names = pd.unique(pd.Series([name for side in data.facts.scores.values() for name in side])).tolist()
    names = list(CLASS_MEASURES) if data.kind == "classes" else names  # the others are about numbers
    sides = ("test", "guess_test", "train", "guess_train")

    def shown(name: str, side: str) -> str:
        return (percent if "accuracy" in name else number)(data.facts.scores[side].get(name, math.nan))

    return [[metric_words(name), *(shown(name, side) for side in sides)] for name in names]
