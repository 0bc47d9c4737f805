"""Algorithm 3: which feature can go with the least loss of the bound."""

from __future__ import annotations

from dataclasses import dataclass

from genz_ppl.inference.coordinate import refit
from genz_ppl.inference.state import Data, State


@dataclass(frozen=True)
class Removal:
    """One feature taken out: its position, the bound without it after a refit, and the refitted state."""

    feature: int
    bound: float
    state: State


def without(data: Data, feature: int) -> Data:
    """The data without one feature's answers."""
    kept = [k for k in range(data.answers.shape[1]) if k != feature]
    return data.with_answers(data.answers[:, kept])


def removals(state: State, data: Data, steps: int, expectation: str = "auto") -> list[Removal]:
    """Every feature removed in turn and the rest refitted from where it stood; in the order of the features."""
    outcomes = []
    for feature in range(data.answers.shape[1]):
        kept = [k for k in range(data.answers.shape[1]) if k != feature]
        reduced = state.with_columns(kept)
        bound = refit(reduced, without(data, feature), steps, expectation)
        outcomes.append(Removal(feature, bound.total, reduced))
    return outcomes


def least_useful(state: State, data: Data, steps: int, expectation: str = "auto") -> Removal:
    """The removal that leaves the highest bound (line 21 of Algorithm 3); the first one among equals."""
    return max(removals(state, data, steps, expectation), key=lambda removal: removal.bound)
