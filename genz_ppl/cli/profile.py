"""`genz profile`: profiles of items or users in a feature store, made, refreshed, explained and looked over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers, say
from genz_ppl.errors import GenzError

if TYPE_CHECKING:
    from genz_ppl.data import Items
    from genz_ppl.profiles.table import Profiles

# Of a served model: what calls for profiles know of.
_SERVED = (
    "base_url temperature max_output_tokens text_limit prompts workers requests_per_minute tokens_per_minute timeout attempts "
    "price max_cost max_calls max_tokens batch body store"
).split()
_ROLES = ("id", "target", "text", "as_text", "as_number", "drop")
_COLUMNS = [one for one in options.COLUMNS if one.name in _ROLES]
_EXPLAIN = "--explain"


class _Profile(TyperGroup):
    """`genz profile ITEMS …` is `genz profile make ITEMS …`, and `genz profile --explain ID FILE` is `… explain ID FILE`."""

    def completed(self, args: list[str]) -> list[str]:
        """The words of a command line with the subcommand that they mean before them."""
        if _EXPLAIN in args and args[0] not in self.commands:
            at = args.index(_EXPLAIN)
            return ["explain", *args[at + 1 : at + 2], *args[:at], *args[at + 2 :]]
        return ["make", *args] if args and args[0] not in (*self.commands, "--help") else args

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As `completed`."""
        return super().parse_args(ctx, self.completed(args))


profile_app = typer.Typer(
    cls=_Profile,
    rich_markup_mode="rich",
    help="Write profiles and vectors of items or users: a feature store.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of profiles.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Items_ = Annotated[str, typer.Argument(metavar="ITEMS", help=options.SOURCE_HELP, show_default=False)]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", help="A .parquet file; one that is there is brought up to date.", show_default=False
    ),
]
Model = Annotated[str, typer.Option("--model", help="rules: from the fields, without a key; openai:NAME: by a language model.")]
Encoder = Annotated[
    str,
    typer.Option("--encoder", help="similarity (embedded), openai:NAME, st:NAME (extra encoders) or package.module:object."),
]
Questions = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="RUN|table:FILE",
        help="Add answers: of a run's questions, with their posterior, or of a table.",
        show_default=False,
    ),
]
Users = Annotated[
    str | None,
    typer.Option(
        "--users",
        metavar="PAIRS",
        help="Profiles of users by these training pairs (user, item, value) of ITEMS.",
        show_default=False,
    ),
]


@profile_app.callback(invoke_without_command=True)
def _profile(
    context: typer.Context,
    _explain: Annotated[
        str | None, typer.Option(_EXPLAIN, metavar="ID", help="With FILE: as `explain ID FILE`.", show_default=False)
    ] = None,
) -> None:
    if context.invoked_subcommand is None:
        echo(context.get_help())


