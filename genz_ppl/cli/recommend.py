"""`genz recommend`: profiles fused into a recommender, proved against shuffled profiles; and its lists, for `genz predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, say
from genz_ppl.errors import InputError
from genz_ppl.recommend.settings import RecommendSettings

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.recommend.result import Recommendation

#: What stands for all users.
EVERYBODY = "users"
_SHOWN = ("ndcg@10", "ndcg@20", "recall@20", "mrr", "coverage@20")
_SHOWN_IDS = 5


@options.takes(*options.of(RecommendSettings))
def recommend(
    context: typer.Context,
    pairs: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS",
            help="User, item and, maybe, value: .csv, .tsv, .parquet; columns time and split, if there.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the recommender.", show_default=False)
    ],
    items: Annotated[
        Path | None,
        typer.Option("--items", metavar="FILE", help="Profiles of the items (genz profile).", show_default=False),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE",
            help="Profiles of the users, with --fuse concat or align and --split column.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="KINDS",
            help="Of the profiles: vector, answers, q, or several by commas \\[answers, else vector].",
            show_default=False,
        ),
    ] = None,
    *,
    quiet: options.Quiet = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Recommend items to users, and prove whether profiles help.

    On splits, with profiles fused in.

    Against the same model without profiles, and with profiles shuffled among items. `genz predict DIR users --top 20` gives
    lists, with --new of new items alone, with --why 3 with reasons; `genz report DIR` a page. Serving asks no model.
    """
    names = RecommendSettings.__dataclass_fields__
    given = {name: context.params[name] for name in names if context.params.get(name) is not None}
    if items is None:
        given = {"fuse": "none", **given}
    flags = {name: f"--{name.replace('_', '-')}" for name in names}
    with model_options.flags(**flags, features="--features", items="--items", users="--users"):
        RecommendSettings(**given)  # refused before torch is loaded
        from genz_ppl.recommend.make import recommend as run

        made = run(
            pairs,
            items,
            users=users,
            features=None if features is None else [part.strip() for part in features.split(",")],
            out=out,
            on_model=None if quiet else lambda seed, name: say(f"seed {seed}: {name}"),
            **given,
        )
    print_recommendation(made)
    echo(f"written to {out}")


def print_recommendation(made: Recommendation) -> None:
    """What was left out, each model's metrics by stratum, and the verdict."""
    from genz_ppl.cli.tables import number, print_table

    about = made.about
    echo(f"{about['users']} users, {about['items']} items, {about['pairs']} pairs; {about['new_items']} new items")
    for reason, count in about["left_out"].items():
        echo(f"{count} pairs left out: {reason}")
    if any(about["test_pairs_left_out"]):
        echo(f"{max(about['test_pairs_left_out'])} test pairs left out: of users without a training pair")
    missing = about["without_profile"]
    if missing:
        shown = ", ".join(missing[:_SHOWN_IDS]) + (" …" if len(missing) > _SHOWN_IDS else "")
        echo(f"{len(missing)} items without a profile have the mean of the others: {shown}")
    rows = []
    for model, strata in about["models"].items():
        for stratum, metrics in strata.items():
            cells = [_mean(metrics.get(name, []), number) for name in _SHOWN]
            rows.append([f"{stratum}, {model}", *cells])
    print_table([f"mean of {made.settings.seeds} {_seeds(made.settings)}", *_SHOWN], sorted(rows))
    for sentence in made.verdict:
        echo(sentence)


def _seeds(settings: RecommendSettings) -> str:
    return f"{settings.split} split" + ("" if settings.seeds == 1 else "s")


def _mean(values: list[float], number: Any) -> str:
    known = [value for value in values if value is not None and value == value]
    return number(sum(known) / len(known), 4) if known else "-"


def predicted_lists(folder: Path, source: str, top: int | None, why: int, new: bool) -> pd.DataFrame:
    """`genz predict` of such a folder. source: a table whose first column holds ids of users, or `users`: all of them."""
    from genz_ppl.data.reading import read_table
    from genz_ppl.recommend.result import Recommendation

    made, users = Recommendation.load(folder), None
    if source != EVERYBODY or Path(source).exists():
        table = read_table(source)
        users = [cell for cell in table.cells(table.columns[0]) if cell is not None]
        if not users:
            raise InputError(f"{source}: its first column {table.columns[0]!r} holds no ids; fill it in")
    return made.top(users, 20 if top is None else top, why, new)
