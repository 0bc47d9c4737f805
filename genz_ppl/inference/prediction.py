"""Predictions for items of which only answers and covariates are known: z is averaged over p(z | h), never plugged in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.engines.density import drawn_log_densities
from genz_ppl.inference.engines.exact import bit_table
from genz_ppl.inference.engines.group_posterior import effect_variance
from genz_ppl.inference.isolation import isolated, one_thread
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.inference.uncertainty import drawn_models
from genz_ppl.models import GenZ
from genz_ppl.models.genz import log_density_at
from genz_ppl.settings import CLASS_LIKELIHOODS
from genz_ppl.types import FloatArray

DRAWS = 400
# Draws of uncertain link and likelihood parameters among them.
PARAMETER_DRAWS = 100
# Entries of z drawn at once: what is made of them stays in cache, and in memory that the process has already.
CHUNK = 300_000
# The same where every draw of the parameters takes its part of them (80 MB): setting a model's parameters takes its time, too.
SHARED_CHUNK = 10_000_000


@dataclass(frozen=True)
class Prediction:
    """Predictive mean, standard deviation and central interval, (T, D) each, in the user's units.

    Where y is a class these are about its indicators, (T, L): the mean is a class's probability.
    """

    mean: FloatArray
    sd: FloatArray
    lower: FloatArray
    upper: FloatArray


def predictive_mean(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int) -> FloatArray:
    """E[y | h, x], (T, D), or class probabilities, (T, L), the same for items of which the same is known.

    Exact where there are closed forms or no more than DRAWS values of z, else an average over draws.
    """
    return mean_at(state, scaling, state.prior(answers), scaling.covariates(covariates), seed)


def mean_at(state: State, scaling: Scaling, prior: Tensor, x: Tensor, seed: int) -> FloatArray:
    """The same at chances of a yes, (T, K), and the model's covariates."""
    state.model.eval()
    with torch.no_grad(), isolated(seed):
        location = state.model.expected(prior, x)
        if location is None:
            # Noise of draws would put items in an order of which nothing is known.
            known, place = torch.unique(torch.cat([prior, x, x.new_zeros(len(x), 1)], dim=1), dim=0, return_inverse=True)
            n_features = prior.shape[1]
            location = _mean(state, known[:, :n_features], known[:, n_features:-1], seed)[place]
    values: FloatArray = scaling.location(location).numpy()
    return values


