"""`genz predict`: predictions of a run for the items of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.alone import alone
from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers, say
from genz_ppl.cli.pair_sources import holds_pairs, holds_recommender, open_side
from genz_ppl.cli.recommend import predicted_lists
from genz_ppl.cli.tables import check_output, write_table
from genz_ppl.cli.vectors import open_to_predict
from genz_ppl.errors import InputError, OptionError
from genz_ppl.settings import DiscoverSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from genz_ppl.discovery.discover import Discovery


_ENGINE = ("engine", "scheduler")
ITEMS, PAIRS, LISTS = "items", "pairs", "lists"
# Options that go with some kinds of runs only.
_ONLY = {
    ("top", "why", "new"): ({LISTS}, "folders of genz recommend"),
    ("rows", "columns"): ({PAIRS}, "runs of genz cooccur"),
    ("predict_with",): ({ITEMS}, "runs of genz fit"),
    ("explain",): ({ITEMS}, "runs of genz fit"),
    ("vectors",): ({ITEMS}, "runs of genz fit"),
    ("level",): ({ITEMS, PAIRS}, "runs of genz fit or cooccur"),
}


def _table(flag: str, side: str) -> Any:
    text = f"Descriptions of new {side} (runs of genz cooccur); without it those that the run was started on."
    return typer.Option(flag, metavar="FILE", help=text, show_default=False)


@options.takes(
    *options.WRITTEN,
    *model_options.of(*model_options.CAPS, "price", "workers"),
    *model_options.SAME,
    *options.of(DiscoverSettings, *_ENGINE),
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
    """Predict the targets of the run in DIR for the items of SOURCE.

    Columns: id, mean, sd, lower and upper; of classes most_probable and probability_<class>.

    SOURCE may be a folder of .parquet parts, whose predictions go into a folder, part by part: what is there is left alone, so
    that the command can be given again after a stop. With --engine dask several at a time, in folders that all workers see.

    For a run of `genz cooccur` SOURCE lists pairs of ids, and new items are described by --rows and --columns. For a folder of
    `genz recommend` SOURCE lists ids of users in its first column, or is the word users: all; see --top, --new and --why.
    """
    kind, given = _kind(folder), context.params
    _check(kind, given)
    if kind == LISTS:
        _put(predicted_lists(folder, source, top, why, new), output, raw)
        return
    opening = model_options.opening(given, kind == PAIRS)
    with resumable_answers(), model_options.flags(predict_with="--predict-with"):
        if kind == PAIRS:
            _put(_predict_pairs(folder, source, level, rows, columns, opening), output, raw)
        elif Path(source).is_dir():
            _predict_parts(given, folder, Path(source), output, level, predict_with, vectors, opening)
        else:
            from genz_ppl.discovery.discover import Discovery

            _put(_predict_items(given, Discovery.load(folder, **opening)), output, raw)


def _kind(folder: Path) -> str:
    return LISTS if holds_recommender(folder) else PAIRS if holds_pairs(folder) else ITEMS


def _check(kind: str, given: Mapping[str, Any]) -> None:
    """Raise OptionError before anything is read: for values out of range, and options that say nothing of this kind of run."""
    output, source, parts = given["output"], Path(given["source"]), Path(given["source"]).is_dir()
    if output is not None and not parts:
        check_output(output, (".csv", ".jsonl", ".parquet"))
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise OptionError(f"--output {output}: is SOURCE itself, which would be lost; choose another name")
    if not 0 < given["level"] < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {given['level']:g}")
    if given["predict_with"] not in ("list", "pool"):
        raise OptionError(f"--predict-with: expected list or pool, got {given['predict_with']!r}")
    for names, (only, words) in _ONLY.items():
        if kind not in only and any(given[name] not in (None, False, 0, 0.9, "list") for name in names):
            flags = [f"--{name.replace('_', '-')}" for name in names]
            said = f"{', '.join(flags[:-1])} and {flags[-1]}" if len(flags) > 1 else flags[0]
            raise OptionError(f"{said}: only for {words}; leave {'them' if len(flags) > 1 else 'it'} out")
    if given["engine"] == "dask" and not parts:
        raise OptionError("--engine dask: predicts a folder of .parquet parts, and SOURCE is none; name one, or leave it out")
    if given["explain"] and parts:
        raise OptionError("--explain: not of a folder of parts; leave it out, or name one of them")


def _predict_items(given: Mapping[str, Any], run: Discovery) -> pd.DataFrame:
    from genz_ppl.cli.sources import written

    predict_with, aside = given["predict_with"], say if given["output"] is None else echo
    items = open_to_predict(given["source"], run.asking(predict_with).needed, given["vectors"], written(given))
    if predict_with == "pool":
        aside(_worth(run))
    table = run.predict(items, given["level"], predict_with=predict_with, explain=given["explain"])
    if given["explain"]:
        aside(table.attrs["explained"])
    table.insert(0, "id", items.ids)
    return table


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
    with alone(out), open_runner(engine, given["scheduler"]) as runner:
        left = [part for part in parts if not predicting.written(part, job).exists()]
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