@profile_app.command()
@options.takes(*_COLUMNS, *model_options.of(*_SERVED))
def make(
    context: typer.Context,
    items: Items_,
    output: Output,
    model: Model = "rules",
    encoder: Encoder = "similarity",
    questions: Questions = None,
    users: Users = None,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done and cost, and do nothing.")] = False,
    as_json: Json = False,
    quiet: options.Quiet = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Write profiles and vectors of ITEMS, or bring FILE up to date: only what is new or has changed is asked.

    What is about to be done and its price are said first. `make` may be left out.
    """
    given = context.params
    with model_options.flags(questions="--questions", encoder="--encoder", model="--model"):
        served = {name: given[name] for name in _SERVED if name != "store" and given[name] is not None}
        from genz_ppl.profiles.refresh import Refresh

        source = {"source": _absolute(items), "roles": {name: given[name] for name in _ROLES if given[name]}}
        noted = {**source, "users": None if users is None else _absolute(users), "base_url": given["base_url"]}
        noted |= {"prompts": None if given["prompts"] is None else os.path.abspath(os.path.expanduser(given["prompts"]))}
        refresh = Refresh(
            _opened(source),
            output,
            model=model,
            encoder=encoder,
            questions=_absolute(questions) if questions else None,
            users=users,
            model_settings=served or None,
            store=given["store"],
            made_with=noted,
        )
        planned = refresh.plan()
        if as_json:
            echo(json.dumps(planned.to_dict(), ensure_ascii=False))
        else:
            for line in planned.lines():
                echo(line)
        if refresh.task.left_out and not as_json:
            echo(f"{refresh.task.left_out} pairs of the test side were not looked at")
        if plan:
            return
        with resumable_answers():
            from genz_ppl.discovery.watch import Display

            with Display(False if quiet else None, first="writing profiles") as display:
                made = refresh.run(display.answers if display.shown else None)
    if not as_json:
        state = "is up to date" if made is refresh.task.old else "written"
        echo(f"{output} {state}: {len(made)} rows, {len(made.missing)} without a profile, vectors of {made.vectors.shape[1]}")


@profile_app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="The id of an item or user.", show_default=False)], file: File
) -> None:
    """Show all that FILE holds of one item or user: text, tags, answers, version, source."""
    from genz_ppl.profiles.status import explained
    from genz_ppl.profiles.table import read_profiles

    for line in explained(read_profiles(file), name):
        echo(line)


@profile_app.command()
@options.takes(*model_options.of("prompts", "price", "store"))
def status(context: typer.Context, file: File, *, as_json: Json = False, **_: Any) -> None:
    """Show rows, versions, what is stale or missing, the cost so far and that of a refresh. Asks nothing."""
    from genz_ppl.profiles.status import status_of
    from genz_ppl.profiles.table import read_profiles

    found, planned, why = read_profiles(file), None, ""
    try:
        planned = _refreshed(found, file, context.params)
    except GenzError as error:
        why = str(error)
    said = status_of(found, planned, why)
    if as_json:
        echo(json.dumps(said.to_dict(), ensure_ascii=False))
        return
    for line in said.lines():
        echo(line)
    if why:
        say(f"note: {why}")


def _refreshed(found: Profiles, file: Path, given: Mapping[str, Any]) -> Any:
    """The plan of a refresh as the file was made."""
    from genz_ppl.errors import InputError
    from genz_ppl.llm.served.settings import is_served
    from genz_ppl.profiles.refresh import Refresh

    noted = dict(found.about.made_with)
    needed = {"source": str, "roles": dict, "model": str, "encoder": str}
    if not all(isinstance(noted.get(name), kind) for name, kind in needed.items()):
        raise InputError(f"{file}: was made of items in memory; compare it from Python, with genz_ppl.profiles.Refresh")
    served = is_served(noted["model"]) or is_served(noted["encoder"])
    settings = {name: given[name] for name in ("prompts", "price") if given[name] is not None}
    settings = {name: noted[name] for name in ("base_url", "prompts") if noted.get(name)} | settings
    refresh = Refresh(
        _opened(noted),
        file,
        model=noted["model"],
        encoder=noted["encoder"],
        questions=noted.get("questions"),
        users=noted.get("users"),
        model_settings=settings if served else None,
        store=given["store"] if served else None,
    )
    return refresh.plan()


def _opened(source: Mapping[str, Any]) -> Items:
    """The items of ITEMS, of whose targets none is needed."""
    from genz_ppl.data import open_source

    roles = {name: value for name, value in source["roles"].items() if name in _ROLES}
    texts = roles.get("text")
    if texts:
        roles["text"] = texts[0] if len(texts) == 1 else texts  # one text may be a template
    return open_source(source["source"], require_target=False, **roles)


def _absolute(path: str) -> str:
    from genz_ppl.cli.sources import absolute_source

    table = path.removeprefix("table:")
    return absolute_source(path) if table == path else f"table:{os.path.abspath(os.path.expanduser(table))}"
