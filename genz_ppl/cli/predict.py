"""`genz predict`: predictions of a run for the items of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers, say
from genz_ppl.cli.pair_sources import holds_pairs, open_side
from genz_ppl.cli.tables import check_output, write_table
from genz_ppl.cli.vectors import open_to_predict
from genz_ppl.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.discovery.discover import Discovery


def _table(flag: str, side: str) -> Any:
    text = f"Descriptions of new {side} (runs of genz cooccur); without it those that the run was started on."
    return typer.Option(flag, metavar="FILE", help=text, show_default=False)


@options.takes(*options.WRITTEN, *model_options.of(*model_options.CAPS, "price", "workers"), *model_options.SAME)
def predict(
    context: typer.Context,
    folder: options.Folder,
    source: options.Source,
    output: Annotated[
        Path | None,
        typer.Option(
            *("--output", "-o"),
            metavar="FILE",
            help="A .csv, .jsonl or .parquet file to write; without it csv goes to standard output.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Probability between lower and upper.")] = 0.9,
    predict_with: Annotated[
        str, typer.Option("--predict-with", help="list: the features of the run; pool: every question that it has answers to.")
    ] = "list",
    explain: Annotated[
        bool, typer.Option("--explain", help="Add base, and one column a question with what it adds to the prediction.")
    ] = False,
    rows: Annotated[Path | None, _table("--rows", "rows")] = None,
    columns: Annotated[Path | None, _table("--columns", "columns")] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors", metavar="FILE", help="Profiles whose vectors are covariates, as in genz fit.", show_default=False
        ),
    ] = None,
    *,
    raw: options.Raw = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Predict the targets of the run in DIR for the items of SOURCE.

    Columns: id, mean, sd, lower and upper; of classes most_probable and probability_<class>.

    For a run of `genz cooccur` SOURCE lists pairs of ids, and new items are described by --rows and --columns.
    """
    if output is not None:
        check_output(output, (".csv", ".jsonl", ".parquet"))
    if output is not None and output.exists() and Path(source).exists() and output.samefile(source):
        raise OptionError(f"--output {output}: is SOURCE itself, which would be lost; choose another name")
    if not 0 < level < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {level:g}")
    if predict_with not in ("list", "pool"):
        raise OptionError(f"--predict-with: expected list or pool, got {predict_with!r}")
    two_sided = holds_pairs(folder)
    opening = model_options.opening(context.params, two_sided)
    if not two_sided and (rows is not None or columns is not None):
        raise OptionError("--rows and --columns: only for runs of genz cooccur; leave them out")
    if two_sided and predict_with != "list":
        raise OptionError("--predict-with: only for runs of genz fit; leave it out")
    if two_sided and explain:
        raise OptionError("--explain: only for runs of genz fit; leave it out")
    if two_sided and vectors is not None:
        raise OptionError("--vectors: only for runs of genz fit; leave it out")
    if two_sided:
        with resumable_answers(), model_options.flags():
            found = _predict_pairs(folder, source, level, rows, columns, opening)
        _put(found, output, raw)
        return
    from genz_ppl.cli.sources import written
    from genz_ppl.discovery.discover import Discovery

    run = Discovery.load(folder, **opening)
    asking = run.asking(predict_with)
    items = open_to_predict(source, asking.needed, vectors, written(context.params))
    if predict_with == "pool":
        (say if output is None else echo)(_worth(run))
    with resumable_answers(), model_options.flags():
        table = run.predict(items, level, predict_with=predict_with, explain=explain)
    if explain:
        (say if output is None else echo)(table.attrs["explained"])
    table.insert(0, "id", items.ids)
    _put(table, output, raw)


def _put(table: pd.DataFrame, output: Path | None, raw: bool) -> None:
    """Into the file, or as csv onto standard output, where nothing else is said."""
    if output is None:
        from genz_ppl.discovery.run.tables import csv_of

        echo(csv_of(table, raw), nl=False, data=True)
        return
    write_table(table, output, raw)
    echo(f"{len(table)} predictions written to {output}")


def _worth(run: Discovery) -> str:
    """What the pool adds, and how many answers an item takes."""
    pool, listed = run.pool, len(run.progress.active)
    return (
        f"{listed} questions explain {pool.list_r2:.2f} of the variance of training items left out, all {pool.n_questions} that "
        f"were answered {pool.pool_r2:.2f}; {pool.n_questions} answers an item instead of {listed}"
    )


def _predict_pairs(
    folder: Path, source: str, level: float, rows: Path | None, columns: Path | None, opening: dict[str, Any]
) -> pd.DataFrame:
    import pandas as pd

    from genz_ppl.data.reading import read_table
    from genz_ppl.discovery.pairs.folder import PairDirectory
    from genz_ppl.discovery.pairs.result import CoOccurrenceRun

    known = PairDirectory(folder).record().source
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
        described.append(open_side(known or {}, side, given) if given is not None or there else None)
    pairs = {column: table.cells(column) for column in table.columns}
    return CoOccurrenceRun.load(folder, **opening).predict(pd.DataFrame(pairs), described[0], described[1], level)
