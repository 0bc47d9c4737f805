"""`genz compare`: leave-one-out and held-out scores of several runs, and which model they call for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.diagnose import Json
from genz_ppl.cli.messages import echo
from genz_ppl.errors import OptionError

if TYPE_CHECKING:
    from genz_ppl.diagnostics.compare import Contestant

Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR DIR ...", help="Runs on the same data and split.", show_default=False)
]


def compare(folders: Folders, json_output: Json = False, config: options.Config = None) -> None:
    """Compare runs by PSIS-LOO and by held-out error and density."""
    if len(folders) < 2:
        raise OptionError(f"DIR: expected at least two runs to compare, got {len(folders)}")
    if len(set(folders)) < len(folders):
        raise OptionError("DIR: a run is named twice; name each once")
    from genz_ppl.cli.tables import number, print_table
    from genz_ppl.diagnostics.compare import compare as compare_runs

    found = compare_runs({str(folder): _contestant(folder) for folder in folders})
    if json_output:
        rows = json.loads(found.table.to_json(orient="records", double_precision=15))
        echo(json.dumps({"runs": rows, "advice": found.advice, "warnings": list(found.warnings)}, ensure_ascii=False))
        return
    headings = [column.replace("_", " ") for column in found.table.columns]
    cells = [[cell if isinstance(cell, str) else number(float(cell)) for cell in row] for row in found.table.to_numpy()]
    print_table(headings, cells)
    for warning in found.warnings:
        echo(f"note: {warning}")
    echo(found.advice)


def _contestant(folder: Path) -> Contestant:
    from genz_ppl.cli.sources import items_of
    from genz_ppl.diagnostics.compare import Contestant
    from genz_ppl.discovery.discover import Discovery

    run = Discovery.load(folder)
    items = items_of(run, folder)
    last = run.curve.iloc[-1]
    return Contestant(run.fitted(items), run.fitted(items, "test"), float(last["test_error"]), str(last["metric"]))
