"""E- and M-steps in closed form: links linear in the features, with Gaussian noise or a mixture of Gaussians.

For the linear link with Gaussian noise these are the exact expectations of Appendix B (eqs. 17-31). With products of
features and covariates every item has its own weights, and the same holds. Student-t and Laplace noise are touched from
below, at the present expected squared errors, by a Gaussian with a precision for each entry; raising that raises theirs.

A calibrated model has two sets of squared errors, and least squares on both: of y given z, under q, and of y given E[z | h].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.calibration import move_error_rates
from genz_ppl.inference.engines.coefficient_posterior import (
    coefficient_covariance,
    gram_of_coefficients,
    learn_shrinkage,
    spread_of_location,
)
from genz_ppl.inference.engines.group_posterior import effect_covariance, effect_variance, learn_spread
from genz_ppl.inference.engines.item_sweep import effects_of, quadratic, sweep_items
from genz_ppl.inference.engines.joint import Size, Together, near_exact
from genz_ppl.inference.engines.least_squares import normal_equations, solve_each, solve_normal
from genz_ppl.inference.state import Data, State, entropy_of
from genz_ppl.models.likelihoods import Likelihood

# Items handled at once in the E-step: a block's working set stays in a core's cache.
BLOCK = 1024


class ClosedForm(Engine):
    """E- and M-step with every expectation under the factorised q in closed form.

    joint_moves: also move two features of an item at once where that raises its bound, after steps 3, 6, 12, 24 ...:
    often enough to matter, seldom enough not to cost. Not with more than a few targets of which some are missing.
    combinations: if not 0, every sweep ends with the posteriors of `genz_ppl.inference.engines.joint`, whose features are not
    independent, and goes through so many combinations of features.
    """

    exact: ClassVar[bool] = True
    short: ClassVar[bool] = False

    def __init__(self, data: Data, joint_moves: bool = True, combinations: float = 0.0) -> None:
        self.data, self.joint_moves = data, joint_moves
        self.size = Size.of(len(data.answers), combinations) if combinations else None
        self._together: tuple[Tensor, int, Tensor | None, float] | None = None
        self.observed = data.observed
        self.targets = data.targets if data.complete else torch.nan_to_num(data.targets)
        self._squared_error: Tensor | None = None
        self._marginal_error: Tensor | None = None
        self._sweeps = 0
        self.rate_step = 1.0

    def moves_now(self) -> bool:
        """Counts the sweeps; whether this one is to move two features of an item at once, too."""
        self._sweeps += 1
        return self.joint_moves and moves_at(self._sweeps)

    def entropy(self, state: State) -> float:
        """See `Engine.entropy`."""
        known = self._of_sweep(state.posterior)
        return entropy_of(state.posterior) + (0.0 if known is None else known[1])

    def note_entropy(self, posterior: Tensor, entropy: float, covariance: Tensor | None = None) -> None:
        """Of a sweep's posterior: its entropy less that of its marginals, and each item's covariance, (T, K, K), 0 on the
        diagonal."""
        self._together = (posterior, posterior._version, covariance, entropy)

    def _of_sweep(self, posterior: Tensor) -> tuple[Tensor | None, float] | None:
        """What was noted of this posterior, until it changes."""
        known = self._together
        return None if known is None or known[0] is not posterior or known[1] != posterior._version else known[2:]

    def variance(self, posterior: Tensor) -> Tensor:
        """Of features, (T, K), or where they are not independent their covariance, (T, K, K)."""
        variance, known = posterior * (1 - posterior), self._of_sweep(posterior)
        return variance if known is None or known[0] is None else known[0] + torch.diag_embed(variance)

    def sweep(self, state: State) -> None:
        """Eq. 27 for one feature after the other, all items; updates state.posterior."""
        moves, precision = self.moves_now(), self.precision(state)
        self._forget()
        link = state.model.link
        coefficients, slopes = link.coefficients().detach(), link.covariate_weights.detach()
        intercept, blocks = link.intercept.detach(), list[Together]()
        for start in range(0, len(self.targets), BLOCK):
            rows = slice(start, start + BLOCK)
            prior = self.data.add_prior(torch.zeros_like(state.posterior[rows].T), state.error_rates, rows).T
            covariates = self.data.covariates[rows]
            residual = self.targets[rows] - intercept - covariates @ slopes
            effects = effects_of(coefficients, link.modifiers(covariates))
            strength = precision if precision.dim() == 1 else precision[rows]
            uncertain = self._uncertain_gram(state, strength, covariates)
            inputs = (prior, residual, effects, strength)
            q = sweep_items(state.posterior[rows], *inputs, moves, uncertain)
            if self.size is not None:
                q = q.T.contiguous()
                parts = near_exact(q, *quadratic(*inputs, uncertain), self.size)
                blocks.append(Together.of(parts, len(q), q, q.shape[1]))
                q = q.T
            state.posterior[rows] = q
        if blocks:
            covariance = torch.cat([block.covariance for block in blocks])
            self.note_entropy(state.posterior, float(sum(block.entropy for block in blocks)), covariance)

    def _uncertain_gram(self, state: State, precision: Tensor, covariates: Tensor) -> Tensor | None:
        """What uncertain coefficients add to W Sigma^-1 W', (K, K) where that is the same for all items, else (B, K, K)."""
        covariance, link = state.coefficient_covariance, state.model.link
        if covariance is None:
            return None
        modifiers = link.modifiers(covariates)
        if precision.dim() == 1 and modifiers.shape[1] == 1:
            return gram_of_coefficients(precision.unsqueeze(0), modifiers[:1], covariance)[0]
        return gram_of_coefficients(precision.expand(len(covariates), -1), modifiers, covariance)

    def maximise(self, state: State) -> None:
        """Eqs. 29 and 30 (and their diagonal form): weights, intercept, covariate weights and scale.

        And, where they have priors, the posterior of the coefficients and its spreads.
        """
        link, covariates = state.model.link, self.data.covariates
        precise = self._precise(state) if link.pooling is not None else None
        normals, solution = self.solved(state)
        size = link.coefficients().shape[:2]
        n_weights = size.numel()
        weights = solution[:n_weights].view(*size, solution.shape[1])
        link.set_solution(weights, solution[n_weights], solution[n_weights + 1 :])
        if link.shrinkage is not None:
            state.coefficient_covariance = coefficient_covariance(link, normals)
        if precise is not None:
            state.group_covariance = effect_covariance(link, covariates, precise)
        self._forget()
        self.update_noise(state)
        if state.coefficient_covariance is not None:
            learn_shrinkage(link, state.coefficient_covariance)
        if state.group_covariance is not None:
            learn_spread(link, state.group_covariance)

    @torch.no_grad()
    def update_noise(self, state: State) -> None:
        """The closed-form M-step of the likelihoods."""
        state.model.likelihood.update(self.squared_error(state), self.observed)
        if state.model.marginal is not None:
            state.model.marginal.update(self.marginal_error(state), self.observed)

    def error_rates(self, state: State) -> None:
        """See `Engine.error_rates`; of a calibrated model with weights that follow."""
        if state.model.calibration > 0 and self.data.answers.dim() == 2:
            move_error_rates(state, self)
        else:
            super().error_rates(state)

    def solved(self, state: State) -> tuple[Tensor, Tensor]:
        """Left sides of the normal equations, (D, N, N) (or one for all targets), and their solution, (N, D)."""
        link, precision = state.model.link, self.precision(state)
        if precision.dim() == 1 and link.ridge() is None and link.pooling is None and state.model.marginal is None:
            modifiers, covariates = link.modifiers(self.data.covariates), self.data.covariates
            variance = self.variance(state.posterior)
            ((normal, right),) = normal_equations(state.posterior, modifiers, covariates, self.targets, covariance=variance)
            return normal.unsqueeze(0), solve_normal(normal, right)
        normals, rights = self.equations(state)
        return normals, solve_each(normals, rights)

    def equations(self, state: State, of_density: bool = False) -> tuple[Tensor, Tensor]:
        """Both sides of each target's normal equations with its noise, (D, N, N) and (D, N); the left is minus the second
        derivative of the bound, or that of the density (see `Engine.information`)."""
        link, share = state.model.link, state.model.share
        fixed = (link.modifiers(self.data.covariates), self.data.covariates, self.targets)
        priors = {"ridge": link.ridge(), "pooling": link.pooling}
        precision, marginal = self._precisions(state, of_density)
        weights = share * precision.expand_as(self.targets)
        pairs = list(normal_equations(state.posterior, *fixed, weights, self.variance(state.posterior), **priors))
        if marginal is not None:
            weights = (1 - share) * marginal.expand_as(self.targets)
            more = normal_equations(state.prior(self.data.answers), *fixed, weights, certain=True)
            pairs = [(left + other, right + its) for (left, right), (other, its) in zip(pairs, more, strict=True)]
        return torch.stack([left for left, _ in pairs]), torch.cat([right for _, right in pairs], dim=1).T

    def _precisions(self, state: State, of_density: bool) -> tuple[Tensor, Tensor | None]:
        """Of both errors, (D,) or (T, D), the second where the model is calibrated; of_density: see `Engine.information`."""
        model, own = state.model, self.precision(state)
        if of_density and model.likelihood.robust:
            own = self._squared_scores(own, self.squared_error(state))
        if model.marginal is None:
            return own, None
        marginal = self.marginal_precision(state)
        if of_density and model.marginal.robust:
            marginal = self._squared_scores(marginal, self.marginal_error(state))
        return own, marginal

    def _squared_scores(self, precision: Tensor, squared_error: Tensor) -> Tensor:
        """The mean over entries of (d log p / df)^2, which in expectation is -d^2 log p / df^2: (T, D), 0 where y is missing."""
        squared = precision**2 * squared_error
        return self.observed * (squared.sum(0) / self.observed.sum(0).clamp(min=1))

    def _precise(self, state: State, of_density: bool = False) -> Tensor:
        """The precision of every entry that counts for weights and effects, (T, D): of both errors, by their shares."""
        share, (own, marginal) = state.model.share, self._precisions(state, of_density)
        own = own.expand_as(self.targets)
        return own if marginal is None else share * own + (1 - share) * marginal.expand_as(self.targets)

    def group_covariance(self, state: State) -> Tensor | None:
        """See `Engine.group_covariance`."""
        if state.group_covariance is None or not state.model.likelihood.robust:
            return state.group_covariance
        return effect_covariance(state.model.link, self.data.covariates, self._precise(state, of_density=True))

    def precision(self, state: State) -> Tensor:
        """Precision of every target, (D,), or of every entry, (T, D) with 0 where y is missing."""
        likelihood = state.model.likelihood
        return self._precision(likelihood, self.squared_error(state) if likelihood.robust else self.targets[:1])

    def marginal_precision(self, state: State) -> Tensor:
        """The same of the likelihood of y given the answers alone."""
        likelihood = state.model.marginal
        assert likelihood is not None
        return self._precision(likelihood, self.marginal_error(state) if likelihood.robust else self.targets[:1])

    def _precision(self, likelihood: Likelihood, squared_error: Tensor) -> Tensor:
        with torch.no_grad():
            precision: Tensor = likelihood.precision(squared_error)
        if precision.dim() == 1 and self.data.complete:
            return precision
        return torch.where(self.observed, precision, torch.zeros((), dtype=precision.dtype))

    def squared_error(self, state: State) -> Tensor:
        """E_q (y - f(z))^2 of every entry (eqs. 20-22), (T, D), over coefficients and group effects, too.

        Meaningless where y is missing.
        """
        if self._squared_error is None:
            q = state.posterior
            self._squared_error = self._expected_error(state, q, self.variance(q))
        return self._squared_error

    def marginal_error(self, state: State) -> Tensor:
        """(y - f(E[z | h]))^2, (T, D), over coefficients and group effects."""
        if self._marginal_error is None:
            self._marginal_error = self._expected_error(state, state.prior(self.data.answers), None)
        return self._marginal_error

    def _expected_error(self, state: State, means: Tensor, variance: Tensor | None) -> Tensor:
        link, covariates = state.model.link, self.data.covariates
        coefficients, modifiers = link.coefficients().detach(), link.modifiers(covariates)
        error = self.targets - link.intercept.detach()
        error.addmm_(covariates, link.covariate_weights.detach(), alpha=-1)
        spread = torch.zeros_like(error)
        for m, one in enumerate(modifiers.T):
            error -= one.unsqueeze(1) * (means @ coefficients[:, m])
            for n, other in enumerate(modifiers.T if variance is not None else []):
                assert variance is not None
                spread += (one * other).unsqueeze(1) * _spread(variance, coefficients[:, m], coefficients[:, n])
        if state.coefficient_covariance is not None:
            spread += spread_of_location(means, variance, modifiers, state.coefficient_covariance)
        if state.group_covariance is not None:
            spread += effect_variance(link, covariates, state.group_covariance)
        expected: Tensor = error.square_().add_(spread)
        return expected

    def _forget(self) -> None:
        """Errors are of parameters and posteriors that change."""
        self._squared_error = self._marginal_error = None

    def information(self, state: State, of_density: bool = False) -> Iterator[Tensor]:
        """See `Engine.information`: left sides of the normal equations of each target, with its noise."""
        yield from self.equations(state, of_density)[0]

    def observation(self, state: State) -> float:
        """E_q log p(y | z), summed over items (eq. 22); a lower bound of it with noise that is not Gaussian."""
        self._squared_error = None  # parameters may have changed since the last call, and may before the next
        density = self._density(state.model.likelihood, self.squared_error(state))
        self._squared_error = None
        return density

    def marginal(self, state: State) -> float:
        """log p(y | f(E[z | h])), summed over items, in expectation over coefficients and group effects."""
        if state.model.marginal is None:
            return 0.0
        self._marginal_error = None
        density = self._density(state.model.marginal, self.marginal_error(state))
        self._marginal_error = None
        return density

    @torch.no_grad()
    def _density(self, likelihood: Likelihood, squared_error: Tensor) -> float:
        density = likelihood.error_log_density(squared_error)
        return float(torch.where(self.observed, density, torch.zeros((), dtype=density.dtype)).sum())


def _spread(variance: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """What uncertain features make of these weights, (K, D) both: (T, D). variance: (T, K), or covariance, (T, K, K)."""
    if variance.dim() == 2:
        return variance @ (one * other)
    return variance.flatten(1) @ (one.unsqueeze(1) * other).flatten(0, 1)


def moves_at(step: int) -> bool:
    """Whether items may move two features at once after so many steps: 3, 6, 12, 24 ..."""
    number, rest = divmod(step, 3)
    return rest == 0 and number > 0 and number & (number - 1) == 0
