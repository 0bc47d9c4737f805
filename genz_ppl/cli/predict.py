"""`genz predict`: predictions of a run for the items of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import resumable_answers
from genz_ppl.cli.pair_sources import holds_pairs, open_side
from genz_ppl.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".parquet")


def _table(flag: str, side: str) -> Any:
    text = f"Descriptions of new {side} (runs of genz cooccur); without it those that the run was started on."
    return typer.Option(flag, metavar="FILE", help=text, show_default=False)


@options.takes(*model_options.of(*model_options.CAPS, "price", "workers"))
def predict(
    context: typer.Context,
    folder: options.Folder,
    source: options.Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file to write.", show_default=False)
    ],
    level: Annotated[float, typer.Option("--level", help="Probability between lower and upper.")] = 0.9,
    rows: Annotated[Path | None, _table("--rows", "rows")] = None,
    columns: Annotated[Path | None, _table("--columns", "columns")] = None,
    *,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Predict the targets of the run in DIR for the items of SOURCE: mean, sd, lower and upper by id.

    For a run of `genz cooccur` SOURCE lists pairs of ids, and new items are described by --rows and --columns.
    """
    _check_output(output, source)
    if not 0 < level < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {level:g}")
    two_sided = holds_pairs(folder)
    if not two_sided and (rows is not None or columns is not None):
        raise OptionError("--rows and --columns: only for runs of genz cooccur; leave them out")
    if two_sided:
        with resumable_answers(), model_options.flags():
            _write_pairs(folder, source, output, level, rows, columns)
        return
    from genz_ppl.data import open_like
    from genz_ppl.discovery.discover import Discovery

    changes = model_options.given(context.params)
    run = Discovery.load(folder)
    items = open_like(source, run.needed)
    with resumable_answers(), model_options.flags():
        table = run.predict(items, level, changes)
    table.insert(0, "id", items.ids)
    _write(table, output)
    typer.echo(f"{len(table)} predictions written to {output}")


def _write_pairs(folder: Path, source: str, output: Path, level: float, rows: Path | None, columns: Path | None) -> None:
    import pandas as pd

    from genz_ppl.data.reading import read_table
    from genz_ppl.discovery.pairs.directory import PairDirectory
    from genz_ppl.discovery.pairs.result import CoOccurrenceRun

    known = PairDirectory(folder).record()["source"]
    table = read_table(source)
    if len(table.columns) < 2:
        raise InputError(
            f"{source}: expected two columns of ids, rows and columns, found {len(table.columns)}; add the other one"
        )
    described = []
    for side, path in (("rows", rows), ("columns", columns)):
        if path is not None and (known is None or known[side] is None):
            raise OptionError(f"--{side}: the {side} of the run were not described by a table; leave it out")
        given = None if path is None else str(path)
        # Without a table of its own a side may hold items that were kept out: the run's own table describes them.
        there = known is not None and known[side] is not None and Path(known[side]).exists()
        described.append(open_side(known, side, given) if given is not None or there else None)
    pairs = {column: table.cells(column) for column in table.columns}
    found = CoOccurrenceRun.load(folder).predict(pd.DataFrame(pairs), described[0], described[1], level)
    _write(found, output)
    typer.echo(f"{len(found)} predictions written to {output}")


def _check_output(output: Path, source: str) -> None:
    if output.suffix.lower() not in _SUFFIXES:
        raise OptionError(f"--output {output}: expected a name that ends with {' or '.join(_SUFFIXES)}")
    if not output.parent.is_dir():
        raise OptionError(f"--output {output}: there is no folder {output.parent}; make it first")
    if output.is_dir():
        raise OptionError(f"--output {output}: expected a file, found a folder; choose another name")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise OptionError(f"--output {output}: is SOURCE itself, which would be lost; choose another name")


def _write(table: pd.DataFrame, output: Path) -> None:
    """Under another name first: a reader never meets half a file."""
    partial = output.with_name(f"{output.name}.partial")
    try:
        if output.suffix.lower() == ".csv":
            table.to_csv(partial, index=False, lineterminator="\n")
        else:
            table.to_parquet(partial, index=False)
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OptionError(f"--output {output}: cannot be written ({error.strerror}); check space and permissions") from None
