"""E- and M-steps that know nothing of a model but its Pyro program: what the steps derived by hand are shortcuts for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyro
import torch
from pyro import poutine
from torch import Tensor

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.descent import descend, off_their_limits
from genz_ppl.inference.guided.conditional import assignments, with_value
from genz_ppl.inference.guided.enumerated import PointGuide
from genz_ppl.inference.guided.program import sample_nodes, scaled_density
from genz_ppl.inference.state import Data, State
from genz_ppl.models.bayesian import free_parameters

# Of L-BFGS in one M-step.
ITERATIONS = 20


class ThroughProgram(Engine):
    """Expectations under the factorised q as sums over assignments of the features, each a run of the program.

    Exact up to 11 features; with more, over 256 draws that are the same at every call. M-steps are L-BFGS's.
    """

    exact: ClassVar[bool] = True
    short: ClassVar[bool] = False

    def __init__(self, data: Data) -> None:
        self.data = data

    @torch.no_grad()
    def sweep(self, state: State) -> None:
        """Eq. 11: for each feature in turn the log-odds of its prior, and E_q[log p(y | z_k = 1) - log p(y | z_k = 0)]."""
        state.model.eval()
        for k in range(state.posterior.shape[1]):
            odds = torch.logit(state.prior(self.data.answers)[:, k])
            for z, weight in assignments(state.posterior, k):
                yes, no = (self.densities(state, with_value(z, k, value))[0] for value in (1.0, 0.0))
                odds = odds + (weight * (yes - no)).sum(0)
            state.posterior[:, k] = torch.sigmoid(odds)

    def maximise(self, state: State) -> None:
        """Eqs. 12 and 13: the parameters of link and likelihood where E_q[log p(y | z)] and their log priors have a maximum."""
        state.model.eval()
        weighted = list(self.weighted(state.posterior))

        def loss() -> Tensor:
            total = torch.zeros((), dtype=torch.float64)
            for number, (z, weight) in enumerate(weighted):
                density, priors = self.densities(state, z)
                total = total - (weight * density).sum() - (priors if number == 0 else 0)
            return total / self.data.targets.numel()

        off_their_limits(state.model.likelihood)
        descend([p for p in free_parameters(state.model).values() if p.numel() > 0], loss, ITERATIONS)

    def error_rates(self, state: State) -> None:
        """Eq. 14: p_e where E_q[log p(z | h, p_e)], which is linear in z, and its log prior have a maximum."""
        if len(state.error_rates) == 0:
            return
        guide = PointGuide(state.error_rates)
        inputs = (self.data.answers, self.data.covariates, self.data.targets)

        def loss() -> Tensor:
            held = poutine.condition(state.model, data={"z": state.posterior, "p_e": guide.error_rates})
            trace = poutine.trace(held).get_trace(*inputs)
            return -sum((scaled_density(trace.nodes[name]).sum() for name in ("z", "p_e")), torch.zeros(())) / len(inputs[0])

        with pyro.validation_enabled(False):
            descend(list(guide.parameters()), loss, ITERATIONS)
        rates = state.error_rates
        answered = self.data.answered.view(-1, *[1] * (rates.dim() - 1)) > 0
        state.error_rates = torch.where(answered, guide.reached(), rates)
        state.model.features.learn_common(state.error_rates)

    @torch.no_grad()
    def observation(self, state: State) -> float:
        """E_q log p(y | z), summed over items."""
        state.model.eval()
        return sum(float((weight * self.densities(state, z)[0]).sum()) for z, weight in self.weighted(state.posterior))

    def weighted(self, posterior: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Assignments of all features, (N, T, K), and their probabilities under q, (N, T)."""
        if posterior.shape[1] == 0:
            yield posterior.unsqueeze(0), posterior.new_ones(1, len(posterior))
            return
        for z, weight in assignments(posterior, 0):
            for value, q in ((1.0, posterior[:, 0]), (0.0, 1 - posterior[:, 0])):
                yield with_value(z, 0, value), weight * q

    def densities(self, state: State, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(y | z, x) at z, (N, T, K), by item, (N, T); and the log density of all other sites but z and error rates."""
        with pyro.validation_enabled(False):
            held = poutine.condition(state.model, data={"z": z, "p_e": state.error_rates})
            trace = poutine.trace(held).get_trace(self.data.answers, self.data.covariates, self.data.targets)
            others = [node for node in sample_nodes(trace) if node["name"] not in ("z", "p_e", "p_e_common", "y")]
            priors = [scaled_density(node).sum() for node in others]
            return scaled_density(trace.nodes["y"]).expand(z.shape[:-1]), sum(priors, z.new_zeros(()))
