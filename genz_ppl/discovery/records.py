"""What a run knows at a step boundary; enough to go on from there to the same end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.inference.state import State

CURVE_COLUMNS = (
    "step",
    "cycle",
    "event",
    "feature",
    "n_features",
    "bound",
    "train_error",
    "test_error",
    "metric",
    "answers_asked",
    "proposals_asked",
    "calls",
    "tokens_in",
    "tokens_out",
    "cost",
    "seconds",
)


@dataclass
class FeatureRecord:
    """One feature of a run. gain: nats by which the bound rose when it was added. removed_at: None while active."""

    id: str
    text: str
    origin: str
    gain: float
    added_at: int
    removed_at: int | None = None

    @property
    def active(self) -> bool:
        """Whether the feature is part of the model now."""
        return self.removed_at is None


@dataclass
class Counters:
    """What was asked of the foundation model so far. answers_asked counts item-feature pairs."""

    answers_asked: int = 0
    proposals_asked: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass
class Progress:
    """A run at a step boundary.

    state: the fitted model of the active features, in the order of `active`. train_answers, test_answers: their answers,
    (T, K) and (U, K). pool: every wording ever answered on the training items, as int8 of 1, 0 and -1 (no answer).
    phase: what comes next in this cycle: additions and cuts done, features added.
    """

    state: State
    train_answers: NDArray[np.float64]
    test_answers: NDArray[np.float64]
    bound: float
    features: list[FeatureRecord] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    pool: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    step: int = 0
    cycle: int = 1
    additions_done: int = 0
    cuts_done: int = 0
    added_in_cycle: int = 0
    seconds: float = 0.0
    status: str = "running"

    @property
    def active(self) -> list[FeatureRecord]:
        """The features of the model, in column order."""
        return [record for record in self.features if record.active]
