"""What the page shows of a run's folder, and the one edit at a time that it starts."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.alone import is_held
from genz_ppl.data import Items
from genz_ppl.discovery.edit.edited_run import locked_texts
from genz_ppl.discovery.edit.editing import HISTORY, find, put_back
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.progress import unpack
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.errors import GenzError, GenzWarning, OptionError

# Items shown of either side, and characters of each.
SHOWN, MOST_TEXT = 6, 400
CHANGES = ("drop", "add", "reword", "lock", "unlock", "mine")
_NUMBERS = ("effect", "effect_lower", "effect_upper", "p_e", "prevalence", "gain")


class Bench:
    """A run in a folder under observation. opening: how its model is opened, see `Discovery.load`; reopened: its items, as they
    are read, and as seldom as possible.
    """

    def __init__(self, folder: Path, opening: Mapping[str, Any], reopened: Callable[[RunDirectory], Items]) -> None:
        self.directory, self.opening, self._reopened = RunDirectory(folder), dict(opening), reopened
        self._items: Items | None = None
        self._work: threading.Thread | None = None
        self._lock = threading.Lock()
        self.said = ""

    @property
    def busy(self) -> bool:
        """Whether an edit is under way here."""
        return self._work is not None and self._work.is_alive()

    def state(self) -> dict[str, Any]:
        """The run as its folder has it now."""
        record = self.directory.record()
        try:
            table, curve = self.directory.features(), pd.read_csv(self.directory.path / "curve.csv")
        except (GenzError, OSError, ValueError) as error:  # before the first step
            return {
                "name": record.name,
                "status": self._status(record),
                "busy": self.busy,
                "said": self.said or str(error),
                "questions": [],
            }
        locked = locked_texts(record.edits)
        rows = table[table["active"]]
        rows = rows.loc[rows["effect"].abs().sort_values(ascending=False, na_position="last").index]
        questions = [
            {"id": row["id"], "text": row["text"], "origin": row["origin"], "locked": row["text"] in locked}
            | {name: _finite(row[name]) for name in _NUMBERS}
            for _, row in rows.iterrows()
        ]
        errors = [
            {
                "step": int(row["step"]),
                "event": row["event"],
                "feature": str(row["feature"]) if row["feature"] == row["feature"] else "",
            }
            | {name: _finite(row[name]) for name in ("train_error", "test_error")}
            for _, row in curve.iterrows()
        ]
        return {
            "name": record.name,
            "target": ", ".join(record.roles.target[:3]),
            "status": self._status(record),
            "busy": self.busy,
            "said": self.said,
            "metric": str(curve["metric"].iloc[-1]).replace("_", " "),
            "unit": self.directory.unit(),
            "questions": questions,
            "curve": errors,
            "undo": any((self.directory.path / HISTORY).glob("*/run.json")),
        }

    def examples(self, question: str) -> dict[str, Any]:
        """Training items on both sides of a question, those first that the model is surest of: id, text, target, q."""
        run = Discovery.load(self.directory.path)
        record = find(run.progress.active, question)
        place = [one.text for one in run.progress.active].index(record.text)
        items = self._own_items()
        train = items.take(run.record.split_of(items).train)
        answers, chances = unpack(run.progress.pool[record.text]), run.progress.state.posterior[:, place].numpy()
        sides = {}
        for side, value in (("yes", 1.0), ("no", 0.0)):
            there = np.flatnonzero(answers == value)
            order = there[np.argsort(-np.abs(chances[there] - (1 - value)), kind="stable")][:SHOWN]
            sides[side] = [_shown(train, t, float(chances[t])) for t in order.tolist()]
        return {"text": record.text, "n": {"yes": int((answers == 1).sum()), "no": int((answers == 0).sum())}, **sides}

    def _own_items(self) -> Items:
        if self._items is None:
            try:
                self._items = self._reopened(self.directory)
            except GenzError:  # their ids and targets, at least
                self._items = Discovery.load(self.directory.path).items
        return self._items

    def edit(self, changes: Mapping[str, Any]) -> None:
        """Begin an edit. Raises OptionError while one is under way, here or elsewhere, and for what is no change."""
        unknown = [name for name in changes if name not in CHANGES]
        texts = [changes.get(name, []) for name in ("drop", "add", "lock", "unlock")]
        sound = all(isinstance(some, list) and all(isinstance(text, str) for text in some) for some in texts)
        words, mine = changes.get("reword", {}), changes.get("mine", 0)
        sound &= isinstance(words, dict) and all(isinstance(text, str) for pair in words.items() for text in pair)
        if unknown or not sound or not isinstance(mine, int) or isinstance(mine, bool):
            raise OptionError("edit: expected lists of questions and their wordings")
        self._start(lambda: self._edited(changes))

    def undo(self) -> None:
        """Go back to before the last edit."""
        self._start(lambda: put_back(self.directory))

    def _edited(self, changes: Mapping[str, Any]) -> None:
        run = Discovery.load(self.directory.path, **self.opening)
        run.edit(**changes, items=self._reopened(self.directory), progress=False)

    def _status(self, record: RunRecord) -> str:
        """That of the run; a kill leaves "running" in a folder that nobody holds."""
        return "stopped" if record.status == "running" and is_held(self.directory.path) is False else record.status

    def _start(self, work: Callable[[], object]) -> None:
        with self._lock:
            if self.busy or self._status(self.directory.record()) == "running":
                raise OptionError("the run is under way: wait for its end")
            self.said = ""
            self._work = threading.Thread(target=self._carry_out, args=(work,), daemon=True)
            self._work.start()

    def _carry_out(self, work: Callable[[], object]) -> None:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", GenzWarning)
            try:
                work()
            except GenzError as error:
                self.said = str(error)
            else:
                self.said = "; ".join(str(one.message) for one in noted if issubclass(one.category, GenzWarning))


def _shown(train: Items, t: int, chance: float) -> dict[str, Any]:
    targets = [] if train.targets is None else [_finite(value) for value in train.targets[t, :3].tolist()]
    return {"id": train[t].id, "text": train[t].text[:MOST_TEXT], "targets": targets, "q": round(chance, 3)}


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
