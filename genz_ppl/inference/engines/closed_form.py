"""E- and M-steps in closed form: links linear in the features, with Gaussian noise or a mixture of Gaussians.

For the linear link with Gaussian noise these are the exact expectations of Appendix B (eqs. 17-31). With products of
features and covariates every item has its own weights, and the same holds. Student-t and Laplace noise are touched from
below, at the present expected squared errors, by a Gaussian with a precision for each entry; raising that raises theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from genz_ppl.inference.engines.effect_posterior import effect_covariance, effect_variance, learn_spread
from genz_ppl.inference.engines.least_squares import least_squares, normal_equations
from genz_ppl.inference.engines.moves import escape, settle
from genz_ppl.inference.state import Data, State

# Items handled at once in the E-step: a block's working set stays in a core's cache.
BLOCK = 1024
# Up to this many targets an item's own K x K matrix is cheap to make where its precisions are its own.
FEW_TARGETS = 4


class ClosedForm:
    """E- and M-step with every expectation under the factorised q in closed form.

    joint_moves: also move two features of an item at once where that raises its bound, after steps 3, 6, 12, 24 ...:
    often enough to matter, seldom enough not to cost. Not with more than a few targets of which some are missing.
    """

    exact: ClassVar[bool] = True
    short: ClassVar[bool] = False

    def __init__(self, data: Data, joint_moves: bool = True) -> None:
        self.data, self.joint_moves = data, joint_moves
        self.observed = data.observed
        self.targets = data.targets if data.complete else torch.nan_to_num(data.targets)
        self._squared_error: Tensor | None = None
        self._sweeps = 0

    def moves_now(self) -> bool:
        """Counts the sweeps; whether this one is to move two features of an item at once, too."""
        self._sweeps += 1
        return self.joint_moves and self._sweeps % 3 == 0 and _is_power_of_two(self._sweeps // 3)

    def sweep(self, state: State) -> None:
        """Eq. 27 for one feature after the other, all items; updates state.posterior."""
        moves, precision = self.moves_now(), self.precision(state)
        self._squared_error = None
        link, log_odds = state.model.link, -torch.logit(state.error_rates)
        coefficients, slopes = link.coefficients().detach(), link.covariate_weights.detach()
        intercept = link.intercept.detach()
        for start in range(0, len(self.targets), BLOCK):
            rows = slice(start, start + BLOCK)
            prior = self.data.signs[:, rows].T * log_odds
            covariates = self.data.covariates[rows]
            residual = self.targets[rows] - intercept - covariates @ slopes
            effects = _effects(coefficients, link.modifiers(covariates))
            strength = precision if precision.dim() == 1 else precision[rows]
            state.posterior[rows] = _sweep(state.posterior[rows], prior, residual, effects, strength, moves)

    def maximise(self, state: State) -> None:
        """Eqs. 29 and 30 (and their diagonal form): weights, intercept, covariate weights and scale."""
        precision, link, covariates = self.precision(state), state.model.link, self.data.covariates
        free = link.ridge() is None and link.pooling is None
        weights = None if precision.dim() == 1 and free else precision.expand_as(self.targets)
        priors = {"ridge": link.ridge(), "pooling": link.pooling}
        link.set_solution(
            *least_squares(state.posterior, link.modifiers(covariates), covariates, self.targets, weights, **priors)
        )
        if link.pooling is not None:
            state.effects = effect_covariance(link, covariates, precision.expand_as(self.targets))
            learn_spread(link, state.effects)
        self._squared_error = None
        with torch.no_grad():
            state.model.likelihood.update(self.squared_error(state), self.observed)

    def precision(self, state: State) -> Tensor:
        """Precision of every target, (D,), or of every entry, (T, D) with 0 where y is missing."""
        likelihood = state.model.likelihood
        with torch.no_grad():
            precision: Tensor = likelihood.precision(self.squared_error(state) if likelihood.robust else self.targets[:1])
        if precision.dim() == 1 and self.data.complete:
            return precision
        return torch.where(self.observed, precision, torch.zeros((), dtype=precision.dtype))

    def squared_error(self, state: State) -> Tensor:
        """E_q (y - f(z))^2 of every entry (eqs. 20-22), (T, D), over group effects, too; meaningless where y is missing."""
        if self._squared_error is None:
            link, q, covariates = state.model.link, state.posterior, self.data.covariates
            coefficients, modifiers = link.coefficients().detach(), link.modifiers(covariates)
            error = self.targets - link.intercept.detach()
            error.addmm_(covariates, link.covariate_weights.detach(), alpha=-1)
            variance, spread = q * (1 - q), torch.zeros_like(error)
            for m, one in enumerate(modifiers.T):
                error -= one.unsqueeze(1) * (q @ coefficients[:, m])
                for n, other in enumerate(modifiers.T):
                    spread += (one * other).unsqueeze(1) * (variance @ (coefficients[:, m] * coefficients[:, n]))
            if state.effects is not None:
                spread += effect_variance(link, covariates, state.effects)
            self._squared_error = error.square_().add_(spread)
        return self._squared_error

    def normal_equations(self, state: State) -> Iterator[Tensor]:
        """Left sides of the normal equations of each target, with its noise: minus the second derivative of the bound."""
        precision, link, covariates = self.precision(state), state.model.link, self.data.covariates
        weights, priors = precision.expand_as(self.targets), {"ridge": link.ridge(), "pooling": link.pooling}
        for normal, _ in normal_equations(
            state.posterior, link.modifiers(covariates), covariates, self.targets, weights, **priors
        ):
            yield normal

    def observation(self, state: State) -> float:
        """E_q log p(y | z), summed over items (eq. 22); a lower bound of it with noise that is not Gaussian."""
        with torch.no_grad():
            density = state.model.likelihood.error_log_density(self.squared_error(state))
        self._squared_error = None  # parameters may change before the next call
        return float(torch.where(self.observed, density, torch.zeros((), dtype=density.dtype)).sum())


def _effects(coefficients: Tensor, modifiers: Tensor) -> Tensor:
    """Effect of each feature: (K, D) if it is the same for all items, else (B, K, D)."""
    if coefficients.shape[1] == 1:
        return coefficients[:, 0]
    return torch.einsum("bm,kmd->bkd", modifiers, coefficients)


def _sweep(q: Tensor, prior: Tensor, residual: Tensor, effects: Tensor, precision: Tensor, moves: bool) -> Tensor:
    """One pass over the features of a block; q, prior: (B, K); residual: (B, D); effects: (K, D) or (B, K, D).

    precision: (D,) or (B, D). Works on y W' Sigma^-1 and W Sigma^-1 W', so that no update touches the D target columns;
    where that matrix is an item's own and D is large, on the errors themselves.
    """
    shared = effects.dim() == 2 and precision.dim() == 1
    if not shared and residual.shape[1] > FEW_TARGETS:
        return _sweep_errors(q, prior, residual, effects, precision)
    if shared:
        precise = effects * precision
        gram = precise @ effects.T
        pull = residual @ precise.T
        field = pull + prior - 0.5 * gram.diagonal()
    else:
        precise = effects * precision.unsqueeze(-2)
        gram = torch.einsum("bkd,jd->kjb" if effects.dim() == 2 else "bkd,bjd->kjb", precise, effects)
        pull = torch.einsum("bkd,bd->bk", precise, residual)
        field = pull + prior - 0.5 * gram.diagonal()
    columns = settle(q.T.contiguous(), field.T.contiguous(), gram, sweeps=1)
    return escape(columns, field.T.contiguous(), gram).T if moves else columns.T


def _sweep_errors(q: Tensor, prior: Tensor, residual: Tensor, effects: Tensor, precision: Tensor) -> Tensor:
    q = q.clone()
    error = residual - (q @ effects if effects.dim() == 2 else torch.einsum("bk,bkd->bd", q, effects))
    precision = precision.expand_as(error)
    for k in range(q.shape[1]):
        effect = effects[..., k, :].expand_as(error)
        strength = (precision * effect**2).sum(1)
        pull = (error * precision * effect).sum(1) + q[:, k] * strength
        updated = torch.sigmoid(prior[:, k] + pull - 0.5 * strength)
        error -= (updated - q[:, k])[:, None] * effect
        q[:, k] = updated
    return q


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
