"""The one life cycle of all kinds of runs: from a start or a step that was saved to the end, step by step, each written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from genz_ppl.discovery.run.folder import AnyDirectory
from genz_ppl.discovery.run.record import AnyRecord
from genz_ppl.errors import BudgetError, RunDirectoryError


class Stepped(Protocol):
    """What every run knows of itself at a step boundary. status: "running" until it is "done"."""

    status: str


P = TypeVar("P", bound=Stepped)
Record = TypeVar("Record", bound=AnyRecord)


class RunKind(Protocol[P]):
    """A kind of run: discovery, the 0-shot baseline, two kinds of items. What a step does depends on the seed and its number."""

    def start(self) -> P:
        """A run before its first step."""
        ...

    def advance(self, progress: P, settled: Callable[[P], None]) -> None:
        """Take `progress` at least one step on, in place, and call `settled` at the end of each."""
        ...

    def dump(self, progress: P) -> Mapping[str, bytes]:
        """What the folder holds of a step boundary: the state, from which the run goes on, and then its views."""
        ...

    def load(self, directory: Any) -> P | None:
        """The last step boundary that the folder holds, None where there is none."""
        ...


def drive(
    kind: RunKind[P],
    progress: P,
    record: Record,
    directory: AnyDirectory[Record] | None = None,
    on_step: Callable[[P], None] | None = None,
) -> Record:
    """Go on from `progress`, in place, to the end of a run, writing down every step; returns its record as it then stands.

    on_step: called at the beginning and after each step. Whatever is raised on the way is raised after the state so far and why
    the run stopped are written.
    """

    def settled(current: P) -> None:
        nonlocal record
        followed = record.following(current)
        if directory is not None:
            directory.write(kind.dump(current))
            if followed is not record:
                directory.write_record(followed)
        record = followed
        if on_step is not None:
            on_step(current)

    try:
        if directory is not None:
            directory.write_record(record.changed(status=progress.status))
        settled(progress)
        while progress.status == "running":
            kind.advance(progress, settled)
    except BaseException as error:
        if directory is not None and not isinstance(error, RunDirectoryError):
            directory.set_status(_status_after(error))
        raise
    record = record.changed(status=progress.status)
    if directory is not None:
        directory.write_record(record)
    return record


def _status_after(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "stopped" if isinstance(error, BudgetError) else "failed"
