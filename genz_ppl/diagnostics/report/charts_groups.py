"""The chart of groups that intercept and covariate weights vary by."""

from __future__ import annotations

from typing import Any

import numpy as np

from genz_ppl.diagnostics.report.chart import Chart, chart, escaped, numbers, table_of
from genz_ppl.diagnostics.report.facts import GroupLevels, ReportData
from genz_ppl.diagnostics.report.words import number, shortened
from genz_ppl.inference.feature_effects import NINE_IN_TEN


def group_chart(data: ReportData, groups: GroupLevels) -> Chart:
    """The level of every group, the lowest first, with 90 % intervals; a target (or class) to choose where there are several."""
    options, rows = [], []
    n_values = groups.level.shape[1]
    named = len(data.columns) == n_values
    for position in range(n_values):
        target = data.columns[position].name if named else f"value {position + 1} of {n_values}"
        level, sd = groups.level[:, position], groups.sd[:, position]
        order = np.argsort(level, kind="stable")
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": escaped(data.varying, 60),
            "x": list(range(1, len(order) + 1)),
            "y": numbers(level[order]),
            "text": [escaped(groups.names[g], 60) for g in order],
            "hovertemplate": "%{text}: %{y}<extra></extra>",
            "marker": {"color": "@@blue", "size": 7},
        }
        if np.isfinite(sd).all():
            trace["error_y"] = {"type": "data", "array": numbers(NINE_IN_TEN * sd[order]), "color": "@@blue", "thickness": 1.2}
        options.append({"label": shortened(target, 80), "traces": [trace]})
        rows += [[target, groups.names[g], number(level[g]), number(sd[g])] for g in order]
    layout = {
        "xaxis": {"title": {"text": f"{escaped(data.varying, 60)}, the lowest first"}, "showticklabels": False},
        "yaxis": {"title": {"text": "difference from all items"}, "zeroline": True},
        "showlegend": False,
    }
    first = groups.level[:, 0]
    ends = [f"{number(first[g])} ({shortened(groups.names[g], 60)})" for g in (int(first.argmin()), int(first.argmax()))]
    alt = f"Levels of {len(groups.names)} groups of {data.varying} beside all items, from {ends[0]} to {ends[1]}."
    table = table_of(("target", data.varying, "difference from all items", "standard deviation"), rows)
    title = f"Levels by {shortened(data.varying, 60)}"
    if len(options) == 1:
        return chart(title, alt, layout, table, traces=options[0]["traces"])
    return chart(title, alt, layout, table, options=options)
