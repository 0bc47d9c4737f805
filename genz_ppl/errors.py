"""The errors and warnings a user can meet; every message says what was expected, what came, and what to do next.

Each error class carries the exit code the command line ends with (README, "Exit codes").
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class GenzError(Exception):
    """Base of all errors that genz-ppl raises on purpose. The message is one line, ready to be shown."""

    exit_code: ClassVar[int] = 2


class InputError(GenzError, ValueError):
    """The data are not usable: a file, a column or a value is wrong."""


class OptionError(GenzError, ValueError):
    """An option or argument is unknown, out of range, or does not go with another one."""


class RunDirectoryError(GenzError):
    """A run directory is missing, belongs to another run, or cannot be read."""


class RunNotSavedError(RunDirectoryError):
    """A step of a run could not be written, on a full disk say. What was saved before is intact; the run can be resumed."""

    exit_code: ClassVar[int] = 4


class ModelError(GenzError, RuntimeError):
    """The foundation model failed for good. What was done so far is saved; the run can be resumed."""

    exit_code: ClassVar[int] = 4


class UnusableReplyError(ModelError):
    """A foundation model replies, but never with what was asked for."""


class StoreError(GenzError):
    """The store of answers cannot be opened, read or written. What it holds is kept; the run can be resumed."""

    exit_code: ClassVar[int] = 4


class BudgetError(GenzError):
    """A cap on calls, tokens or money is reached. What was done so far is saved; the run can be resumed with a higher cap."""

    exit_code: ClassVar[int] = 3


class GenzWarning(UserWarning):
    """Something was taken for what it probably is, or may not be what was meant; the message says how to have it otherwise.

    Given by `warnings.warn(message, GenzWarning, stacklevel=2)`, one line; the command line shows each text once, on stderr.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'area'? " where one of the known names is close, letter case aside, else ""; for a message."""
    lowered = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return f"did you mean {lowered[close[0]][:40]!r}? " if close else ""
