"""Which features were in the model at each step of a run, read back from its curve and its feature table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Step:
    """One step of a run and the features after it, oldest first. added, removed: what it changed.

    event: "start", "add", "prune", "update" (one out, one in), "return" (to the best model so far) or "final".
    test_error: NaN where the test items were not asked about yet.
    """

    step: int
    cycle: int
    event: str
    train_error: float
    test_error: float
    active: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def known_error(self) -> float:
        """On test items, or, where that is not known, on training items."""
        return self.train_error if math.isnan(self.test_error) else self.test_error


@dataclass(frozen=True)
class _Row:
    """The rows of the curve of one step: all of them were written when it was over."""

    step: int
    n_features: int
    added: frozenset[str]
    pruned: frozenset[str]
    final: bool
    last: Mapping[Any, Any]

    @classmethod
    def of(cls, step: int, rows: Sequence[Mapping[Any, Any]]) -> _Row:
        named = {kind: frozenset(str(row["feature"]) for row in rows if row["event"] == kind) for kind in ("add", "prune")}
        final = any(row["event"] == "final" for row in rows)
        return cls(step, int(rows[-1]["n_features"]), named["add"], named["prune"], final, rows[-1])


def steps_of(curve: pd.DataFrame, features: pd.DataFrame) -> tuple[Step, ...]:
    """The run's steps that changed something. curve, features: as in curve.csv and features.csv.

    Additions and prunings are written down one by one; that a run went back to its best model before its last prunings is
    not, and shows in the number of features and in what was removed at that step.
    """
    events = [row for row in curve.to_dict("records") if row["event"] != "discard"]
    rows = [_Row.of(int(step), list(group)) for step, group in groupby(events, key=lambda row: row["step"])]
    order = {text: position for position, text in reversed(list(enumerate(features["text"])))}
    steps, before = [], set[str]()
    for row, (now, returned) in zip(rows, _sets_after(rows, features), strict=True):
        added, removed = now - before, before - now
        steps.append(
            Step(
                step=row.step,
                cycle=int(row.last["cycle"]),
                event=_event(row, bool(added or removed), returned),
                train_error=float(row.last["train_error"]),
                test_error=float(row.last["test_error"]),
                active=_ordered(now, order),
                added=_ordered(added, order),
                removed=_ordered(removed, order),
            )
        )
        before = now
    return tuple(steps)


def _event(row: _Row, changed: bool, returned: bool) -> str:
    if returned and changed:
        return "return"
    if row.final:
        return "final"
    if row.added and row.pruned:
        return "update"
    return str(row.last["event"])


def _ordered(texts: set[str], order: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (order.get(text, -1), text)))


def _sets_after(rows: Sequence[_Row], features: pd.DataFrame) -> list[tuple[set[str], bool]]:
    """The features after each step, and whether it was the one that went back to the best model."""
    forward: list[set[str]] = []
    for row in rows:
        before = forward[-1] if forward else set[str]()
        forward.append((before - row.pruned) | row.added)
    # From the end backwards: what the last prunings took out was there before them.
    start, now = len(rows), set(features.loc[features["active"], "text"])
    backward: dict[int, set[str]] = {}
    while start > 0 and (rows[start - 1].final or (rows[start - 1].pruned and not rows[start - 1].added)):
        start -= 1
        backward[start] = now
        now = now | rows[start].pruned
    back = next((i for i in sorted(backward) if _went_back(rows[i], forward[i], features)), len(rows))
    return [(backward[i], i == back) if i >= back else (known, False) for i, known in enumerate(forward)]


def _went_back(row: _Row, expected: set[str], features: pd.DataFrame) -> bool:
    """Whether the run was back at its best model after this step: features went without an event, or came back."""
    gone = set(features.loc[features["removed_at"] == row.step, "text"]) - row.pruned
    return row.final or len(expected) != row.n_features or bool(gone)
