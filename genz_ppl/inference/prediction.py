"""Predictions for items of which only answers and covariates are known: z is averaged over p(z | h), never plugged in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.models import LinearLink
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
    """E[y | h, x], (T, D): exact for the linear link, an average over draws of z otherwise."""
    prior, x = state.prior(answers), scaling.covariates(covariates)
    state.model.eval()
    with torch.no_grad(), isolated(seed):
        if isinstance(state.model.link, LinearLink):
            location = state.model.likelihood(state.model.link(prior, x)).mean
        else:
            total = torch.zeros(len(answers), state.model.likelihood.n_targets, dtype=torch.float64)
            for z in _draws(prior, DRAWS, seed):
                total += state.model.likelihood(state.model.link(z, x)).mean.sum(0)
            location = total / DRAWS
    values: FloatArray = scaling.location(location).numpy()
    return values


def predict(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int, level: float = 0.9) -> Prediction:
    """The whole predictive distribution by draws of z and y; the interval holds `level` of it."""
    prior, x = state.prior(answers), scaling.covariates(covariates)
    state.model.eval()
    samples = []
    with torch.no_grad(), isolated(seed):
        for z in _draws(prior, DRAWS, seed):
            samples.append(scaling.location(state.model.likelihood(state.model.link(z, x)).sample()))
    drawn = torch.cat(samples).numpy()
    tail = (1 - level) / 2
    lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=0)
    mean = predictive_mean(state, scaling, answers, covariates, seed)
    return Prediction(mean, drawn.std(axis=0), lower, upper)


def log_predictive_density(
    state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, targets: Tensor, seed: int
) -> FloatArray:
    """log p(y | h, x) of every item in the user's units, (T,), z averaged over draws; targets (T, D), NaN where missing."""
    data = scaling.data(answers, covariates, targets)
    state.model.eval()
    parts = []
    with torch.no_grad(), isolated(seed):
        for z in _draws(state.prior(answers), DRAWS, seed):
            observation, observed = state.model.observation(z, data.covariates, data.targets)
            parts.append(observation.log_prob(observed))
    density = torch.logsumexp(torch.cat(parts), dim=0) - np.log(DRAWS)
    values: FloatArray = (density + scaling.density_shift(targets)).numpy()
    return values


def _draws(prior: Tensor, count: int, seed: int) -> Iterator[Tensor]:
    """Draws of z from p(z | h), (n, T, K) at a time, `count` in all, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1, min(count, CHUNK // max(1, prior.numel())))
    for start in range(0, count, size):
        shape = (min(size, count - start), *prior.shape)
        yield (torch.rand(shape, generator=generator, dtype=prior.dtype) < prior).to(prior)
