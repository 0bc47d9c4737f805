"""The parts that charts are made of: plain dictionaries for plotly.js, and the table of their numbers.

A colour is written "@@name" and becomes one of the page's when it is drawn, so that it follows light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from genz_ppl.diagnostics.report.words import shortened
from genz_ppl.types import FloatArray

Chart = dict[str, Any]


def escaped(words: str, most: int = 90) -> str:
    """Words for plotly, which reads some HTML in its texts."""
    return html.escape(shortened(words, most), quote=False)


def numbers(values: Sequence[float] | FloatArray) -> list[float | None]:
    """For JSON: four digits, None where not finite."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in map(float, values)]


def chart(title: str, alt: str, layout: dict[str, Any], table: dict[str, Any], **rest: Any) -> Chart:
    """rest: traces, or options to choose from, each with a label, traces and maybe a layout."""
    return {"title": title, "alt": alt, "layout": layout, "table": table, **rest}


def table_of(headings: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> dict[str, Any]:
    """The numbers behind a chart."""
    return {"headings": list(headings), "rows": [list(row) for row in rows], "note": note}


def line(name: str, x: Sequence[Any], y: Sequence[Any], colour: str, **more: Any) -> dict[str, Any]:
    """A trace of lines."""
    line = {"color": colour, "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": line, **more}