def _mean(state: State, prior: Tensor, x: Tensor, seed: int) -> Tensor:
    """E[y | h, x] in the model's units, (T, L)."""
    model, doubt, n_features = state.model, doubt_of(state, x), prior.shape[1]
    means = [torch.zeros(0, model.likelihood.n_locations, dtype=torch.float64)]
    if state.uncertainty is None and doubt is None and 2**n_features <= DRAWS:
        bits = bit_table(n_features).to(prior)
        size = max(1, CHUNK // (len(bits) * max(1, n_features, model.likelihood.n_locations)))
        for start in range(0, len(x), size):
            yes, covariates = prior[start : start + size], x[start : start + size]
            z = bits.unsqueeze(1).expand(-1, len(yes), -1)
            expected = model.likelihood.expected(_location(model, z, covariates, None))
            chances = torch.where(z > 0.5, yes, 1 - yes).prod(dim=2, keepdim=True)
            means.append((chances * expected).sum(0))
        return torch.cat(means)
    for some, draws in _draws(state, prior, seed):
        parts = [one.likelihood.expected(_location(one, z, x[some], _some(doubt, some))).sum(0) for one, z in draws]
        means.append(torch.stack(parts).sum(0) / DRAWS)
    return torch.cat(means)


def predict(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int, level: float = 0.9) -> Prediction:
    """The whole predictive distribution by draws of z, y and uncertain weights; the interval holds `level` of it.

    What is not known of the effects of an item's group is averaged over, too; of a group that was not in the fit that is all.
    """
    prior, x = state.prior(answers), scaling.covariates(covariates)
    doubt = doubt_of(state, x)
    tail = (1 - level) / 2
    state.model.eval()
    n_values = state.model.likelihood.n_locations
    spread, bounds = [np.zeros((0, n_values))], [np.zeros((2, 0, n_values))]
    with torch.no_grad(), isolated(seed):
        for rows, draws in _draws(state, prior, seed):
            drawn = _sampled(draws, x[rows], scaling, _some(doubt, rows))
            spread.append(drawn.std(axis=0))
            bounds.append(np.quantile(drawn, [tail, 1 - tail], axis=0))
    lower, upper = np.concatenate(bounds, axis=1)
    mean = predictive_mean(state, scaling, answers, covariates, seed)
    # Draws of a rare class would all be the other one, and it as good as certain.
    sd = np.sqrt(mean * (1 - mean)) if state.model.likelihood.name in CLASS_LIKELIHOODS else np.concatenate(spread)
    return Prediction(mean, sd, lower, upper)


def predictive_draws(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int) -> FloatArray:
    """DRAWS draws of y (or of class indicators) for every item, (DRAWS, T, L), in the user's units."""
    prior, x = state.prior(answers), scaling.covariates(covariates)
    doubt = doubt_of(state, x)
    state.model.eval()
    with torch.no_grad(), isolated(seed):
        blocks = [_sampled(draws, x[rows], scaling, _some(doubt, rows)) for rows, draws in _draws(state, prior, seed)]
    return np.concatenate(blocks, axis=1)


def doubt_of(state: State, x: Tensor) -> Tensor | None:
    """Standard deviation of an item's location for what is not known of its group's effects, (T, L); None without groups.

    x: the model's covariates. Draws of uncertain parameters have the effects of known groups in them.
    """
    link = state.model.link
    if link.pooling is None:
        return None
    return effect_variance(link, x, state.group_covariance if state.uncertainty is None else None).sqrt()


def _some(doubt: Tensor | None, rows: slice) -> Tensor | None:
    return None if doubt is None else doubt[rows]


def _location(model: GenZ, z: Tensor, x: Tensor, doubt: Tensor | None) -> Tensor:
    """The link's value at draws of z, (n, B, K), and of errors of this size, (B, L): (n, B, L)."""
    location: Tensor = model.link(z, x)
    return location if doubt is None else location + doubt * torch.randn_like(location)


def _sampled(draws: Iterator[tuple[GenZ, Tensor]], x: Tensor, scaling: Scaling, doubt: Tensor | None) -> FloatArray:
    pairs = ((model.likelihood, _location(model, z, x, doubt)) for model, z in draws)
    parts = [likelihood.comparable(likelihood.distribution(location).sample()) for likelihood, location in pairs]
    drawn: FloatArray = scaling.location(torch.cat(parts)).numpy()
    return drawn


@one_thread()
def log_predictive_density(
    state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, targets: Tensor, seed: int
) -> FloatArray:
    """log p(y | h, x) of every item in the user's units, (T,), averaged over draws; targets (T, D), NaN where missing."""
    data = scaling.data(answers, covariates, targets)
    doubt = doubt_of(state, data.covariates)
    state.model.eval()
    parts = [torch.zeros(0, dtype=torch.float64)]
    with torch.no_grad(), isolated(seed):
        for rows, draws in _draws(state, state.prior(answers), seed):
            part = data.items(rows)
            if doubt is None:
                densities = [drawn_log_densities(model, z, part) for model, z in draws]
            else:
                located = ((model, _location(model, z, part.covariates, doubt[rows])) for model, z in draws)
                densities = [log_density_at(model.likelihood, location, part.targets) for model, location in located]
            parts.append(torch.logsumexp(torch.cat(densities), dim=0) - np.log(DRAWS))
    values: FloatArray = (torch.cat(parts) + scaling.density_shift(targets)).numpy()
    return values


def _draws(state: State, prior: Tensor, seed: int) -> Iterator[tuple[slice, Iterator[tuple[GenZ, Tensor]]]]:
    """Blocks of items, each with models and draws of its z from p(z | h), (n, B, K), DRAWS together; the same each time."""
    generator = torch.Generator().manual_seed(seed)
    entries = CHUNK if state.uncertainty is None else SHARED_CHUNK
    size = max(1, entries // (DRAWS * max(1, prior.shape[1], state.model.likelihood.n_locations)))
    for start in range(0, len(prior), size):
        rows = slice(start, start + size)
        shape = (DRAWS, *prior[rows].shape)
        z = (torch.rand(shape, generator=generator, dtype=prior.dtype) < prior[rows]).to(prior)
        yield rows, _with_models(state, z, seed)


def _with_models(state: State, z: Tensor, seed: int) -> Iterator[tuple[GenZ, Tensor]]:
    n_models = 1 if state.uncertainty is None else PARAMETER_DRAWS
    models = drawn_models(state.model, state.uncertainty, n_models, seed + 1)
    return zip(models, z.chunk(n_models), strict=True)
