"""`genz predict`: predictions of a run for the items of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers, say
from genz_ppl.cli.pair_sources import holds_pairs, holds_recommender, open_side
from genz_ppl.cli.recommend import check_lists, predicted_lists
from genz_ppl.cli.tables import check_output, write_table
from genz_ppl.cli.vectors import open_to_predict
from genz_ppl.errors import InputError, OptionError
from genz_ppl.settings import DiscoverSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from genz_ppl.discovery.discover import Discovery


_ENGINE = ("engine", "scheduler")


def _table(flag: str, side: str) -> Any:
    text = f"Descriptions of new {side} (runs of genz cooccur); without it those that the run was started on."
    return typer.Option(flag, metavar="FILE", help=text, show_default=False)


@options.takes(
    *model_options.of(*model_options.CAPS, "price", "workers"), *model_options.SAME, *options.of(DiscoverSettings, *_ENGINE)
)
def predict(
    context: typer.Context,
    folder: options.Folder,
    source: options.Source,
    output: Annotated[
        Path | None,
        typer.Option(
            *("--output", "-o"),
            metavar="FILE",
            help="A .csv, .jsonl or .parquet file to write, a folder if SOURCE is one; without it csv goes to standard output.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Probability between lower and upper.")] = 0.9,
    predict_with: Annotated[
        str, typer.Option("--predict-with", help="list: the features of the run; pool: every question that it has answers to.")
    ] = "list",
    rows: Annotated[Path | None, _table("--rows", "rows")] = None,
    columns: Annotated[Path | None, _table("--columns", "columns")] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors", metavar="FILE", help="Profiles whose vectors are covariates, as in genz fit.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", metavar="N", help="Of genz recommend: so many items for each user \\[20].", show_default=False),
    ] = None,
    why: Annotated[int, typer.Option("--why", metavar="N", help="Of genz recommend: with so many reasons for each item.")] = 0,
    *,
    new: Annotated[bool, typer.Option("--new", help="Of genz recommend: lists of new items alone.")] = False,
    raw: options.Raw = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Predict the targets of the run in DIR for the items of SOURCE, with intervals; of classes all probabilities.

    Columns: id, mean, sd, lower and upper; of classes most_probable and probability_<class>.

    SOURCE may be a folder of .parquet parts, whose predictions go into a folder, part by part: what is there is left alone, so
    that the command can be given again after a stop. With --engine dask several at a time, in folders that all workers see.

    For a run of `genz cooccur` SOURCE lists pairs of ids, and new items are described by --rows and --columns. For a folder of
    `genz recommend` SOURCE lists ids of users in its first column, or is the word users: all; see --top, --new and --why.
    """
    parts = Path(source).is_dir()
    if output is not None and not parts:
        check_output(output, (".csv", ".jsonl", ".parquet"))
    if output is not None and output.exists() and Path(source).exists() and output.samefile(source):
        raise OptionError(f"--output {output}: is SOURCE itself, which would be lost; choose another name")
    if not 0 < level < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {level:g}")
    if predict_with not in ("list", "pool"):
        raise OptionError(f"--predict-with: expected list or pool, got {predict_with!r}")
    if holds_recommender(folder):
        check_lists(level, {"--rows": rows, "--columns": columns, "--vectors": vectors, "--predict-with": predict_with != "list"})
        _put(predicted_lists(folder, source, top, why, new), output, raw)
        return
    if top is not None or why or new:
        raise OptionError("--top, --why and --new: only for folders of genz recommend; leave them out")
    two_sided = holds_pairs(folder)
    opening = model_options.opening(context.params, two_sided)
    if not two_sided and (rows is not None or columns is not None):
        raise OptionError("--rows and --columns: only for runs of genz cooccur; leave them out")
    if two_sided and predict_with != "list":
        raise OptionError("--predict-with: only for runs of genz fit; leave it out")
    if two_sided and vectors is not None:
        raise OptionError("--vectors: only for runs of genz fit; leave it out")
    if two_sided:
        with resumable_answers(), model_options.flags():
            found = _predict_pairs(folder, source, level, rows, columns, opening)
        _put(found, output, raw)
        return
    if parts:
        with resumable_answers(), model_options.flags():
            _predict_parts(context.params, folder, Path(source), output, level, predict_with, vectors, opening)
        return
    if context.params["engine"] == "dask":
        raise OptionError("--engine dask: predicts a folder of .parquet parts, and SOURCE is none; name one, or leave it out")
    from genz_ppl.discovery.discover import Discovery

    run = Discovery.load(folder, **opening)
    asking = run.asking(predict_with)
    items = open_to_predict(source, asking.needed, vectors)
    if predict_with == "pool":
        (say if output is None else echo)(_worth(run))
    with resumable_answers(), model_options.flags():
        table = run.predict(items, level, predict_with=predict_with)
    table.insert(0, "id", items.ids)
    _put(table, output, raw)


def _predict_parts(given: Mapping[str, Any], *where: Any) -> None:
    from genz_ppl.cli import parts as predicting
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.inference.blockwise.runners import open_runner
    from genz_ppl.llm.served.settings import is_served

    folder, source, out, level, predict_with, vectors, opening = where
    parts = predicting.parts_of(source, out)
    engine = given["engine"] or "here"
    if engine != "here" and is_served(RunDirectory(folder).record().settings.model):
        raise OptionError("--engine dask: a served model is asked from here, so that its caps hold; leave --engine out")
    job = predicting.PartsJob(str(folder.absolute()), str(out.absolute()), level, predict_with, vectors, opening)
    left = [part for part in parts if not predicting.written(part, job).exists()]
    with open_runner(engine, given["scheduler"]) as runner:
        counts = runner.each(predicting.predict_part, [str(Path(part).absolute()) for part in left], job)
    done = len(parts) - len(left)
    echo(f"{sum(counts)} predictions of {len(left)} parts written to {out}" + (f"; {done} were there" if done else ""))


def _put(table: pd.DataFrame, output: Path | None, raw: bool) -> None:
    """Into the file, or as csv onto standard output, where nothing else is said."""
    if output is None:
        from genz_ppl.discovery.run.tables import csv_of

        echo(csv_of(table, raw), nl=False, data=True)
        return
    write_table(table, output, raw)
    what = "rows of lists" if "rank" in table.columns else "predictions"
    echo(f"{len(table)} {what} written to {output}")


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
