"""`genz cooccur`: the two-item model, from two tables and the pairs between their items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable
from genz_ppl.cli.pair_sources import NOTHING, open_sides, pair_source, reopen_sides
from genz_ppl.cli.progress import LogJson, followed, tables_wanted
from genz_ppl.setting_fields import check_number
from genz_ppl.settings import DiscoverSettings, PairSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.pairs.result import CoOccurrenceRun

_MODEL, _RUN = "Model", "Run"
_SIDES = [
    options.given(name, kind, text, "Columns of the tables", "COLUMN")
    for name, kind, text in (
        ("row_id", str, "The column of row ids \\[id]."),
        ("row_text", list[str], "A column a model reads of a row; repeatable, or a template."),
        ("row_covariate", list[str], "A column of numbers given to the link; repeatable."),
        ("row_image", list[str], "A column of image paths; repeatable."),
        ("column_id", str, "The column of column ids \\[id]."),
        ("column_text", list[str], "As --row-text, of the columns."),
        ("column_covariate", list[str], "As --row-covariate, of the columns."),
        ("column_image", list[str], "As --row-image, of the columns."),
        ("pair_column", list[str], "The columns of PAIRS: row ids, column ids, values \\[the first three]."),
    )
]
# What of the searches' settings, and of how a served model is called, has an option.
_SEARCHED = ("cycles", "add", "cut", "max_features", "proposals", "exemplars", "screen", "patience")
_SERVED = (
    *("base_url", "items_per_call", "features_per_call", "store", "workers", "requests_per_minute"),
    *("price", "max_cost", "max_calls", "max_tokens"),
)
_NAMES = tuple(dict.fromkeys([*PairSettings.__dataclass_fields__, *DiscoverSettings.__dataclass_fields__]))


_TABLE = f"A file (.csv, .tsv, .parquet, .jsonl), or {NOTHING} for items of which only ids are known."


@options.takes(
    *_SIDES,
    *options.of(DiscoverSettings, "model"),
    *options.of(PairSettings),
    *options.of(DiscoverSettings, *_SEARCHED),
    *model_options.of(*_SERVED),
)
def cooccur(
    context: typer.Context,
    rows: Annotated[str, typer.Argument(metavar="ROWS", help=f"The row items. {_TABLE}", show_default=False)],
    columns: Annotated[str, typer.Argument(metavar="COLUMNS", help=f"The column items. {_TABLE}", show_default=False)],
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS", help="Row id, column id, value: .csv, .tsv, .parquet. No values: listed means 1.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the run.", show_default=False)],
    *,
    absent: Annotated[
        bool, typer.Option("--absent-zero", help="Pairs that are not listed are 0, not missing.", rich_help_panel=_MODEL)
    ] = False,
    column_model: Annotated[
        str | None,
        typer.Option("--column-model", help="For the columns \\[as --model].", rich_help_panel=_MODEL, show_default=False),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Searches of both sides, a joint fit after each.", rich_help_panel=_RUN)
    ] = 2,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share of the items of each described side kept out.", rich_help_panel=_RUN)
    ] = 0.2,
    pair_fraction: Annotated[
        float, typer.Option("--pair-fraction", help="Share of the other items' pairs kept out.", rich_help_panel=_RUN)
    ] = 0.1,
    quiet: options.Quiet = False,
    log_json: LogJson = None,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Find questions about rows and columns that explain their pairs.

    Appendix C of the paper. Safe to stop with Ctrl-C; `genz resume` goes on.
    """
    given = {name: context.params[name] for name in _NAMES if context.params.get(name) is not None}
    given.pop("model", None), given.pop("test_fraction", None)
    with resumable(out), model_options.flags():
        run = _start(rows, columns, pairs, out, given, context.params)
        if tables_wanted(log_json):
            print_run(run)


def _start(
    rows: str, columns: str, pairs: str, out: Path, given: dict[str, Any], options_given: dict[str, Any]
) -> CoOccurrenceRun:
    # Imported after the checks: torch takes seconds, and a wrong option should not.
    PairSettings(**{name: value for name, value in given.items() if name in PairSettings.__dataclass_fields__})
    check_number("rounds", options_given["rounds"], 1)
    models = [options_given["model"] or "rules"]
    models.append(options_given["column_model"] or models[0])
    served = {name: value for model in models for name, value in model_options.given_for(model, options_given).items()}
    source = pair_source(rows, columns, pairs, options_given)
    from genz_ppl.cli.sources import absolute_model
    from genz_ppl.discovery.pairs.cooccur import cooccur as run_cooccur
    from genz_ppl.discovery.pairs.folder import PairDirectory
    from genz_ppl.discovery.pairs.watch import PairDisplay

    PairDirectory(out).check_free()
    with followed(options_given["quiet"], options_given["log_json"]) as ways, PairDisplay(**ways) as display:
        first, second, read = open_sides(source)
        return run_cooccur(
            first,
            second,
            read,
            absolute_model(models[0]),
            column_model=absolute_model(models[1]),
            rounds=options_given["rounds"],
            test_fraction=options_given["test_fraction"],
            pair_fraction=options_given["pair_fraction"],
            out=out,
            store=options_given["store"],
            model_settings=served or None,
            source=source,
            watchers=display.watchers,
            **given,
        )


def resume_pairs(folder: Path, quiet: bool, opening: dict[str, Any], log_json: str | None) -> None:
    """`genz resume` of such a run. opening: see `model_options.opening`."""
    from genz_ppl.discovery.pairs.cooccur import resume_cooccur
    from genz_ppl.discovery.pairs.folder import PairDirectory
    from genz_ppl.discovery.pairs.watch import PairDisplay

    record = PairDirectory(folder).record()
    if record.status == "done":
        echo(f"{folder}: the run is done already; 'genz features' shows what it found")
        return
    with followed(quiet, log_json) as ways, PairDisplay(**ways) as display:
        sides = reopen_sides(record, folder)
        run = resume_cooccur(folder, *sides, watchers=display.watchers, **opening)
    if tables_wanted(log_json):
        print_run(run)


def print_run(run: CoOccurrenceRun) -> None:
    """Features of both sides, the strongest pairings, and the errors of every part."""
    from genz_ppl.cli.pair_tables import print_pair_features, print_pairings, print_scores

    print_pair_features(run.features)
    print_pairings(run)
    print_scores(run)
    if run.directory is not None:
        echo(f"written to {run.directory.path}")
