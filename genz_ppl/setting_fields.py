"""What a setting is: a field that knows its words and limits, its check, and the documentation made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Real
from typing import Any, TypeVar

from genz_ppl.errors import OptionError


def check_choice(option: str, value: object, choices: Sequence[str]) -> None:
    """Raise OptionError unless value is one of the choices."""
    if value not in choices:
        raise OptionError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")


def check_number(option: str, value: float, low: float, high: float = float("inf"), whole: bool = True) -> None:
    """Raise OptionError unless value is a number (whole, if asked) from low to high."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high
    if not fits or (whole and value % 1 != 0):  # of infinity it is NaN
        kind = "a whole number" if whole else "a number"
        limits = f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise OptionError(f"{option}: expected {kind} {limits}, got {value!r}")


@dataclass(frozen=True)
class Setting:
    """What a setting is. help: a sentence; "{choices}" stands for the choices. panel: where `--help` shows it.

    choices: what it may be; code: or a "package.module:object". low, high: its limits if it is a number, both allowed; whole:
    whether it must be a whole one. metavar: what `--help` writes for its value. A setting whose default is None may be None.
    """

    help: str
    panel: str = ""
    choices: Sequence[str] | None = None
    code: bool = False
    low: float | None = None
    high: float = float("inf")
    whole: bool = True
    metavar: str | None = None

    @property
    def text(self) -> str:
        """`help` with its choices."""
        return self.help.replace("{choices}", " or ".join(self.choices or ()))


def setting(default: Any, help: str, panel: str = "", **limits: Any) -> Any:
    """A field of a settings class; limits: the other fields of `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, panel, **limits)})


def settings_of(kind: type) -> dict[str, tuple[Field[Any], Setting]]:
    """The fields of a settings class that say what they are, by name."""
    return {one.name: (one, one.metadata["setting"]) for one in fields(kind) if "setting" in one.metadata}


def shown_default(value: Any) -> str:
    """A default as a user would type it."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def check_fields(settings: Any) -> None:
    """Raise OptionError unless every field keeps to its choices and limits."""
    for name, (one, known) in settings_of(type(settings)).items():
        value = getattr(settings, name)
        if value is None and one.default is None:
            continue
        if known.choices is not None:
            free = value == one.default or (known.code and ":" in str(value))
            check_choice(name, value, [value] if free else known.choices)
        if known.low is not None:
            check_number(name, value, known.low, known.high, known.whole)
        if "bool" in str(one.type) and not isinstance(value, bool):
            raise OptionError(f"{name}: expected True or False, got {value!r}")


Kind = TypeVar("Kind", bound=type)


def documented(kind: Kind) -> Kind:
    """Class decorator: the settings of a class as the last lines of its docstring."""
    lines = [f"- {name}: {known.text} Default: {shown_default(one.default)}." for name, (one, known) in settings_of(kind).items()]
    kind.__doc__ = f"{(kind.__doc__ or '').rstrip()}\n\n    " + "\n    ".join(lines)
    return kind
