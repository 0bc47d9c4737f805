"""Algorithm 3: which feature can go with the least loss of the bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.coordinate import refit_all
from genz_ppl.inference.state import Data, State, entropy_of, feature_terms

# Removals refitted, the most promising first: the best of all was among them in 97 to 99 of 100 random problems.
FINALISTS = 5


@dataclass(frozen=True)
class Removal:
    """One feature taken out: its position, the bound without it after a refit, and the refitted state."""

    feature: int
    bound: float
    state: State


def without(data: Data, feature: int) -> Data:
    """The data without one feature's answers."""
    kept = [k for k in range(data.answers.shape[1]) if k != feature]
    return data.with_features(kept)


def removals(
    state: State, data: Data, steps: int, expectation: str = "auto", features: Iterable[int] | None = None
) -> list[Removal]:
    """Features (None: every one) removed in turn and the rest refitted from where it stood; in the order of the features."""
    number = data.answers.shape[1]
    removed = list(range(number)) if features is None else sorted(features)
    reduced = [state.with_columns([k for k in range(number) if k != feature]) for feature in removed]
    bounds = refit_all(reduced, [without(data, feature) for feature in removed], steps, expectation)
    return [Removal(feature, bound.total, one) for feature, bound, one in zip(removed, bounds, reduced, strict=True)]


def least_useful(
    state: State, data: Data, steps: int, expectation: str = "auto", exhaustive: bool = False, prices: Tensor | None = None
) -> Removal:
    """The removal that leaves the highest bound (line 21 of Algorithm 3); the first one among equals.

    prices: (K,), nats that the removal of each feature counts for besides.

    Only the features that cost least by `removal_losses` are refitted, or all of them: if exhaustive, and where the engine has
    no information.
    """
    saved = state.error_rates.new_zeros(len(state.error_rates)) if prices is None else prices
    quick = not exhaustive and len(state.error_rates) > FINALISTS
    losses = removal_losses(state, data) if quick else None
    features = None if losses is None else (losses - saved).argsort(stable=True)[:FINALISTS].tolist()
    return max(
        removals(state, data, steps, expectation, features), key=lambda removal: removal.bound + float(saved[removal.feature])
    )


@torch.no_grad()
def removal_losses(state: State, data: Data) -> Tensor | None:
    """What the bound loses with each feature, (K,), if the others' posteriors stay and all weights and the noise adapt.

    None where the engine has no information. state: fitted. With N the normal equations' left side over the noise and w the
    weights of feature k for a target, half its squared error over the noise grows by w' ((N^-1)_kk)^-1 w / 2, from one inverse
    for all features.
    """
    roots = engine_for(state.model, data).coefficient_roots(state)
    if roots is None:
        return None
    coefficients, growth = state.model.link.coefficients(), []
    for target, root in enumerate(roots):
        stiffness = torch.linalg.pinv(root @ root.mT, hermitian=True)
        weights = coefficients[:, :, target].unsqueeze(1)
        growth.append(0.5 * (weights @ stiffness @ weights.mT).flatten())
    lost: Tensor = state.model.likelihood.lost_by_growth(torch.stack(growth, dim=1), data.observed.sum(0))
    entropy = [entropy_of(state.posterior[:, k : k + 1]) for k in range(len(coefficients))]
    penalty = [float(state.model.features.penalty(state.error_rates[k : k + 1])) for k in range(len(coefficients))]
    return lost + feature_terms(state, data) + lost.new_tensor(entropy) + lost.new_tensor(penalty)
