"""Writes docs/api.md from the docstrings of the public names and docs/commands.md from the commands: python docs/make_api.py."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent

# Module: its public names on the page, or None for its __all__.
MODULES: dict[str, tuple[str, ...] | None] = {
    "genz_ppl": None,
    "genz_ppl.data": None,
    "genz_ppl.inference": None,
    "genz_ppl.inference.pairs": None,
    "genz_ppl.data.pairs": ("read_pairs", "pairs_from_frame", "with_absent"),
    "genz_ppl.models": None,
    "genz_ppl.models.cooccurrence": ("CoOccurrence", "PairBatch", "SideInputs"),
    "genz_ppl.discovery.baseline": ("readings", "pruning_path", "Readings", "Point"),
    "genz_ppl.profiles": None,
    "genz_ppl.recommend": None,
    "genz_ppl.settings": ("DiscoverSettings", "FitSettings", "PairSettings"),
    "genz_ppl.llm.served.settings": ("ModelSettings",),
    "genz_ppl.llm.registry": ("open_model",),
    "genz_ppl.llm.rules.model": ("RulesModel",),
    "genz_ppl.llm.table": ("TableModel",),
    "genz_ppl.llm.joined": ("JoinedModel",),
    "genz_ppl.llm.served.model": ("OpenAIModel",),
    "genz_ppl.errors": ("GenzError", "InputError", "OptionError", "ModelError", "BudgetError", "RunDirectoryError", "StoreError"),
}
KINDS = {"int": "whole number", "integer": "whole number", "float": "number", "str": "text", "Path": "path"}
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
NOTE = "<!-- Made by `python docs/make_api.py`; change the {source} instead. -->"


def api_page() -> str:
    """docs/api.md: every public name once, where it is first listed."""
    seen: set[int] = set()
    parts = ["# Python API", NOTE.format(source="docstrings"), "Tensors and arrays are float64; T items, K features, D targets."]
    for module_name, listed in MODULES.items():
        module = import_module(module_name)
        names = sorted(module.__all__ if listed is None else listed, key=str.lower)
        objects = [(name, getattr(module, name)) for name in names]
        fresh = [(name, thing) for name, thing in objects if callable(thing) and id(thing) not in seen]
        seen |= {id(thing) for _, thing in fresh}
        parts += [f"## {module_name}", prose(module.__doc__)]
        parts += [part for name, thing in fresh for part in entry(name, thing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def entry(name: str, thing: Any) -> Iterator[str]:
    """The parts of a function or a class with its public methods, those of its bases left out."""
    if not inspect.isclass(thing):
        yield from (f"### {name}", code(f"{name}{arguments(thing)}"), prose(thing.__doc__))
        return
    yield f"### {name}"
    if not issubclass(thing, BaseException) and not getattr(thing, "_is_protocol", False):
        yield code(f"{name}{arguments(thing)}")
    yield prose(thing.__doc__)
    for member, value in vars(thing).items():
        if not member.startswith("_") and (line := method(member, value)):
            yield line


def method(name: str, value: Any) -> str:
    """A list entry for a documented method or property, else an empty text."""
    if isinstance(value, property):
        signature, doc = name, value.__doc__
    elif isinstance(value, classmethod | staticmethod):
        signature, doc = f"{name}{arguments(value.__func__)}", value.__func__.__doc__
    elif inspect.isfunction(value):
        signature, doc = f"{name}{arguments(value)}", value.__doc__
    else:
        return ""
    return f"- `{signature}`\n\n{indented(prose(doc))}" if doc else ""


def arguments(thing: Any) -> str:
    """(a, b: int = 3) -> float, with the annotations as they are written; on one line."""
    signature = inspect.signature(thing)
    shown, named_only = [], False
    for name, parameter in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        stars = STARS.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            shown.append("*")
        named_only = named_only or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        kind = "" if parameter.annotation is parameter.empty else f": {written(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {default_text(parameter.default)}"
        shown.append(f"{stars}{name}{kind}{default}")
    result = signature.return_annotation
    gives = "" if inspect.isclass(thing) or result is signature.empty else f" -> {written(result)}"
    return f"({', '.join(shown)}){gives}"


def written(annotation: Any) -> str:
    """An annotation as the source has it."""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def default_text(value: Any) -> str:
    """A default, without the address that some objects have in their repr."""
    text = repr(value)
    return "..." if " at 0x" in text or text.startswith("<") else text


def prose(doc: str | None) -> str:
    """A docstring as Markdown: what looks like a tag outside of code is kept as it is written."""
    pieces = re.split(r"(`[^`]*`)", inspect.cleandoc(doc or ""))
    return "".join(piece if piece.startswith("`") else piece.replace("<", "&lt;").replace("*", r"\*") for piece in pieces)


def code(line: str) -> str:
    """One signature in a block, broken after commas where it is long."""
    if len(line) <= 110:
        return f"```python\n{line}\n```"
    head, _, rest = line.partition("(")
    inner, _, tail = rest.rpartition(")")
    lines = "".join(f"    {piece},\n" for piece in split_at_commas(inner))
    return f"```python\n{head}(\n{lines}){tail}\n```"


def split_at_commas(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        quote = ("" if letter == quote else quote) if quote else (letter if letter in "'\"" else "")
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces if piece.strip()]


def indented(text: str) -> str:
    """Moved below a list entry."""
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())


def commands_page() -> str:
    """docs/commands.md: what `--help` says of every command; groups of options that an earlier command has are linked."""
    from typer.main import get_command

    from genz_ppl.cli.app import app

    known: dict[str, tuple[str, str]] = {}
    parts = ["# Commands", NOTE.format(source="commands in `genz_ppl/cli`")]
    parts.append("`genz COMMAND --help` shows the same. Options may also stand in a file, `--config FILE.toml`; flags win.")
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    order = ["fit", *(name for name in commands if name != "fit")]  # most groups of options are its own
    for name in order:
        parts += command_parts(f"genz {name}", commands[name], known)
        for inner, command in getattr(commands[name], "commands", {}).items():
            parts += command_parts(f"genz {name} {inner}", command, known)
    return "\n\n".join(parts) + "\n"


def command_parts(title: str, command: Any, known: dict[str, tuple[str, str]]) -> list[str]:
    """Heading, text and tables of a command. known: the tables so far with the command and the heading they stand under."""
    taken = [parameter for parameter in command.params if parameter.name != "help"]
    places = [parameter.metavar for parameter in taken if parameter.param_type_name == "argument"]
    parts = [f"## {title}", f"`{' '.join([title, *places, '[OPTIONS]'])}`", help_text(command.help)]
    panels: dict[str, list[Any]] = {}
    for parameter in taken:
        own = "Arguments" if parameter.param_type_name == "argument" else "Options"
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(parameter)
    for panel, parameters in panels.items():
        table = option_table(parameters)
        if table in known:
            parts.append(f"{panel}: as in [{known[table][0]}](#{known[table][1]}).")
        else:
            heading = f"{title.removeprefix('genz ')}: {panel}"
            known[table] = (title, slug(heading))
            parts += [f"### {heading}", table]
    return parts


def option_table(parameters: Sequence[Any]) -> str:
    """A Markdown table of options or arguments."""
    rows = ["| | | |", "|---|---|---|"]
    for parameter in parameters:
        is_argument = parameter.param_type_name == "argument"
        flags = [parameter.metavar] if is_argument else [*parameter.opts, *parameter.secondary_opts]
        kind = "" if is_argument or parameter.is_flag else parameter.metavar or value_kind(parameter)
        required = " Required." if parameter.required else ""
        text = help_text(parameter.help).replace("|", r"\|")
        rows.append(f"| {', '.join(f'`{flag}`' for flag in flags)} | {kind} | {text}{required} |")
    return "\n".join(rows)


def value_kind(parameter: Any) -> str:
    """What kind of value an option takes; Typer keeps it in one of two places, by its version."""
    described = getattr(parameter, "type_descriptor", None)
    name: str = parameter.type.name if described is None else described.annotation.__name__
    return KINDS.get(name, name)


def help_text(text: str | None) -> str:
    """The words of a help text without the escapes of its markup, on one line."""
    return " ".join((text or "").replace("\\[", "[").split())


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def pages() -> dict[Path, str]:
    """The generated files and what they should hold."""
    return {FOLDER / "api.md": api_page(), FOLDER / "commands.md": commands_page()}


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
