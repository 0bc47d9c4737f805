"""What leaves the program: texts for terminals and for spreadsheets, and files written in one stroke."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genz_ppl.errors import OptionError

# Control characters but tab and line feed, what turns the direction of writing around, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# As spreadsheets begin a formula, in wide characters too; apostrophes before it, so that `unquoted` can tell.
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")


def printable(text: str) -> str:
    r"""The text with every character that a terminal would obey spelled out, as in \u001b; inside JSON it says the same."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plural(count: int, noun: str) -> str:
    """ "1 feature", "2 features"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def quoted(text: str) -> str:
    """The text as a spreadsheet takes it for one: a leading apostrophe where it might be a formula, none where it is a number."""
    if _FORMULA.match(text) is None:
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def unquoted(text: str) -> str:
    """The reverse of `quoted`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def not_written(what: str, error: OSError) -> OptionError:
    """What to say where a file cannot be written by what can simply be asked for again."""
    reason = error.strerror or " ".join(str(error).split())
    return OptionError(f"{what}: cannot be written ({reason}); check space and permissions, and give it again")


@contextmanager
def in_one_stroke(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which takes that name at the end: a kill leaves the old content or the new.

    What bears its own name is taken away first, since it may be a link to somewhere else. Raises OSError.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
