"""How a run is followed: on a terminal by a display, elsewhere by a line a step on stderr, by programs in a log of JSON."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from genz_ppl.cli.messages import echo, say
from genz_ppl.errors import GenzWarning, OptionError
from genz_ppl.settings import RUN

LogJson = Annotated[
    str | None,
    typer.Option(
        "--log-json",
        metavar="FILE",
        help="Add one JSON object a step to this file; -: to stdout, in place of the tables.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]


@contextmanager
def followed(quiet: bool, log_json: str | None) -> Iterator[dict[str, Any]]:
    """The arguments of a display: what is shown, told and logged. Raises OptionError for a log that cannot be written."""
    ways: dict[str, Any] = {"shown": False if quiet else None, "tell": None if quiet else say}
    if log_json in (None, "-"):
        yield {**ways, "log": None if log_json is None else _stdout}
        return
    path = Path(str(log_json))
    new = not path.exists()
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("a", encoding="utf-8", newline="\n"))
        except OSError as error:
            reason = error.strerror or error
            raise OptionError(f"--log-json: {path} cannot be written ({reason}); name another file, or - for stdout") from error
        try:
            yield {**ways, "log": _into(file, path)}
        finally:
            if new and path.exists() and path.stat().st_size == 0:  # the command was refused: nothing is left behind
                path.unlink()


def tables_wanted(log_json: str | None) -> bool:
    """Whether stdout is free for tables."""
    return log_json != "-"


def _stdout(line: str) -> None:
    echo(line, data=True)


def _into(file: TextIO, path: Path) -> Callable[[str], None]:
    """Writes lines to the end of a file, each at once; a run outlives its log."""
    failed = False

    def write(line: str) -> None:
        nonlocal failed
        try:
            if not failed:
                file.write(f"{line}\n")
                file.flush()
        except OSError as error:
            failed = True
            reason = error.strerror or error
            warnings.warn(f"--log-json: {path} is not written any more ({reason}); the run goes on", GenzWarning, stacklevel=2)

    return write
