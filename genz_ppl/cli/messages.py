"""What the command line says on stderr, and the two ways in which a run stops early but can go on."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from genz_ppl.errors import BudgetError, GenzError, GenzWarning, ModelError, RunNotSavedError, StoreError
from genz_ppl.output import printable

INTERRUPTED = 130


class RunStoppedError(GenzError):
    """The run was stopped; `code` is what the process ends with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def echo(text: str = "", nl: bool = True, data: bool = False) -> None:
    """Text on stdout, whatever it holds: the way out to a terminal. data: unchanged, unless it goes to one."""
    typer.echo(text if data and not sys.stdout.isatty() else printable(text), nl=nl)


def say(message: object) -> None:
    """One line on stderr, whatever the message holds, if anybody is there still."""
    with suppress(OSError):
        typer.echo(f"genz: {printable(' '.join(str(message).splitlines()))}", err=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP stop a command as Ctrl-C does, unless they are ignored (nohup) or somebody else's."""
    kinds = [kind for name in ("SIGTERM", "SIGHUP") if (kind := getattr(signal, name, None)) is not None]
    here = threading.current_thread() is threading.main_thread()  # elsewhere no handler can be set
    taken = [kind for kind in kinds if here and signal.getsignal(kind) is signal.SIG_DFL]
    try:
        for kind in taken:
            signal.signal(kind, signal.default_int_handler)
        yield
    finally:
        for kind in taken:
            signal.signal(kind, signal.SIG_DFL)


@contextmanager
def noted() -> Iterator[None]:
    """Every GenzWarning becomes one line on stderr, each text once; other warnings are shown as ever."""
    said: set[str] = set()
    with warnings.catch_warnings():  # puts back `showwarning` too
        warnings.simplefilter("always", GenzWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
            if not issubclass(category, GenzWarning):
                others(message, category, *rest, **named)
            elif str(message) not in said:
                said.add(str(message))
                say(f"note: {message}")

        warnings.showwarning = show
        yield


@contextmanager
def resumable(folder: Path | None) -> Iterator[None]:
    """Turns what stops a run early into RunStoppedError with the way to go on from the run in `folder`.

    A failing foundation model, an unusable store, a full disk, a cap that is reached, and Ctrl-C.
    """
    try:
        yield
    except (BudgetError, ModelError, StoreError, RunNotSavedError) as error:
        raise RunStoppedError(f"{error}; {_way_on(folder, getattr(error, 'option', None))}", error.exit_code) from error
    except KeyboardInterrupt:
        raise RunStoppedError(f"interrupted; {_way_on(folder)}", INTERRUPTED) from None


@contextmanager
def resumable_answers(kept: str = "what was answered is stored") -> Iterator[None]:
    """The same for a command that can simply be given again. kept: what is not done, or paid for, twice."""
    again = f"{kept}: give the command again"
    try:
        yield
    except (BudgetError, ModelError, StoreError) as error:
        raise RunStoppedError(f"{error}; {again}", error.exit_code) from error
    except KeyboardInterrupt:
        raise RunStoppedError(f"interrupted; {again}", INTERRUPTED) from None


def _way_on(folder: Path | None, cap: str | None = None) -> str:
    """cap: the setting to be raised."""
    if folder is not None and (folder / "run.json").exists():
        raised = "" if cap is None else f" --{cap.replace('_', '-')} MORE"
        return f"what was done is saved, go on with: genz resume {shlex.quote(str(folder))}{raised}"
    return "nothing was written"
