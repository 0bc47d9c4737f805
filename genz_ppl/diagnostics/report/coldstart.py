"""The cold start curves as one HTML file that needs no network."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd

from genz_ppl.diagnostics.report.page import check_page, needed, save_page

# Column, name in the legend, colour as red, green, blue.
CURVES = (
    ("both", "prediction and ratings", "11,114,104"),
    ("ratings", "ratings only", "29,95,196"),
    ("prior", "prediction only", "179,38,30"),
)


def check_destination(path: Path) -> None:
    """Raise OptionError unless the figure can be written to `path` and plotly is installed."""
    needed("plotly", "--html")
    check_page(path, "--html")


def write_figure(table: pd.DataFrame, sentence: str, path: Path) -> None:
    """The curves of `ColdStart.table` with their bands, and a sentence above. Raises OptionError as `check_destination`."""
    check_destination(path)
    save_page(_page(traces(table), sentence), path, "--html")


def traces(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A band and a line for each curve."""
    counts, found = table["n_ratings"].tolist(), []
    for column, name, colour in CURVES:
        mean, lower, upper = (_rounded(table[f"{column}_{part}"]) for part in ("mean", "lower", "upper"))
        shared = {"type": "scatter", "mode": "lines", "x": counts, "legendgroup": column}
        hidden = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        found.append({**shared, **hidden, "y": lower})
        found.append({**shared, **hidden, "y": upper, "fill": "tonexty", "fillcolor": f"rgba({colour},0.12)"})
        line = {"color": f"rgb({colour})", "width": 2}
        found.append({**shared, "name": name, "y": mean, "line": line, "hovertemplate": f"{name} %{{y:.3f}}<extra></extra>"})
    return found


def _page(curves: list[dict[str, Any]], sentence: str) -> str:
    layout = {
        "template": {},
        "xaxis": {"title": {"text": "ratings"}, "type": "log", "dtick": 1},
        "yaxis": {"title": {"text": "cosine similarity to the full embedding"}, "range": [None, 1.0]},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.08},
        "margin": {"t": 30},
        "height": 540,
    }
    figure = {"data": curves, "layout": layout}
    drawn = needed("plotly.io").to_html(
        figure, include_plotlyjs=True, full_html=False, div_id="coldstart", validate=False, config={"displayModeBar": False}
    )
    words = html.escape(f"{sentence[:1].upper()}{sentence[1:]}.")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Cold start</title>'
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}</style></head>\n"
        f"<body><h1>Cold start</h1><p>{words}</p>\n"
        "<p>Test items get their ratings back in random order: means over the items and, shaded, the middle 90 % of them.</p>\n"
        f"{drawn}</body></html>\n"
    )


def _rounded(values: pd.Series[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
