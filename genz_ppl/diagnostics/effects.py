"""What a feature is worth: how predictions move when its answer is yes instead of no, in the target's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz_ppl.inference.effects import mean_change
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.types import FloatArray


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
    mean = np.array([mean_change(fitted, k) for k in range(n_features)]).reshape(n_features, n_columns)
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


def _slopes(fitted: FittedItems, draws: PosteriorDraws) -> FloatArray:
    """Draws of the weights, (S, K, D); of products with covariates, at the items' means."""
    slopes = draws.parameters["weights"]
    if "interactions" in draws.parameters:
        centre = fitted.numbers.mean(0).numpy()
        slopes = slopes + np.einsum("p,skpd->skd", centre, draws.parameters["interactions"])
    return slopes
