"""What a feature is worth: how predictions move when its answer is yes instead of no, in the target's units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genz_ppl.inference.posterior import FittedItems, PosteriorDraws
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.types import FloatArray

# Items over which an effect that differs from item to item is averaged.
MOST_ITEMS = 400
# An answer that is never wrong, for the feature whose effect is sought.
NEVER = 1e-12


@dataclass(frozen=True)
class Effects:
    """mean: (K, L), change of the predicted target (or of a class's probability) from no to yes, averaged over items.

    sd: (K, L), its posterior standard deviation where the link is linear and y a number; else None. weights: (K, L), of a
    linear link where they are on another scale than y (log rates and log-odds); else None. strength: (K,), the size of the
    effect; over several columns the norm, numbers in standard deviations of each.
    """

    mean: FloatArray
    sd: FloatArray | None
    weights: FloatArray | None
    strength: FloatArray


def effects_of(fitted: FittedItems, draws: PosteriorDraws) -> Effects:
    """The effects of all features on the training items. Call inside `isolated`."""
    likelihood = fitted.state.model.likelihood
    n_features, n_columns = len(fitted.feature_texts), likelihood.n_locations
    mean = np.array([_effect(fitted, k) for k in range(n_features)]).reshape(n_features, n_columns)
    parameters = user_parameters(fitted.state, fitted.scaling)
    linear = "weights" in parameters
    spread = np.ones(n_columns)
    if n_columns > 1 and likelihood.standardised:
        spread = fitted.scaling.target_spread.numpy()
    return Effects(
        mean=mean,
        sd=_slopes(fitted, draws).std(axis=0) if linear and likelihood.standardised else None,
        weights=parameters["weights"] if linear and not likelihood.standardised else None,
        strength=np.linalg.norm(mean / spread, axis=1),
    )


def _effect(fitted: FittedItems, k: int) -> FloatArray:
    """(L,): the same draws of the other features on both sides, so that only this one makes the difference."""
    state = fitted.state
    rows = np.arange(len(fitted.item_ids))
    if not state.model.has_closed_form:
        rows = rows[:: 1 + (len(rows) - 1) // MOST_ITEMS]
    rates = state.error_rates.clone()
    rates[k] = NEVER
    certain = replace(state, error_rates=rates)
    sides = []
    for answer in (1.0, 0.0):
        answers = fitted.answers[rows].clone()
        answers[:, k] = answer
        sides.append(predictive_mean(certain, fitted.scaling, answers, fitted.covariates[rows], fitted.seed))
    effect: FloatArray = (sides[0] - sides[1]).mean(axis=0)
    return effect


def _slopes(fitted: FittedItems, draws: PosteriorDraws) -> FloatArray:
    """Draws of the weights, (S, K, D); of products with covariates, at the items' means."""
    slopes = draws.parameters["weights"]
    if "interactions" in draws.parameters:
        centre = fitted.numbers.mean(0).numpy()
        slopes = slopes + np.einsum("p,skpd->skd", centre, draws.parameters["interactions"])
    return slopes
