"""Error rates of a calibrated model: they move together with the weights, so that what answers alone predict stays as it is.

E[y | h] = b + sum over k of W_k E[z_k | h], with E[z_k | h] = 1/2 + (1 - 2 p_k) / 2 times 1 for yes, -1 for no. A rate that grows
alone flattens it, and the weights could follow only an M-step later, so that rates would hardly move at all. With
W_k' = W_k (1 - 2 p_k) / (1 - 2 p_k') and the intercept that belongs to it the mean stays, and only what y says of z pulls.

Of answers yes and no apart E[z_k | h] is 1 - p_yes and p_no: what stays is W_k (1 - p_yes - p_no), and b + W_k p_no. Only what
is uncertain about weights then counts for more or less, which is in the value that must not fall.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.rates import probable_rates
from genz_ppl.inference.state import State, feature_terms
from genz_ppl.models import LinearLink
from genz_ppl.models.features import by_answer, mean_rates

# How often a move of the rates that lowers the bound is tried at half its length, and the shortest; rates above the other number
# do not move the weights.
TRIES, SHORTEST, HIGHEST_RATE = 4, 1 / 64, 0.49
# By how much the next move is longer after one that was taken.
GROWTH = 1.25


class Paced(Engine, Protocol):
    """rate_step: the share of the way at which the next move of the rates is tried first."""

    rate_step: float


@torch.no_grad()
def move_error_rates(state: State, engine: Paced) -> None:
    """Eq. 14 under the Beta prior with weights that follow, as far as the bound does not fall; in place."""
    if len(state.error_rates) == 0:
        return
    wrong, answered = engine.data.counts(state.error_rates, state.posterior)
    aim = probable_rates(state, engine.data, wrong, answered)
    start, present = replace(state), _value(state, engine, wrong)
    link = state.model.link
    parameters = [parameter.detach().clone() for parameter in (link.coefficients(), link.intercept, link.covariate_weights)]
    for _ in range(TRIES):
        scaled = _move(state, start.error_rates + engine.rate_step * (aim - start.error_rates))
        if _value(state, engine, wrong) + scaled >= present:
            engine.rate_step = min(1.0, GROWTH * engine.rate_step)
            break
        link.set_solution(*parameters)
        state.error_rates, state.coefficient_covariance = start.error_rates, start.coefficient_covariance
        engine.rate_step = max(SHORTEST, 0.5 * engine.rate_step)
    state.model.features.learn_common(state.error_rates)


def _value(state: State, engine: Engine, wrong: Tensor) -> float:
    """The bound, but for terms that the move leaves as they are and the entropy of q(W)."""
    model, data, rates = state.model, engine.data, state.error_rates
    # With the log density of the Beta prior, whose other terms are constant.
    a, b = (model.features.prior - 1).clamp(min=0)
    if model.features.common is not None:
        feature = feature_terms(state, data).sum() + (a * torch.log(rates) + b * torch.log1p(-rates)).sum()
    else:
        feature = ((wrong + a) * torch.log(rates) + (data.answered - wrong + b) * torch.log1p(-rates)).sum()
    value = model.share * (engine.observation(state) + float(feature))
    if model.features.common is not None:
        value += (1 - model.share) * engine.marginal(state)
    prior, covariance = model.link.ridge(), state.coefficient_covariance
    if prior is not None:
        squares = model.link.coefficients().square().sum(2)
        if covariance is not None:
            squares = squares + covariance.diagonal(dim1=1, dim2=2).sum(0).view_as(squares)
        value -= 0.5 * float((prior * squares).sum())
    return value


def _move(state: State, rates: Tensor) -> float:
    """The rates, and all that follows them; by how much the entropy of q(W) grows with it."""
    link: LinearLink = state.model.link
    before, after = mean_rates(state.error_rates), mean_rates(rates)
    moves = (before < HIGHEST_RATE) & (after < HIGHEST_RATE)
    ratio = torch.where(moves, (1 - 2 * before) / (1 - 2 * after), 1.0)
    coefficients = link.coefficients().detach()
    moved = coefficients * ratio[:, None, None]
    shift = _shift(coefficients, moved, state.error_rates, rates, moves)
    slopes = link.covariate_weights.detach().clone()
    slopes[: len(shift) - 1] += shift[1:]
    link.set_solution(moved, link.intercept.detach() + shift[0], slopes)
    state.error_rates = rates
    if state.coefficient_covariance is None:
        return 0.0
    scale = ratio.repeat_interleave(coefficients.shape[1])
    state.coefficient_covariance = state.coefficient_covariance * scale.unsqueeze(1) * scale
    return len(state.coefficient_covariance) * float(scale.log().sum())


def _shift(coefficients: Tensor, moved: Tensor, before: Tensor, after: Tensor, moves: Tensor) -> Tensor:
    """What the intercept, and the weights of covariates with it, gain: (M, D)."""
    if before.dim() == 1:
        return 0.5 * (coefficients - moved).sum(0)
    of_no, next_of_no = by_answer(before)[1], by_answer(after)[1]
    held = coefficients * of_no[:, None, None] - moved * next_of_no[:, None, None]
    return torch.where(moves[:, None, None], held, 0.0).sum(0)
