"""A page that holds its data, its charts and the program that draws them: what all reports are made of."""

from __future__ import annotations

import base64
import importlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from genz_ppl.diagnostics.report.words import clean, number, percent, shortened
from genz_ppl.errors import OptionError
from genz_ppl.output import in_one_stroke, not_written

INSTALL = "pip install 'genz-ppl[report]'"


def needed(module: str, what: str = "report") -> Any:
    """The module. Raises OptionError, which says how to install it. what: it is needed for."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise OptionError(f"{what}: needs {module}, which is not installed; run: {INSTALL}") from None


def page_of(
    template: str,
    content: Mapping[str, Any],
    charts: Mapping[str, Mapping[str, Any]],
    more: Mapping[str, Any],
    styles: Sequence[str] = ("report.css",),
) -> str:
    """HTML from a template of this package.

    charts: by name, drawn by the page's program; more: what else that program is told (steps, texts). styles: sheets.
    """
    jinja2 = needed("jinja2")
    markup = needed("markupsafe").Markup
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "short": shortened, "n": _n, "percent": percent, "words": _is_words}
    kept = ("layout", "traces", "options")
    drawn = {name: {key: chart[key] for key in kept if key in chart} for name, chart in charts.items()}
    shared = {
        "charts": charts,
        "version": version("genz-ppl"),
        "json": markup(_json({"charts": drawn, **more})),
        "plotly": markup(_packed_plotly()),
        "css": markup("".join(_template(name) for name in styles)),
        "js": markup(_template("report.js")),
    }
    page: str = environment.get_template(template).render({**shared, **content})
    return page.lstrip()


def check_page(path: Path, what: str = "report") -> None:
    """Raise OptionError unless a page can be written to `path`. what: the page, as messages name it."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"{what} {path}: expected a name that ends with .html; choose another name")
    if path.is_dir():
        raise OptionError(f"{what} {path}: expected a file, found a folder; choose another name")
    if not path.parent.is_dir():
        raise OptionError(f"{what} {path}: there is no folder {path.parent}; make it first")


def save_page(page: str, path: Path, what: str = "report") -> None:
    """Replace the file in one stroke. Raises OptionError where it cannot be written."""
    try:
        with in_one_stroke(path) as partial:
            partial.write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise not_written(f"{what} {path}", error) from None


def setting(value: Any) -> str:
    """A setting as people read it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(setting(part) for part in value)
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _template(name: str) -> str:
    return files("genz_ppl.diagnostics.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    """plotly.js, compressed and in base64: 2 MB instead of 5."""
    source: str = needed("plotly.offline").get_plotlyjs()
    return base64.b64encode(zlib.compress(source.encode(), 9)).decode()


def _json(content: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element, whatever its texts hold."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _n(value: float, signed: bool = False) -> str:
    return number(float(value), signed=signed)


def _is_words(cell: str) -> bool:
    return any(c.isalpha() for c in cell) and len(cell) > 24
