"""Refits of several states at once, for a linear link with Gaussian noise and few items.

A step of a small fit is some hundred operations that take microseconds: calling them costs more than what they do. States that
differ in answers alone, wordings on trial or models that each lack another feature, are stacked into lanes, (L, ...), and every
operation is called once for all of them. The steps are those of `LinearGaussian`, with u = z - 1/2 in place of z: the block of u
of the normal equations is what the coefficients' covariance comes from, so that one decomposition gives both, and a move of the
error rates leaves the intercept as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genz_ppl.inference.engines.calibration import GROWTH, HIGHEST_RATE, SHORTEST, TRIES
from genz_ppl.inference.engines.closed_form import moves_at
from genz_ppl.inference.engines.coefficient_posterior import SMALLEST_SPREAD, STRENGTH
from genz_ppl.inference.engines.least_squares import SMALLEST_PIVOT, solve_normal
from genz_ppl.inference.engines.moves import escape, settle
from genz_ppl.inference.engines.sums import BLOCK, LOST_DIGITS, is_linear_gaussian
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GaussianLikelihood, LinearLink
from genz_ppl.models.features import most_probable_error_rate
from genz_ppl.models.gaussian import SMALLEST_VARIANCE
from genz_ppl.models.likelihoods import Likelihood

# Numbers in the covariances and the posteriors of all lanes (64 MB): more are fitted in several goes.
ROOM = 2**23


@torch.no_grad()
def fitted_together(states: Sequence[State], data: Sequence[Data], steps: int) -> bool:
    """Move the states by one M-step and so many E- and M-steps, as `refit` does, or leave all of them as they are: False.

    That is where they are not of one make and size on the same targets, where the steps here do not hold, or where something has
    lost its digits in them.
    """
    if not all(_fits(state, one, states[0], data[0]) for state, one in zip(states, data, strict=True)):
        return False
    n_features, n_targets = len(states[0].error_rates), data[0].targets.shape[1]
    if len(states) * n_features * max(3 * len(data[0].targets), 3 * n_targets * n_features) > ROOM:
        return False
    with one_thread():
        lanes = SideBySide(states, data)
        found = lanes.fit(steps)
        if found:
            lanes.write()
    return found


def _fits(state: State, data: Data, first: State, others: Data) -> bool:
    model, other = state.model, first.model
    if not model.has_closed_form or type(model.link) is not LinearLink or type(model.likelihood) is not GaussianLikelihood:
        return False
    alike = (
        data.targets is others.targets
        and data.covariates is others.covariates
        and state.error_rates.shape == first.error_rates.shape
        and (model.share, model.link.shrinkage is None) == (other.share, other.link.shrinkage is None)
    )
    plain = (
        state.posterior.dtype == torch.float64
        and state.error_rates.dim() == 1
        and len(state.error_rates) > 0
        and data.answers.dim() == 2
        and not model.link.weak
    )
    return alike and plain and len(data.targets) <= BLOCK and is_linear_gaussian(model, data)


class SideBySide:
    """States and their data, stacked; nothing of them changes before `write`."""

    def __init__(self, states: Sequence[State], data: Sequence[Data]) -> None:
        self.states, first, links = states, states[0].model, [state.model.link for state in states]
        self.targets, self.n_items, self.share = data[0].targets, len(data[0].targets), first.share
        ones = self.targets.new_ones(1, self.n_items)
        self.observations = torch.cat([self.targets.T, ones, data[0].covariates.T])
        self.moments = self.observations @ self.observations.T
        self.q = torch.stack([state.posterior.T for state in states]).contiguous()
        self.signs = torch.stack([one.signs for one in data])
        self.answered = torch.stack([one.answered for one in data])
        self.answered_yes = 0.5 * (self.answered + self.signs.sum(2))
        self.rates = torch.stack([state.error_rates for state in states])
        self.concentration = first.features.concentration
        self.shrinkage = None if first.link.shrinkage is None else torch.stack([link.shrinkage for link in links])
        self.variance = _variances([state.model.likelihood for state in states])
        own = [state.model.marginal for state in states if state.model.marginal is not None]
        self.calibrated = len(own) > 0
        self.of_signs: tuple[Tensor, Tensor] | None = None
        if self.calibrated:
            self.marginal = _variances(own)
            self.of_signs = self.signs @ self.signs.mT, self.signs @ self.observations.T
        self.covariance: Tensor | None = None
        self.rate_step = self.rates.new_ones(len(states), 1)
        self.solution = self.normal = self.right = self.q.new_zeros(0)

    def fit(self, steps: int) -> bool:
        """So many E- and M-steps. False where a decomposition or a sum has lost its digits: `LinearGaussian` has other ways."""
        self._count()
        if not self._maximise():
            return False
        for step in range(1, steps + 1):
            self._sweep(moves_at(step))
            self._count()
            if not self._maximise():
                return False
            self._error_rates()
        return True

    def write(self) -> None:
        """Give the states what was found."""
        n_features = self.q.shape[1]
        weights, slopes = self.solution[:, :n_features], self.solution[:, n_features + 1 :]
        intercept = self.solution[:, n_features] - 0.5 * weights.sum(1)
        for lane, state in enumerate(self.states):
            model = state.model
            model.link.set_solution(weights[lane].unsqueeze(1), intercept[lane], slopes[lane])
            state.posterior, state.error_rates = self.q[lane].clone().T, self.rates[lane].clone()
            with torch.no_grad():
                model.likelihood.scale = self.variance[lane].sqrt()
                if model.marginal is not None:
                    model.marginal.scale = self.marginal[lane].sqrt()
            if self.shrinkage is not None and self.covariance is not None:
                model.link.shrinkage = self.shrinkage[lane].clone()
                state.coefficient_covariance = self.covariance[lane].clone()

    def _sweep(self, moves: bool) -> None:
        """Eq. 27 for one feature after the other."""
        n_features, q = self.q.shape[1], self.q
        weights, rest = self.solution[:, :n_features], self.solution[:, n_features:]
        precise = weights * self.variance.reciprocal().unsqueeze(1)
        gram = precise @ weights.mT
        # W b + gram / 2 with b = centre - W'1 / 2.
        constant = (precise @ rest[:, 0].unsqueeze(2))[:, :, 0] + 0.5 * (gram.diagonal(dim1=1, dim2=2) - gram.sum(2))
        if self.covariance is not None:
            uncertain = (self.variance.reciprocal().unsqueeze(1) @ self.covariance.flatten(2)).view_as(gram)
            gram = gram + uncertain
            constant += 0.5 * (uncertain.diagonal(dim1=1, dim2=2) - uncertain.sum(2))
        pulls = torch.cat([precise, -constant.unsqueeze(2), -precise @ rest[:, 1:].mT], dim=2)
        field = pulls @ self.observations
        field.addcmul_(self.signs, -torch.logit(self.rates).unsqueeze(2))
        if moves:
            lanes = zip(q, field, gram, strict=True)
            self.q = torch.stack([escape(settle(one, pull, own, sweeps=1), pull, own) for one, pull, own in lanes])
            return
        others = gram
        others.diagonal(dim1=1, dim2=2).zero_()
        rows = zip(*(torch.split(part, 1, dim=1) for part in (field, q, others)), strict=True)
        for logit, mean, coupling in rows:
            torch.sigmoid(logit.baddbmm_(coupling, q, alpha=-1), out=mean)

    def _count(self) -> None:
        """Sums over items at the present posterior: of u, 1 and x with each other, (L, N, N), and with y, (L, N, D)."""
        self.normal, self.right = self._centred(self.q @ self.q.mT, self.q @ self.observations.T)
        # z is its own square.
        self.normal.diagonal(dim1=1, dim2=2)[:, : self.q.shape[1]] = 0.25 * self.n_items

    def _centred(self, products: Tensor, crossed: Tensor, middle: float = 0.5) -> tuple[Tensor, Tensor]:
        """The sums of z less the middle, from those of z with itself, (L, K, K), and with y, 1, x, (L, K, D + 1 + P)."""
        n_targets, known = self.targets.shape[1], self.moments[self.targets.shape[1] :]
        if middle:
            half = middle * crossed[:, :, n_targets : n_targets + 1]
            products = products - half - half.mT + middle**2 * self.n_items
            crossed = crossed - middle * self.moments[n_targets]
        side = crossed[:, :, n_targets:]
        below = torch.cat([side.mT, known[:, n_targets:].expand(len(side), -1, -1)], dim=2)
        right = torch.cat([crossed[:, :, :n_targets], known[:, :n_targets].expand(len(side), -1, -1)], dim=1)
        return torch.cat([torch.cat([products, side], dim=2), below], dim=1), right

    def _maximise(self) -> bool:
        """Weights, intercept and slopes, what is uncertain about them, noise, spreads; False where digits are lost."""
        n_features = self.q.shape[1]
        if self.shrinkage is None and self.of_signs is None:
            self.solution = torch.stack([solve_normal(*pair) for pair in zip(self.normal, self.right, strict=True)])
            return self._update_noise(self.variance, self.normal, self.right)
        strength = (self.share / self.variance).unsqueeze(2)
        answers: tuple[Tensor, Tensor] | None = None
        normals, rights = self.normal.flatten(1).unsqueeze(1), strength * self.right.mT
        if self.of_signs is not None:
            # E[u | h] = (1 - 2 p_e) s / 2, s the sign of the answer.
            slope = (0.5 - self.rates).unsqueeze(2)
            products, crossed = self.of_signs
            answers = self._centred(slope * products * slope.mT, slope * crossed, 0.0)
            normals = torch.stack([self.normal.flatten(1), answers[0].flatten(1)], dim=1)
            weight = ((1 - self.share) / self.marginal).unsqueeze(2)
            rights = rights + weight * answers[1].mT
            strength = torch.cat([strength, weight], dim=2)
        lefts = (strength @ normals).view(*rights.shape, rights.shape[2])
        diagonal = lefts.diagonal(dim1=2, dim2=3)
        if self.shrinkage is not None:
            diagonal[:, :, :n_features] += self.shrinkage.unsqueeze(1)
        size = diagonal.rsqrt()
        lower, failed = torch.linalg.cholesky_ex(lefts.mul_(size.unsqueeze(3)).mul_(size.unsqueeze(2)))
        if bool(failed.any()) or not float(lower.diagonal(dim1=2, dim2=3).amin()) > SMALLEST_PIVOT:
            return False
        self.solution = (torch.cholesky_solve((rights * size).unsqueeze(3), lower)[:, :, :, 0] * size).mT
        if self.shrinkage is not None:
            own = size[:, :, :n_features]
            inverse = torch.cholesky_inverse(lower[:, :, :n_features, :n_features]).mT  # symmetric; its rows are contiguous so
            self.covariance = inverse.mul_(own.unsqueeze(3)).mul_(own.unsqueeze(2))
        if not self._update_noise(self.variance, self.normal, self.right):
            return False
        if answers is not None and not self._update_noise(self.marginal, *answers):
            return False
        self._learn_shrinkage()
        return True

    def _update_noise(self, variance: Tensor, normal: Tensor, right: Tensor) -> bool:
        """The mean squared errors of all targets become the noise, (L, D), in place."""
        error = self._squared_error(self.solution, normal, right)
        if bool((error < LOST_DIGITS * self.moments.diagonal()[: len(self.targets.T)]).any()):
            return False
        if self.covariance is not None:
            error = error + self._uncertain(normal)
        torch.clamp(error / self.n_items, min=SMALLEST_VARIANCE, out=variance)
        return True

    def _squared_error(self, solution: Tensor, normal: Tensor, right: Tensor) -> Tensor:
        return self.moments.diagonal()[: self.targets.shape[1]] + (solution * (normal @ solution - 2 * right)).sum(1)

    def _uncertain(self, normal: Tensor, ratio: Tensor | None = None) -> Tensor:
        """What the coefficients' covariance, of each times a ratio, (L, K), adds to squared errors, (L, D)."""
        assert self.covariance is not None
        n_features = self.q.shape[1]
        block = normal[:, :n_features, :n_features]
        if ratio is not None:
            block = block * ratio.unsqueeze(1) * ratio.unsqueeze(2)
        return (self.covariance.flatten(2) @ block.flatten(1).unsqueeze(2))[:, :, 0]

    def _learn_shrinkage(self) -> None:
        """As `learn_shrinkage`."""
        if self.shrinkage is None:
            return
        assert self.covariance is not None
        n_features, n_targets = self.q.shape[1], self.targets.shape[1]
        spread = self.solution[:, :n_features].square().sum(2) + self.covariance.diagonal(dim1=2, dim2=3).sum(1)
        total = spread + STRENGTH / self.shrinkage.mean(1, keepdim=True)
        self.shrinkage = ((STRENGTH + n_targets) / total).clamp(max=SMALLEST_SPREAD**-2)

    def _error_rates(self) -> None:
        """Eq. 14; of calibrated models as `move_error_rates` has it."""
        agreement = (self.signs * self.q).sum(2)
        wrong = (self.answered_yes - agreement).clamp_(min=0.0)
        aim = torch.where(self.answered > 0, most_probable_error_rate(wrong, self.answered, self.concentration), self.rates)
        if not self.calibrated:
            self.rates = aim
            return
        extra = (self.concentration - 1).clamp(min=0)
        counts = wrong + extra[0], self.answered - wrong + extra[1]
        start, ratio = self.rates, torch.ones_like(self.rates)
        present, waiting = self._value(start, ratio, counts), torch.ones_like(self.rate_step, dtype=torch.bool)
        chosen = ratio
        for _ in range(TRIES):
            rates = start + self.rate_step * (aim - start)
            moving = (start < HIGHEST_RATE) & (rates < HIGHEST_RATE)
            ratio = torch.where(moving, (1 - 2 * start) / (1 - 2 * rates), 1.0)
            taken = waiting & (self._value(rates, ratio, counts) >= present)
            self.rates, chosen = torch.where(taken, rates, self.rates), torch.where(taken, ratio, chosen)
            shorter = (0.5 * self.rate_step).clamp(min=SHORTEST)
            longer = (GROWTH * self.rate_step).clamp(max=1.0)
            self.rate_step = torch.where(taken, longer, torch.where(waiting, shorter, self.rate_step))
            waiting = waiting & ~taken
            if not bool(waiting.any()):
                break
        self.solution = torch.cat([self.solution[:, : len(chosen.T)] * chosen.unsqueeze(2), self.solution[:, len(chosen.T) :]], 1)
        if self.covariance is not None:
            scale = (chosen.unsqueeze(1) * chosen.unsqueeze(2)).unsqueeze(1)
            self.covariance = self.covariance.mul_(scale)

    def _value(self, rates: Tensor, ratio: Tensor, counts: tuple[Tensor, Tensor]) -> Tensor:
        """What of the bound depends on the rates, with each feature's weights times a ratio, (L, K); (L, 1)."""
        n_features = self.q.shape[1]
        solution = torch.cat([self.solution[:, :n_features] * ratio.unsqueeze(2), self.solution[:, n_features:]], dim=1)
        error = self._squared_error(solution, self.normal, self.right)
        squares = solution[:, :n_features].square().sum(2)
        if self.covariance is not None:
            error = error + self._uncertain(self.normal, ratio)
            squares = squares + self.covariance.diagonal(dim1=2, dim2=3).sum(1) * ratio.square()
        observation = -0.5 * (error / self.variance).sum(1, keepdim=True)
        feature = (counts[0] * torch.log(rates) + counts[1] * torch.log1p(-rates)).sum(1, keepdim=True)
        value = self.share * (observation + feature)
        if self.shrinkage is not None:
            value = value - 0.5 * (self.shrinkage * squares).sum(1, keepdim=True)
            value = value + self.targets.shape[1] * torch.log(ratio).sum(1, keepdim=True)
        return value


def _variances(likelihoods: Sequence[Likelihood]) -> Tensor:
    return torch.stack([likelihood.scale.detach().square() for likelihood in likelihoods])
