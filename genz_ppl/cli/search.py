"""`genz search`: choose among questions that are answered already, over files that need not fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers, say
from genz_ppl.settings import SEARCH, DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.answered import AnsweredSearch
    from genz_ppl.inference.blockwise.search import BlockEvent

_RULES = (
    "add",
    "cut",
    "cycles",
    "max_features",
    "smallest_share",
    "smallest_gain",
    "smallest_worth",
    "refit_steps",
    "final_steps",
)
_OTHERS = ("error_rate_prior", "seed", "engine", "scheduler")
# Items that questions are chosen on; trial refits on more tell the same.
SAMPLE = 200_000
Parts = Annotated[Path, typer.Argument(metavar="PARTS", help="A .parquet file, or a folder of them.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder for what is found.", show_default=False)]
Test = Annotated[
    Path | None,
    typer.Option("--test", metavar="PARTS", help="Items to test on; never looked at before the end.", show_default=False),
]
Sample = Annotated[
    int,
    typer.Option(
        "--sample", metavar="N", min=0, help="Questions are chosen on about so many items, 0: all.", rich_help_panel=SEARCH
    ),
]


def _columns(name: str, text: str) -> Any:
    return options.given(name, list[str], text, "Columns", "COLUMN")


@options.takes(
    _columns("question", "A column of answers, 1 and 0 or true and false, or a pattern, 'q*'; repeatable."),
    _columns("target", "A column of numbers to explain, or a pattern; repeatable."),
    _columns("covariate", "A column of numbers given to the link, or a pattern; repeatable."),
    *options.of(DiscoverSettings, *_RULES, *_OTHERS),
)
def search(
    context: typer.Context,
    parts: Parts,
    out: Out,
    *,
    test: Test = None,
    sample: Sample = SAMPLE,
    quiet: options.Quiet = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Choose among questions that are answered already those that explain the targets of PARTS.

    For more items than fit into memory, by linear effects with Gaussian noise. Safe to stop: the same command goes on.
    """
    given = {name: value for name, value in context.params.items() if value is not None}
    # Imported here: torch takes seconds, and a wrong option should not.
    with model_options.flags():
        DiscoverSettings(**{name: given[name] for name in (*_RULES, "error_rate_prior", "seed") if name in given})
    from genz_ppl.discovery.answered import AnsweredColumns, search_answered
    from genz_ppl.inference.blockwise.runners import open_runner
    from genz_ppl.inference.blockwise.search import SearchRules

    rules = SearchRules(**{name: given[name] for name in _RULES if name in given})
    columns = AnsweredColumns(*(given.get(name, ()) for name in ("question", "target", "covariate")))
    more = {name: given[name] for name in ("error_rate_prior", "seed") if name in given}
    kept = "what was done up to the last change is kept"
    flags = model_options.flags(questions="--question", targets="--target", engine="--engine", scheduler="--scheduler")
    with flags, resumable_answers(kept), open_runner(given.get("engine", "here"), given.get("scheduler")) as runner:
        told = None if quiet else _told
        found = search_answered(parts, out, columns, runner, test, rules, sample or None, on_event=told, **more)
    _show(found, out)


def _told(event: BlockEvent) -> None:
    gain = "" if event.gain is None else f", {event.gain:.4g} nats"
    say(f"{event.event} column {event.column}{gain}: bound {event.bound:.8g}")


def _show(found: AnsweredSearch, out: Path) -> None:
    from genz_ppl.cli.tables import number, print_table

    metrics = found.metrics
    if len(found.features):
        headings = ["question", "effect", "on", "p_e", "prevalence", "loss"]
        rows = [
            [row["question"], f"{row['effect']:+.4g}", row["target"], *(number(row[name], 3) for name in headings[3:])]
            for _, row in found.features.iterrows()
        ]
        print_table(headings, rows)
    sides = [(side, metrics[side]) for side in ("test", "train") if side in metrics]
    measured = [
        f"R2 {one['r2']:.3f}, median absolute error {one['median_absolute_error']:.4g} on {side} items" for side, one in sides
    ]
    chosen = f", chosen on {metrics['n_searched']} of {found.found.fit.n_items} items"
    echo(f"{metrics['n_features']} features{chosen}; {'; '.join(measured)}; written to {out}")
