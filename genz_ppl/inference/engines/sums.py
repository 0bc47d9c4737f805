"""Steps of y = z W + b + x C + Gaussian noise with complete y, from sums over items that are small whatever their number.

With O = [y, 1, x], (T, D + 1 + P), the E-step reads O only through one product with (K, D + 1 + P) numbers, and the M-step,
the noise and the observation term of the bound only through q'q, q'O and O'O. What answers alone predict needs s's and s'O, of
the signs s of the answers, which are summed once. No step makes anything of size T x D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import ClassVar

import torch
from torch import Tensor

from genz_ppl.inference.engines.blocks import Results, blocks_of, each_block, lanes_for
from genz_ppl.inference.engines.closed_form import ClosedForm
from genz_ppl.inference.engines.coefficient_posterior import centred
from genz_ppl.inference.engines.in_turn import update_in_turn
from genz_ppl.inference.engines.joint import Together, near_exact
from genz_ppl.inference.engines.least_squares import solve_each, solve_normal
from genz_ppl.inference.engines.moves import escape, settle, without_diagonal
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GenZ, LinearLink
from genz_ppl.models.features import mean_rates, unanswered_rate

# Items handled at once in the E-step: a panel of features of a block stays in a core's cache.
BLOCK = 4608
# A squared error below this share of y'y is a difference of numbers nearly equal: it is summed item by item instead.
LOST_DIGITS = 1e-4
# Of a block: q'q's upper half, O'q, and what its features share where that is not nothing.
Counted = tuple[Tensor, Tensor, Together | None]


@dataclass(frozen=True)
class Sums:
    """E_q of sums over items, with a = [z, 1, x]: a'a, (K + 1 + P,) * 2; a'y, (K + 1 + P, D); and y'y's diagonal, (D,).

    n_features: K. covariance: of the features, (K, K), 0 on its diagonal, summed over items; None where they are independent.
    """

    normal: Tensor
    right: Tensor
    squares: Tensor
    n_features: int
    covariance: Tensor | None = None

    @cached_property
    def centred(self) -> Tensor:
        """E_q of the sum of u u', u = z - 1/2, (K, K)."""
        return centred(self.normal, self.n_features)

    def squared_error(self, solution: Tensor) -> Tensor | None:
        """E_q of the summed squared error of every target, (D,), eqs. 20-22; None where too few digits are left of it.

        solution: (K + 1 + P, D), [W, b, C].
        """
        error = self.squares + (solution * (self.normal @ solution - 2 * self.right)).sum(0)
        lost = error < LOST_DIGITS * self.squares
        return None if bool(lost.any()) else error

    def uncertain(self, covariance: Tensor | None) -> Tensor | float:
        """What coefficients with this covariance, (D, K, K), add to that, (D,)."""
        return 0.0 if covariance is None else (covariance * self.centred).sum((1, 2))


