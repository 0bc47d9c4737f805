"""The run directory: written so that a kill at any moment leaves it readable and the run resumable.

`state.safetensors` is the truth about a run's progress and is replaced in one stroke after every step; the tables beside
it are views of it. Times are kept in the views only, so that equal runs have equal states.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, TypeVar

import pandas as pd
from pydantic import BaseModel

from genz_ppl.discovery.run import trust
from genz_ppl.discovery.run.record import SIDES_APART, AnyRecord, RunRecord
from genz_ppl.discovery.run.sides import sides_bytes, sizes_of, with_sides
from genz_ppl.discovery.run.state_file import PROGRESS, UNREADABLE, Arrays, features_of, unpacked
from genz_ppl.discovery.run.tables import stored_features
from genz_ppl.errors import RunDirectoryError, RunNotSavedError
from genz_ppl.output import in_one_stroke

RUN_FILE, STATE_FILE, ITEMS_FILE, METRICS_FILE = "run.json", "state.safetensors", "items.parquet", "metrics.json"
SPLIT_FILE = "split.parquet"
Record = TypeVar("Record", bound=AnyRecord)


@dataclass(frozen=True)
class AnyDirectory(Generic[Record]):
    """A folder that holds one run."""

    path: Path
    #: What run.json must hold.
    kind: ClassVar[type[AnyRecord]]

    def create(self, record: Record) -> None:
        """Make the folder and write run.json. Raises RunDirectoryError if the folder holds anything."""
        self.check_free()
        trust.note(record)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"--out {self.path}: cannot be made: {error.strerror}; choose another folder") from None
        self.write_record(record)

    def check_free(self) -> None:
        """Raise RunDirectoryError unless a new run can be put here."""
        if (self.path / RUN_FILE).exists():
            raise RunDirectoryError(
                f"--out {self.path}: holds another run; go on with it by 'genz resume {self.path}', or choose another folder"
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"--out {self.path}: expected a folder, found a file; choose another name")
        if self.path.exists() and any(not _is_left_over(entry) for entry in self.path.iterdir()):
            raise RunDirectoryError(f"--out {self.path}: the folder is not empty; choose another one")

    def record(self) -> Record:
        """run.json."""
        try:
            content = (self.path / RUN_FILE).read_bytes()
        except FileNotFoundError:
            raise RunDirectoryError(
                f"{self.path}: expected a run directory, found no {RUN_FILE}; give the folder of --out"
            ) from None
        except NotADirectoryError:
            raise RunDirectoryError(f"{self.path}: expected a run directory, found a file; give the folder of --out") from None
        except OSError as error:
            raise RunDirectoryError(f"{self.path / RUN_FILE}: cannot be read: {error}") from None
        try:
            record = self.read_record(content)
        except ValueError as error:
            said = f"not written by genz-ppl, or by another version ({error}); give the folder of a run"
            raise RunDirectoryError(f"{self.path / RUN_FILE}: {said}") from None
        trust.check_likelihood(record, self.path)
        return record

    def read_record(self, content: bytes) -> Record:
        """What run.json says. Raises ValueError for what is no record."""
        record: Record = self.kind.read(content)  # type: ignore[assignment]
        return record

    def write_record(self, record: Record) -> None:
        """Replace run.json."""
        self.replace(RUN_FILE, json_of(record.content()))

    def set_status(self, status: str) -> None:
        """Change the status in run.json."""
        self.write_record(self.record().changed(status=status))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write a step boundary, what of it has changed: first the state, then its views."""
        for name, content in files.items():
            if self._holds(name, content):
                (self.path / f"{name}.partial").unlink(missing_ok=True)
            else:
                self.replace(name, content)

    def _holds(self, name: str, content: bytes) -> bool:
        """Whether a file says this already."""
        path = self.path / name
        try:
            return path.stat().st_size == len(content) and path.read_bytes() == content
        except OSError:
            return False

    def state(self, form: type[BaseModel]) -> tuple[Arrays, dict[str, Any]] | None:
        """The last step boundary, or None if the run was stopped before its first, with the seconds of its curve."""
        path = self.path / STATE_FILE
        if not path.exists():
            return None
        try:
            arrays, plain = unpacked(path, form)
        except UNREADABLE as error:
            raise self.unreadable(error) from None
        try:
            seconds = [float(value) for value in pd.read_csv(self.path / "curve.csv")["seconds"]]
        except (OSError, KeyError, ValueError):
            seconds = []  # times are for people
        seconds += [seconds[-1] if seconds else 0.0] * len(plain["curve"])
        for row, value in zip(plain["curve"], seconds, strict=False):
            row["seconds"] = value
        return arrays, plain

    def unreadable(self, error: Exception) -> RunDirectoryError:
        """What to say of a state file that is none."""
        reason = " ".join(str(error).split())[:200]
        return RunDirectoryError(f"{self.path / STATE_FILE}: cannot be read: {reason}; take an intact copy of the folder")

    def note(self, name: str, value: Any) -> None:
        """Add an entry to metrics.json."""
        path = self.path / METRICS_FILE
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.replace(METRICS_FILE, json_of({**content, name: value}))

    def noted(self, name: str) -> Any:
        """An entry of metrics.json; None where there is none."""
        try:
            content = json.loads((self.path / METRICS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content.get(name) if isinstance(content, dict) else None

    def replace(self, name: str, content: bytes | Callable[[BinaryIO], object]) -> None:
        """Write a file in one stroke. content: or what writes it.

        Raises RunNotSavedError where there is a run to go on with, else RunDirectoryError.
        """
        begun = (self.path / RUN_FILE).exists()
        try:
            with in_one_stroke(self.path / name) as partial, partial.open("xb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            said = f"{self.path / name}: cannot be written: {error.strerror}; "
            if begun:
                raise RunNotSavedError(f"{said}what was saved before is intact, free some space or set the permissions") from None
            raise RunDirectoryError(f"{said}free some space, set the permissions, or choose another folder") from None


class RunDirectory(AnyDirectory[RunRecord]):
    """Of one kind of items."""

    kind = RunRecord

    def read_record(self, content: bytes) -> RunRecord:
        """The same, with the sides of the items, wherever they are. Raises RunDirectoryError where they cannot be read."""
        record = super().read_record(content)
        return record if record.sides is None else with_sides(record, self.path / SPLIT_FILE)

    def write_record(self, record: RunRecord) -> None:
        """Replace run.json, after the sides of the items where they are not written yet."""
        if record.format >= SIDES_APART:
            if not (self.path / RUN_FILE).exists():
                self.replace(SPLIT_FILE, sides_bytes(record))
            record = record.changed(sides=sizes_of(record))
        super().write_record(record)

    def features(self) -> pd.DataFrame:
        """`Discovery.features`, without the model. Raises RunDirectoryError as `Discovery.load` does."""
        raters = self.record().raters
        if (found := self.state(PROGRESS)) is None:
            raise self.not_begun()
        try:
            return stored_features(features_of(found[1]), found[0], raters)
        except UNREADABLE as error:
            raise self.unreadable(error) from None

    def unit(self) -> str:
        """`Discovery.unit`, without the model; "" before the end of a run."""
        found = self.state(PROGRESS)
        return str(found[1].get("unit", "")) if found else ""

    def not_begun(self) -> RunDirectoryError:
        """What to say of a run that has nothing to show yet."""
        return RunDirectoryError(f"{self.path}: the run was stopped before its first step; start it anew or resume it")


def _is_left_over(path: Path) -> bool:
    """Whether a run that was stopped before it had a run.json leaves such a file."""
    return path.name.endswith(".partial") or path.name == SPLIT_FILE


def json_of(content: dict[str, Any]) -> bytes:
    """As it is written to a file."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
