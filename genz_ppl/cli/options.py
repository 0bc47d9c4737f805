"""The options that commands share. Those of settings are made from their fields; an option not given is not passed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from genz_ppl.cli.config import load_config
from genz_ppl.setting_fields import Setting, settings_of, shown_default
from genz_ppl.settings import RUN, DiscoverSettings

_TYPES = (int, float, bool, str)


def of(kind: type, *names: str, parsers: Mapping[str, Callable[[str], Any]] | None = None) -> list[Parameter]:
    """Options for the fields of a settings class, all or those named; None where not given. parsers: of other kinds of values."""
    known, hints = settings_of(kind), get_type_hints(kind)
    return [_parameter(name, *known[name], hints[name], (parsers or {}).get(name)) for name in names or known]


def _parameter(name: str, field: Field[Any], known: Setting, hint: Any, parser: Callable[[str], Any] | None) -> Parameter:
    flag, default = f"--{name.replace('_', '-')}", field.default
    shown = shown_default(default)
    if bool in (hint, *get_args(hint)):
        shown = shown if default is None else flag if default else f"--no-{flag[2:]}"
        flag = f"{flag}/--no-{flag[2:]}"
    if isinstance(default, tuple) and parser is None:
        parser = pair
    option = typer.Option(
        flag,
        help=f"{known.text} \\[{shown}]",
        metavar=known.metavar,
        parser=parser,
        rich_help_panel=known.panel,
        show_default=False,
    )
    plain = next((part for part in get_args(hint) if part in _TYPES), hint)
    kind: Any = plain if plain in _TYPES and parser is None else str
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


Command = TypeVar("Command", bound=Callable[..., None])


def takes(*added: Parameter) -> Callable[[Command], Command]:
    """Decorator: a command with these options, too, which it reads from its context. They stand before those after its `*`."""

    def decorate(command: Command) -> Command:
        declared = signature(command, eval_str=True).parameters.values()
        own = [one for one in declared if one.kind is not Parameter.VAR_KEYWORD]
        first = [one for one in own if one.kind is not Parameter.KEYWORD_ONLY]
        last = [one for one in own if one.kind is Parameter.KEYWORD_ONLY]
        every = [*first, *added, *last]
        command.__signature__ = Signature(every, return_annotation=None)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in every}
        return command

    return decorate


def given(name: str, kind: Any, text: str, panel: str, metavar: str | None = None) -> Parameter:
    """An option of this kind, None where it is not given."""
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(flag, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def names_of(text: str) -> list[str]:
    """Names with commas between them. Raises BadParameter where there is none."""
    if names := [name.strip() for name in str(text).split(",") if name.strip()]:
        return names
    raise typer.BadParameter(f"expected names with commas between them, got {text!r}")


def pair(text: str) -> tuple[float, float]:
    """Two numbers from "A,B". Raises BadParameter for anything else."""
    try:
        first, second = (float(part) for part in str(text).split(","))
    except ValueError:
        raise typer.BadParameter(f"expected two numbers A,B, got {text!r}") from None
    if not (0 < first < float("inf") and 0 < second < float("inf")):
        raise typer.BadParameter(f"expected two finite numbers above 0, got {text!r}")
    return first, second


SOURCE_HELP = (
    "A file (.csv, .tsv, .json, .jsonl, also with .gz, .bz2, .zst or .zip behind; .parquet, .xlsx), a folder of .parquet files, "
    "an address (https://..., s3://...), - for standard input, or binary, houses:DIR, "
    "houses-metadata:DIR, movielens:DIR, movielens-genres:DIR, movielens-plots:DIR, netflix:DIR, things:DIR. "
    "Films take options: movielens:DIR,items=512,dimensions=32,alpha=0."
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run (--out of fit).", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Take options from this file; flags win.",
        is_eager=True,
        callback=load_config,
        rich_help_panel=RUN,
        show_default=False,
    ),
]
KeepTexts = Annotated[
    bool, typer.Option("--keep-texts", help="Keep what a model read of the items in DIR, for its reports.", rich_help_panel=RUN)
]
Ceiling = Annotated[
    bool,
    typer.Option(
        "--ceiling/--no-ceiling",
        help="End with what gradient boosting on all fields reaches on the same split (needs the extra report).",
        rich_help_panel=RUN,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=RUN)]

Raw = Annotated[
    bool, typer.Option("--raw", help="In csv, no apostrophe before texts that begin as a formula of a spreadsheet would.")
]

OtherDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Go on on another device than the run was begun on: cpu, cuda or cuda:1.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]

Seed = of(DiscoverSettings, "seed")[0].annotation
SETTINGS = of(DiscoverSettings)
COLUMNS = [
    given(name, kind, text, "Columns", "COLUMN")
    for name, kind, text in (
        ("id", str, "The column of unique ids."),
        ("target", list[str], "A column to explain: numbers or classes; repeatable."),
        ("covariate", list[str], "A column of numbers given to the link; repeatable."),
        (
            "text",
            list[str],
            'A column a model reads, repeatable, or one template "{title} ({year})"; all but id, target and split if not given.',
        ),
        ("image", list[str], "A column of image paths; repeatable."),
        ("split", str, 'A column of "train" and "test".'),
        ("group", str, "Rows of one group stay on one side of the split."),
        ("varying", str, "Intercept and covariate weights vary by this column's values, partially pooled."),
        ("as_text", list[str], "A column read as text, whatever it looks like; repeatable."),
        ("as_number", list[str], "A column read as numbers, whatever it looks like; repeatable."),
        ("drop", list[str], "A column that is not read; repeatable."),
    )
]
WRITTEN = [
    given("sep", str, "What separates the cells of a text file, such as ';'; mostly found out.", "Columns", "CHARACTER"),
    given("decimal", str, "What stands before decimals in a text file: , or the usual point.", "Columns", "MARK"),
    given("encoding", str, "Of a text file, such as latin-1; UTF-8 if not given.", "Columns", "NAME"),
    given(
        "memory", str, "Such as 2GB: targets that take more than a fourth of it are kept in a file meanwhile.", "Columns", "SIZE"
    ),
]
COLUMNS += WRITTEN
_VECTORS = "Vectors of a file of profiles, by id: as covariates, or FILE,as=targets, or FILE,as=similarity for that model."
COLUMNS.append(given("vectors", str, _VECTORS, "Columns", "FILE"))
