"""`--config FILE.toml`: the options of a command from a file, read as if they had been typed; flags win."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from genz_ppl.errors import InputError, OptionError

_NOT_IN_A_FILE = ("config", "help")


def load_config(context: typer.Context, file: Path | None) -> Path | None:
    """Makes the file's values the defaults of the command being run.

    Keys are the long option names and the argument names in small letters, with - or _. A table with the command's name
    wins over what stands outside tables; tables of other commands are passed over.
    Raises InputError for a file that cannot be read and OptionError for a key or value that the command does not know.
    """
    if file is None or context.resilient_parsing:
        return file
    values = _values(_read(file), context, file)
    parameters = {_key(parameter): parameter for parameter in context.command.params}
    known = [key for key in parameters if key not in _NOT_IN_A_FILE]
    defaults = {}
    for key, value in values.items():
        if key not in known:
            raise OptionError(f"{file}: 'genz {context.info_name}' has no option {key!r}; {_near(key, known)}")
        defaults[parameters[key].name] = _as_typed(parameters[key], value, f"{file}: {key}")
    context.default_map = {**(context.default_map or {}), **defaults}
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {file}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:  # also not UTF-8
        raise InputError(f"--config {file}: not valid TOML ({error}); correct the file") from None


def _values(content: Mapping[str, Any], context: typer.Context, file: Path) -> dict[str, Any]:
    """The values for this command, each once, keys with "-"."""
    above: list[Any] = [context]
    while above[-1].parent is not None:
        above.append(above[-1].parent)
    commands = getattr(above[-1].command, "commands", {})
    command = str(above[-2 if above[1:] else -1].info_name)  # that of `genz profile make` is profile
    values: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(value, dict):
            _put(values, key, value, file)
        elif key not in commands:
            raise OptionError(f"{file}: there is no command {key!r} for the table [{key}]; {_near(key, list(commands))}")
    tables = ("fit", "plan") if command == "plan" else (command,)  # what fit would do is planned
    for name in tables:
        own: dict[str, Any] = {}
        table = content.get(name)
        for key, value in (table if isinstance(table, dict) else {}).items():
            _put(own, key, value, file)
        values |= own
    return values


def _put(values: dict[str, Any], key: str, value: Any, file: Path) -> None:
    name = key.replace("_", "-")
    if name in values:
        raise OptionError(f"{file}: {name} is there twice, once with - and once with _; keep one")
    values[name] = value


def _key(parameter: Any) -> str:
    """ "test-fraction" for --test-fraction, "source" for SOURCE."""
    long = next((name for name in parameter.opts if name.startswith("--")), None)
    return long.removeprefix("--") if long is not None else str(parameter.name).replace("_", "-")


def _near(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _as_typed(parameter: Any, value: Any, place: str) -> Any:
    """The value as it would have come from the command line, so that both are checked alike."""
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise OptionError(f"{place}: expected true or false, got {value!r}")
        return value
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return [str(value)] if getattr(parameter, "multiple", False) else str(value)
    if isinstance(value, list) and all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in value):
        parts = [str(part) for part in value]
        if getattr(parameter, "multiple", False):
            return parts
        if parameter.name in ("error_rate_prior", "price"):
            return ",".join(parts)
    raise OptionError(f"{place}: expected what one would type after the option, got {value!r}")