class LinearGaussian(ClosedForm):
    """E- and M-step of a linear link with one precision a target, Gaussian noise and complete targets.

    On one of torch's threads: an operation on a block takes microseconds, and threads would wait for each other after every one.
    Where there are enough items, several blocks are worked on at once instead.
    """

    short: ClassVar[bool] = True

    @one_thread()
    def __init__(self, data: Data, joint_moves: bool = True, combinations: float = 0.0) -> None:
        super().__init__(data, joint_moves, combinations)
        self.moments = data.moments
        self.blocks = blocks_of(len(data.targets), BLOCK)
        self.lanes = lanes_for(self.blocks, *data.stored)
        self._rooms: dict[int, Tensor] = {}
        self._counted: tuple[Tensor, int, Sums] | None = None
        self._answered: tuple[Tensor, Sums] | None = None

    @one_thread()
    def sweep(self, state: State) -> None:
        """Eq. 27 for one feature after the other, all items; state.posterior changes in place if its columns are contiguous."""
        moves, precision = self.moves_now(), self.precision(state)
        link, columns = state.model.link, state.posterior.T.contiguous()
        weights = link.weights.detach()
        precise = weights * precision
        gram = precise @ weights.T
        constant = precise @ link.intercept.detach() + 0.5 * gram.diagonal()
        if state.coefficient_covariance is not None:
            uncertain = torch.einsum("d,dkj->kj", precision, state.coefficient_covariance)
            gram += uncertain
            constant += 0.5 * (uncertain.diagonal() - uncertain.sum(1))
        pulls = torch.cat([precise, -constant.unsqueeze(1), -precise @ link.covariate_weights.detach().T], dim=1)
        others, results = without_diagonal(gram), Results(self.blocks)

        def update(items: slice, lane: int) -> Counted:
            stored = columns[:, items]
            q, observations = stored.to(precise.dtype), self.data.observations(items)
            field = torch.mm(pulls, observations, out=self.fields(q, lane))
            self.data.add_prior(field, state.error_rates, items)
            if moves or self.size is not None:
                q.copy_(settle(q, field, gram, sweeps=1))
                q.copy_(escape(q, field, gram) if moves else q)
            else:
                update_in_turn(q, field, others)
            shared: tuple[Tensor, ...] = ()
            if self.size is not None:
                found = Together.of(near_exact(q, field, gram, self.size), len(q), q)
                shared = found.covariance, found.entropy
            if stored.dtype != q.dtype:
                stored.copy_(q)
            products, crossed, *shared_kept = results.put(items, *_products(q, observations), *shared)
            return products, crossed, Together(*shared_kept) if shared_kept else None

        parts = each_block(update, self.blocks, self.lanes)
        state.posterior = columns.T
        self._keep(state.posterior, parts)

    def fields(self, q: Tensor, lane: int) -> Tensor:
        """Room for the fields of a block, (K, B), that keeps its place in memory from step to step."""
        if lane not in self._rooms or len(self._rooms[lane]) != len(q):
            largest = max(items.stop - items.start for items in self.blocks)
            self._rooms[lane] = q.new_empty(len(q), largest)
        return self._rooms[lane][:, : q.shape[1]]

    @one_thread()
    def sums(self, posterior: Tensor) -> Sums:
        """The sums for this posterior, (T, K); kept until it changes."""
        if self._counted is None or self._counted[0] is not posterior or self._counted[1] != posterior._version:
            columns, results = posterior.T.contiguous(), Results(self.blocks)

            def count(items: slice, lane: int) -> Counted:
                found = _products(columns[:, items].to(self.moments.dtype), self.data.observations(items))
                products, crossed = results.put(items, *found)
                return products, crossed, None

            self._keep(posterior, each_block(count, self.blocks, self.lanes))
        assert self._counted is not None
        return self._counted[2]

    def _keep(self, posterior: Tensor, parts: Sequence[Counted]) -> None:
        n_features, n_targets = posterior.shape[1], self.data.targets.shape[1]
        known = self.moments[n_targets:]
        products = reduce(torch.add, [part for part, *_ in parts])
        crossed = reduce(torch.add, [part for _, part, _ in parts])
        shared = [together for *_, together in parts if together is not None]
        normal = torch.empty(n_features + len(known), n_features + len(known)).to(products)
        normal[:n_features, :n_features] = products.triu() + products.triu(1).T
        normal[:n_features, n_features:] = crossed[n_targets:].T
        normal[n_features:, :n_features] = crossed[n_targets:]
        normal[n_features:, n_features:] = known[:, n_targets:]
        normal.diagonal()[:n_features] = crossed[n_targets]  # z is its own square
        covariance = None
        if shared:
            covariance = torch.stack([together.covariance for together in shared]).sum(0)
            normal[:n_features, :n_features] += covariance
            self.note_entropy(posterior, float(torch.stack([together.entropy for together in shared]).sum()))
        right = torch.cat([crossed[:n_targets].T, known[:, :n_targets]])
        sums = Sums(normal, right, self.moments.diagonal()[:n_targets], n_features, covariance)
        self._counted = (posterior, posterior._version, sums)

    @one_thread()
    def answer_sums(self, state: State) -> Sums:
        """The sums with E[z | h] in place of z, as numbers; kept until the rates change."""
        if self._answered is None or self._answered[0] is not state.error_rates:
            self._answered = (state.error_rates, self._answer_sums(state))
        return self._answered[1]

    def _answer_sums(self, state: State) -> Sums:
        """From the sums of the signs s, as E[z | h] is middle + slope s: 1/2 + (1 - 2 p_e) s / 2 where rates are symmetric.

        Of several annotators it is no such sum.
        """
        if self.data.answers.dim() == 3:
            n_targets, prior = self.data.targets.shape[1], state.prior(self.data.answers).T
            observations = self.data.observations(slice(None))
            design = torch.cat([prior, observations[n_targets:]])
            right = design @ observations[:n_targets].T
            return Sums(design @ design.T, right, self.moments.diagonal()[:n_targets], len(prior))
        products, crossed = self.data.sign_products
        n_features, n_targets = len(products), self.data.targets.shape[1]
        middle, slope = unanswered_rate(state.error_rates).unsqueeze(1), (0.5 - mean_rates(state.error_rates)).unsqueeze(1)
        counted = slope * crossed
        half = middle.T * counted[:, n_targets : n_targets + 1]
        known = self.moments[n_targets:]
        with_known = middle * self.moments[n_targets] + counted
        normal = torch.empty(n_features + len(known), n_features + len(known)).to(products)
        normal[:n_features, :n_features] = slope * products * slope.T + half + half.T
        normal[:n_features, :n_features] += middle * middle.T * len(self.data.targets)
        normal[:n_features, n_features:] = with_known[:, n_targets:]
        normal[n_features:, :n_features] = with_known[:, n_targets:].T
        normal[n_features:, n_features:] = known[:, n_targets:]
        right = torch.cat([with_known[:, :n_targets], known[:, :n_targets]])
        return Sums(normal, right, self.moments.diagonal()[:n_targets], n_features)

    @one_thread()
    def solved(self, state: State) -> tuple[Tensor, Tensor]:
        """See `ClosedForm.solved`."""
        if state.model.marginal is None and state.model.link.shrinkage is None:
            sums = self.sums(state.posterior)
            return sums.normal.unsqueeze(0), solve_normal(sums.normal, sums.right)
        normals, rights = self.equations(state)
        return normals, solve_each(normals, rights)

    def equations(self, state: State, of_density: bool = False) -> tuple[Tensor, Tensor]:
        """See `ClosedForm.equations`; of Gaussian noise the density is its own bound."""
        model, sums = state.model, self.sums(state.posterior)
        precision = model.share * self.precision(state)
        normals, rights = precision[:, None, None] * sums.normal, precision.unsqueeze(1) * sums.right.T
        if model.marginal is not None:
            sums, precision = self.answer_sums(state), (1 - model.share) * self.marginal_precision(state)
            normals, rights = normals + precision[:, None, None] * sums.normal, rights + precision.unsqueeze(1) * sums.right.T
        if model.link.shrinkage is not None:
            normals.diagonal(dim1=1, dim2=2)[:, : len(model.link.shrinkage)] += model.link.shrinkage
        return normals, rights

    @torch.no_grad()
    def update_noise(self, state: State) -> None:
        """See `ClosedForm.update_noise`."""
        error = self.mean_squared_error(state)
        state.model.likelihood.update(error, torch.ones_like(error))
        if state.model.marginal is not None:
            error = self.mean_marginal_error(state)
            state.model.marginal.update(error, torch.ones_like(error))

    @one_thread()
    @torch.no_grad()
    def observation(self, state: State) -> float:
        """E_q log p(y | z), summed over items (eq. 22)."""
        density = state.model.likelihood.error_log_density(self.mean_squared_error(state))
        return float(density.sum()) * len(self.data.targets)

    @one_thread()
    @torch.no_grad()
    def marginal(self, state: State) -> float:
        """See `ClosedForm.marginal`."""
        if state.model.marginal is None:
            return 0.0
        density = state.model.marginal.error_log_density(self.mean_marginal_error(state))
        return float(density.sum()) * len(self.data.targets)

    def mean_squared_error(self, state: State) -> Tensor:
        """E_q of the mean squared error of every target, (1, D)."""
        columns = state.posterior.T
        return self._mean_error(state, self.sums(state.posterior), lambda items: columns[:, items].T, certain=False)

    def mean_marginal_error(self, state: State) -> Tensor:
        """The mean squared error of every target at E[z | h], (1, D)."""
        prior = partial(self.data.prior_of, state.error_rates)
        return self._mean_error(state, self.answer_sums(state), prior, certain=True)

    def _mean_error(self, state: State, sums: Sums, means: Callable[[slice], Tensor], certain: bool) -> Tensor:
        """means: of the features of some items, (B, K). certain: they are numbers, not probabilities."""
        link = state.model.link
        solution = torch.cat([link.weights, link.intercept.unsqueeze(0), link.covariate_weights]).detach()
        total = sums.squared_error(solution)
        if total is None:
            weights, rest = solution[: sums.n_features], solution[sums.n_features :]

            def of_block(items: slice, lane: int) -> Tensor:
                q, observations = means(items).to(solution.dtype), self.data.observations(items)
                n_targets = solution.shape[1]
                error: Tensor = (observations[:n_targets] - (q @ weights).T - rest.T @ observations[n_targets:]).square().sum(1)
                return error if certain else error + (q * (1 - q)).sum(0) @ weights**2

            total = reduce(torch.add, each_block(of_block, self.blocks, self.lanes))
            if sums.covariance is not None:
                total += (weights * (sums.covariance @ weights)).sum(0)
        return ((total + sums.uncertain(state.coefficient_covariance)) / len(self.data.targets)).unsqueeze(0)


def _products(q: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
    """The upper half of q'q, (K, K), and O'q, (D + 1 + P, K), of a block."""
    half = len(q) // 2
    products = torch.zeros(len(q), len(q), dtype=q.dtype, device=q.device)
    torch.mm(q[:half], q.T, out=products[:half])
    torch.mm(q[half:], q[half:].T, out=products[half:, half:])
    return products, observations @ q.T


def closed_form_for(model: GenZ, data: Data, joint_moves: bool = True, combinations: float = 0.0) -> ClosedForm:
    """The engine of a model that has closed forms: by sums over items where they suffice. combinations: see `ClosedForm`."""
    return (LinearGaussian if is_linear_gaussian(model, data) else ClosedForm)(data, joint_moves, combinations)


def is_linear_gaussian(model: GenZ, data: Data) -> bool:
    """Whether the steps of this module hold for a model with closed forms and for the data."""
    link: LinearLink = model.link
    ridge = link.ridge()
    same = ridge is None or (ridge.shape[1] == 1 and link.shrinkage is not None)
    shared = same and link.pooling is None and link.coefficients().shape[1] == 1
    return shared and not model.likelihood.robust and data.complete
