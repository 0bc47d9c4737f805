"""Predictions for items of which only answers and covariates are known: z is averaged over p(z | h), never plugged in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.linear_gaussian import is_linear_gaussian
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.types import FloatArray

DRAWS = 400
# Entries of z held at once while drawing: about 80 MB.
CHUNK = 10_000_000


@dataclass(frozen=True)
class Prediction:
    """Predictive mean, standard deviation and central interval, (T, D) each, in the user's units."""

    mean: FloatArray
    sd: FloatArray
    lower: FloatArray
    upper: FloatArray


def predictive_mean(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int) -> FloatArray:
    """E[y | h, x], (T, D): exact for the linear link with Gaussian noise, an average over draws of z otherwise."""
    prior, x = state.prior(answers), scaling.covariates(covariates)
    state.model.eval()
    with torch.no_grad(), isolated(seed):
        if is_linear_gaussian(state.model):
            location = state.model.link(prior, x)
        else:
            means = [state.model.likelihood(state.model.link(z, x[rows])).mean.mean(0) for rows, z in _draws(prior, seed)]
            location = torch.cat(means) if means else torch.zeros(0, state.model.likelihood.n_targets)
    values: FloatArray = scaling.location(location).numpy()
    return values


def predict(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int, level: float = 0.9) -> Prediction:
    """The whole predictive distribution by draws of z and y; the interval holds `level` of it."""
    prior, x = state.prior(answers), scaling.covariates(covariates)
    tail = (1 - level) / 2
    state.model.eval()
    n_targets = state.model.likelihood.n_targets
    spread, bounds = [np.zeros((0, n_targets))], [np.zeros((2, 0, n_targets))]
    with torch.no_grad(), isolated(seed):
        for rows, z in _draws(prior, seed, n_targets):
            drawn = scaling.location(state.model.likelihood(state.model.link(z, x[rows])).sample()).numpy()
            spread.append(drawn.std(axis=0))
            bounds.append(np.quantile(drawn, [tail, 1 - tail], axis=0))
    lower, upper = np.concatenate(bounds, axis=1)
    mean = predictive_mean(state, scaling, answers, covariates, seed)
    return Prediction(mean, np.concatenate(spread), lower, upper)


def log_predictive_density(
    state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, targets: Tensor, seed: int
) -> FloatArray:
    """log p(y | h, x) of every item in the user's units, (T,), z averaged over draws; targets (T, D), NaN where missing."""
    data = scaling.data(answers, covariates, targets)
    state.model.eval()
    parts = [torch.zeros(0, dtype=torch.float64)]
    with torch.no_grad(), isolated(seed):
        for rows, z in _draws(state.prior(answers), seed, targets.shape[1]):
            observation, observed = state.model.observation(z, data.covariates[rows], data.targets[rows])
            parts.append(torch.logsumexp(observation.log_prob(observed), dim=0) - np.log(DRAWS))
    values: FloatArray = (torch.cat(parts) + scaling.density_shift(targets)).numpy()
    return values


def _draws(prior: Tensor, seed: int, n_targets: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of items, each with draws of its z from p(z | h), (DRAWS, B, K); the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1, CHUNK // (DRAWS * max(1, prior.shape[1], n_targets)))
    for start in range(0, len(prior), size):
        rows = slice(start, start + size)
        shape = (DRAWS, *prior[rows].shape)
        yield rows, (torch.rand(shape, generator=generator, dtype=prior.dtype) < prior[rows]).to(prior)
