"""What yes instead of no to a question does to the target: effects with intervals, at the end of a run or of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import DRAWS, FittedItems, with_uncertainty
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import MOST_CORRELATED, drawn_models
from genz_ppl.models.bayesian import flattened
from genz_ppl.types import FloatArray

# Standard deviations on either side of a mean that hold nine in ten.
NINE_IN_TEN = 1.6448536269514722
# Items over which an effect that differs from item to item is averaged.
MOST_ITEMS = 400
# An answer that is never wrong, for the feature whose effect is sought.
NEVER = 1e-12


@dataclass(frozen=True)
class FeatureEffects:
    """mean: (K, L), the effect of each feature on each target (or class); sd: (K, L), of its posterior, NaN where there is none.

    spread: (L,), standard deviations of the targets, 1 for counts and classes.

    Numbers: in the target's units, where covariates are at their means. Counts: log rates. Classes: log-odds, of a categorical
    target against the mean over its classes. With a network as the link: the mean change of predictions, of counts and classes
    too, without sd. The posterior is that of the weights, given the questions and the answers' posterior.
    """

    mean: FloatArray
    sd: FloatArray
    spread: FloatArray

    @property
    def strength(self) -> FloatArray:
        """(K,), the size of each effect; over several columns the norm, in units of their spread."""
        size: FloatArray = np.abs(self.mean[:, 0]) if len(self.spread) == 1 else np.linalg.norm(self.mean / self.spread, axis=1)
        return size

    @property
    def table(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(K,) each: the effect and a 90 % interval; over several columns those of its strength."""
        if len(self.spread) == 1:
            middle, width = self.mean[:, 0], NINE_IN_TEN * self.sd[:, 0]
            return middle, middle - width, middle + width
        size = self.strength
        direction = self.mean / self.spread / np.where(size > 0, size, 1.0)[:, None]
        width = NINE_IN_TEN * np.linalg.norm(direction * self.sd / self.spread, axis=1)
        return size, np.maximum(size - width, 0.0), size + width


def feature_effects(fitted: FittedItems, whole: tuple[State, Data] | None = None) -> FeatureEffects:
    """The effects of all features of a fit, deterministic for the same fit.

    whole: the state and the data of all items that it was made on, where `fitted` has some of them.
    """
    model = fitted.state.model
    spread = np.asarray(fitted.scaling.spread_of(model.likelihood.n_locations).numpy(), dtype=np.float64)
    if not fitted.feature_texts:
        nothing = np.zeros((0, len(spread)))
        return FeatureEffects(nothing, nothing, spread)
    with torch.no_grad(), isolated(fitted.seed):
        effects = model.link.effects()
        if effects is None:
            mean = mean_changes(fitted)
            return FeatureEffects(mean, np.full(mean.shape, np.nan), spread)
        known = _sd(*(whole or (fitted.state, fitted.data))) if fitted.state.uncertainty is None else None
        sd = _drawn_sd(fitted) if known is None else known
        return FeatureEffects(centred(fitted, effects.numpy()) * spread, sd * spread, spread)


def effect_draws(fitted: FittedItems, parameters: Mapping[str, FloatArray]) -> FloatArray:
    """Draws of the effects, (S, K, L), from those of the parameters (see `PosteriorDraws`); raises KeyError for a network."""
    weights = parameters["weights"]
    if "interactions" in parameters:
        weights = weights + np.einsum("p,skpd->skd", fitted.scaling.covariate_centre.numpy(), parameters["interactions"])
    return centred(fitted, weights)


def centred(fitted: FittedItems, weights: FloatArray) -> FloatArray:
    """Weights, (..., K, L), of a categorical target against the mean over its classes."""
    likelihood = fitted.state.model.likelihood
    if not likelihood.is_of_classes:
        return weights
    by_target = weights.reshape(*weights.shape[:-1], likelihood.n_targets, likelihood.n_classes)
    found: FloatArray = (by_target - by_target.mean(axis=-1, keepdims=True)).reshape(weights.shape)
    return found


def _sd(state: State, data: Data) -> FloatArray | None:
    """(K, L) from the engine's information: the precision of a target's weights, all others unknown, too; None without it."""
    roots = engine_for(state.model, data).coefficient_roots(state, of_density=True)
    return None if roots is None else torch.stack([root[:, 0].square().sum(-1).sqrt() for root in roots], dim=1).numpy()


def _drawn_sd(fitted: FittedItems) -> FloatArray:
    """(K, L) from draws of the parameters' posterior; NaN where there are too many for one with correlations."""
    state = fitted.state
    if state.uncertainty is None and len(flattened(state.model)) > MOST_CORRELATED:
        return np.full((len(fitted.feature_texts), state.model.likelihood.n_locations), np.nan)
    if state.uncertainty is None:
        state = with_uncertainty(state, fitted.data, fitted.seed)
    models = drawn_models(state.model.eval(), state.uncertainty, DRAWS, fitted.seed + 1)
    drawn = np.stack([model.link.coefficients()[:, 0].numpy().copy() for model in models])
    sd: FloatArray = centred(fitted, drawn).std(axis=0)
    return sd


def mean_changes(fitted: FittedItems) -> FloatArray:
    """(K, L): `mean_change` of every feature. Call inside `isolated`."""
    n_features = len(fitted.feature_texts)
    changes = [mean_change(fitted, k) for k in range(n_features)]
    return np.array(changes).reshape(n_features, fitted.state.model.likelihood.n_locations)


def mean_change(fitted: FittedItems, k: int) -> FloatArray:
    """(L,): the change of predictions from no to yes to feature k, averaged over `MOST_ITEMS` at most. Call inside `isolated`.

    The same draws of the other features on both sides, so that only this one makes the difference.
    """
    state = fitted.state
    rows = np.arange(len(fitted.item_ids))
    rows = rows[:: 1 + (len(rows) - 1) // MOST_ITEMS]
    rates = state.error_rates.clone()
    rates[k] = NEVER
    certain = replace(state, error_rates=rates)
    sides = []
    for answer in (1.0, 0.0):
        answers = fitted.answers[rows].clone()
        answers[:, k] = answer
        sides.append(predictive_mean(certain, fitted.scaling, answers, fitted.covariates[rows], fitted.seed))
    change: FloatArray = (sides[0] - sides[1]).mean(axis=0)
    return change
