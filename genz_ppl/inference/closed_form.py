"""Exact expectations for the linear link with Gaussian noise (Appendix B of the paper, eqs. 17-31)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genz_ppl.inference.joint_moves import escape, settle
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GaussianLikelihood, GenZ, LinearLink

# Items handled at once in the E-step: a block's working set stays in a core's cache.
BLOCK = 1024


def is_linear_gaussian(model: GenZ) -> bool:
    """Whether the exact expectations of this module hold for the model."""
    return isinstance(model.link, LinearLink) and isinstance(model.likelihood, GaussianLikelihood)


class ExactExpectation:
    """E- and M-step with every expectation under the factorised q in closed form.

    joint_moves: also move two features of an item at once where that raises its bound (complete targets only), after
    steps 3, 6, 12, 24 ...: often enough to matter, seldom enough not to cost.
    """

    def __init__(self, data: Data, joint_moves: bool = True) -> None:
        self.data, self.joint_moves = data, joint_moves
        self.observed = data.observed
        self.complete = bool(self.observed.all())
        self.targets = torch.nan_to_num(data.targets)
        self._squared_error: Tensor | None = None
        self._sweeps = 0

    def sweep(self, state: State) -> None:
        """Eq. 27 for one feature after the other, all items; updates state.posterior in place."""
        self._squared_error = None
        self._sweeps += 1
        moves = self.joint_moves and self._sweeps % 3 == 0 and _is_power_of_two(self._sweeps // 3)
        weights, intercept, slopes = _parameters(state.model)
        scale = state.model.likelihood.scale.detach()
        for start in range(0, len(self.targets), BLOCK):
            rows = slice(start, start + BLOCK)
            prior = torch.logit(state.prior(self.data.answers[rows]))
            residual = self.targets[rows] - intercept - self.data.covariates[rows] @ slopes
            q = state.posterior[rows]
            if self.complete:
                updated = _sweep_complete(q, prior, residual, weights, scale, moves)
            else:
                updated = _sweep_masked(q, prior, residual, weights, self.observed[rows] / scale**2)
            state.posterior[rows] = updated

    def maximise(self, state: State) -> None:
        """Eqs. 29 and 30 (and their diagonal form): weights, intercept, covariate weights and scale."""
        set_weights(state, solve_weights(state.posterior, self.data, self.targets, self.complete))
        self._squared_error = None
        state.model.likelihood.update(self.squared_error(state), self.observed)

    def squared_error(self, state: State) -> Tensor:
        """E_q (y - f(z))^2 of every entry (eqs. 20-22), (T, D); meaningless where y is missing."""
        if self._squared_error is None:
            q, (weights, intercept, slopes) = state.posterior, _parameters(state.model)
            error = torch.addmm(self.targets - intercept, q, weights, alpha=-1)
            error.addmm_(self.data.covariates, slopes, alpha=-1).square_()
            self._squared_error = error.addmm_(q * (1 - q), weights * weights)
        return self._squared_error

    def observation(self, state: State) -> float:
        """E_q log p(y | z), summed over items (eq. 22)."""
        variance = state.model.likelihood.scale.detach() ** 2
        squared = torch.where(self.observed, self.squared_error(state), 0.0).sum(0)
        self._squared_error = None  # parameters may change before the next call
        counts = self.observed.sum(0)
        return float((-0.5 * (squared / variance + counts * torch.log(2 * math.pi * variance))).sum())


def _parameters(model: GenZ) -> tuple[Tensor, Tensor, Tensor]:
    link = model.link
    return link.weights.detach(), link.intercept.detach(), link.covariate_weights.detach()


@torch.no_grad()
def set_weights(state: State, solution: Tensor) -> None:
    """Put a solution of `solve_weights` into the model's linear link."""
    link, n_features = state.model.link, state.posterior.shape[1]
    link.weights.copy_(solution[:n_features])
    link.intercept.copy_(solution[n_features])
    link.covariate_weights.copy_(solution[n_features + 1 :])


def solve_weights(posterior: Tensor, data: Data, targets: Tensor, complete: bool) -> Tensor:
    """Eq. 29: least squares of y on [z, 1, x] in expectation, (K + 1 + P, D)."""
    ones = torch.ones(len(posterior), 1, dtype=posterior.dtype, device=posterior.device)
    design = torch.cat([posterior, ones, data.covariates], dim=1)
    variance = posterior * (1 - posterior)
    if complete:
        return _solve(design, variance, targets)
    columns = []
    for target, there in enumerate(data.observed.T):
        columns.append(_solve(design[there], variance[there], targets[there, target : target + 1]))
    return torch.cat(columns, dim=1)


def _solve(design: Tensor, variance: Tensor, targets: Tensor) -> Tensor:
    normal = design.T @ design
    n_features = variance.shape[1]
    normal.diagonal()[:n_features] += variance.sum(0)
    # Scaling to a unit diagonal makes the tolerance of the pseudo-inverse mean the same for every column.
    size = normal.diagonal().sqrt().clamp(min=1e-150)
    scaled = normal / size[:, None] / size
    values, vectors = torch.linalg.eigh(scaled)
    inverse = torch.where(values > 1e-11 * values[-1], 1 / values, torch.zeros_like(values))
    solution: Tensor = (vectors * inverse) @ (vectors.T @ (design.T @ targets / size[:, None])) / size[:, None]
    return solution


def _sweep_complete(q: Tensor, prior: Tensor, residual: Tensor, weights: Tensor, scale: Tensor, moves: bool) -> Tensor:
    """Works on y W' Sigma^-1 and W Sigma^-1 W', so that no update touches the D target columns."""
    precise = weights / scale**2
    gram = precise @ weights.T
    field = (residual @ precise.T + prior - 0.5 * gram.diagonal()).T.contiguous()
    columns = settle(q.T.contiguous(), field, gram, sweeps=1)
    return escape(columns, field, gram).T if moves else columns.T


def _sweep_masked(q: Tensor, prior: Tensor, residual: Tensor, weights: Tensor, precision: Tensor) -> Tensor:
    """The same with missing targets: every item has its own precision, (B, D), zero where y is missing."""
    q = q.clone()
    error = residual - q @ weights
    for k in range(q.shape[1]):
        strength = precision @ weights[k] ** 2
        pull = (error * precision) @ weights[k] + q[:, k] * strength
        updated = torch.sigmoid(prior[:, k] + pull - 0.5 * strength)
        error -= (updated - q[:, k])[:, None] * weights[k]
        q[:, k] = updated
    return q


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
