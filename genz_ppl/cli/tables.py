"""Feature tables and summary lines for stdout: rich on a terminal, aligned plain text elsewhere, never cut off there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.discovery.discover import Discovery

_SHOWN = {"text": "question", "p_e": "p_e", "prevalence": "prevalence", "gain": "gain"}
_LIFE = {"added_at": "added_at", "removed_at": "removed_at"}


def print_features(features: pd.DataFrame, everything: bool = False) -> None:
    """The active features, or all with the steps at which they came and went."""
    if not everything:
        features = features[features["active"]]
    if features.empty:
        typer.echo("no features")
        return
    headings = {**_SHOWN, **(_LIFE if everything else {})}
    print_table(list(headings.values()), [[_cell(row[name]) for name in headings] for _, row in features.iterrows()])


def print_summary(run: Discovery) -> None:
    """Number of features, errors on both sides of the split, and where the run was written."""
    last = run.curve.iloc[-1]
    count = int(last["n_features"])
    features = "1 feature" if count == 1 else f"{count} features"
    metric = readable_metric(str(last["metric"]))
    errors = f"{metric} {number(last['test_error'])} on test items, {number(last['train_error'])} on training items"
    written = "" if run.directory is None else f"; written to {run.directory.path}"
    typer.echo(f"{features}; {errors}{written}")
    if int(last["tokens_in"]) > 0:
        cost = "of unknown price" if last["cost"] != last["cost"] else f"for {last['cost']:.4g} dollars"
        tokens = [f"{int(last[name]):,}".replace(",", " ") for name in ("tokens_in", "tokens_out")]
        typer.echo(f"{int(last['calls'])} calls, {tokens[0]} tokens read and {tokens[1]} written, {cost}")


def readable_metric(name: str) -> str:
    """A metric's name as words: "cosine" is a similarity, the others say what they are."""
    return "cosine similarity" if name == "cosine" else name.replace("_", " ")


def number(value: float) -> str:
    """Four digits; "-" for NaN."""
    return "-" if value != value else f"{value:.4g}"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column holds text, the others numbers."""
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if value is None or type(value).__name__ == "NAType":
        return "-"
    return number(float(value)) if isinstance(value, float) else str(value)
