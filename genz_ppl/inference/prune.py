"""Algorithm 3: which feature can go with the least loss of the bound."""

from __future__ import annotations

from dataclasses import dataclass

from genz_ppl.inference.coordinate import expectation_for, refit
from genz_ppl.inference.linear_gaussian import is_linear_gaussian
from genz_ppl.inference.state import Data, State, bound_of

# Removals that get a refit when a refit means training.
REFITTED = 3


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
    """Features removed in turn and the rest refitted from where it stood; in the order of the features.

    Where a refit is gradient training, only the few removals that hurt least before it are refitted and returned.
    """
    outcomes = []
    for feature in _promising(state, data, expectation):
        kept = [k for k in range(data.answers.shape[1]) if k != feature]
        reduced = state.with_columns(kept)
        bound = refit(reduced, without(data, feature), steps, expectation)
        outcomes.append(Removal(feature, bound.total, reduced))
    return outcomes


def _promising(state: State, data: Data, expectation: str) -> list[int]:
    features = list(range(data.answers.shape[1]))
    if is_linear_gaussian(state.model) or len(features) <= REFITTED:
        return features
    bounds = []
    for feature in features:
        kept, rest = [k for k in features if k != feature], without(data, feature)
        reduced = state.with_columns(kept)
        method = expectation_for(reduced.model, rest, expectation, first=False)
        bounds.append(bound_of(reduced, rest, method.observation(reduced)).total)
    return sorted(sorted(features, key=lambda feature: -bounds[feature])[:REFITTED])


def least_useful(state: State, data: Data, steps: int, expectation: str = "auto") -> Removal:
    """The removal that leaves the highest bound (line 21 of Algorithm 3); the first one among equals."""
    return max(removals(state, data, steps, expectation), key=lambda removal: removal.bound)
