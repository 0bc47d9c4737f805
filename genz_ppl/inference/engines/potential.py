"""What NUTS moves on: minus the log joint density of parameters and error rates, with the features of every item summed out."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor, nn
from torch.func import functional_call

from genz_ppl.inference.engines.exact import bit_table, log_evidence
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ
from genz_ppl.inference.state import Data
from genz_ppl.models import BayesianGenZ, GenZ
from genz_ppl.models.bayesian import shaped

Potential = Callable[[dict[str, Tensor]], Tensor]


def potential_of(model: GenZ, data: Data) -> Potential:
    """By hand where log p(y | z, x) was derived by hand, else Pyro's."""
    return (potential_by_hand if model.has_closed_form else potential_of_program)(model, data)


def potential_of_program(model: GenZ, data: Data) -> Potential:
    """Minus the log joint density of "link_and_noise", (N,), and "p_e" as log-odds, (K,) or (K, 2), z summed out, by Pyro."""
    inputs = (data.answers, data.covariates, data.targets)
    _, potential, _, _ = initialize_model(BayesianGenZ(EnumeratedGenZ(model)), inputs, max_plate_nesting=1)
    return potential  # type: ignore[no-any-return]


def potential_by_hand(model: GenZ, data: Data) -> Potential:
    """The same where log p(y | z, x) was derived by hand, several times faster."""
    prior, evidence, concentration = BayesianGenZ(model), Evidence(model, data), model.features.prior

    def potential(at: dict[str, Tensor]) -> Tensor:
        parameters = {f"model.{name}": value for name, value in shaped(model, at["link_and_noise"]).items()}
        rates = torch.sigmoid(at["p_e"])
        density: Tensor = functional_call(evidence, parameters, (rates,))
        density = density + dist.Normal(prior.centre, prior.spread).log_prob(at["link_and_noise"]).sum()
        total: Tensor = density + (dist.Beta(*concentration).log_prob(rates) + rates.log() + torch.log1p(-rates)).sum()
        return -total

    return potential


class Evidence(nn.Module):
    """sum_t log p(y_t | h_t) of a model as a module of its own, for `functional_call`."""

    def __init__(self, model: GenZ, data: Data) -> None:
        super().__init__()
        self.model, self.data, self.bits = model, data, bit_table(model.features.n_features)

    def forward(self, error_rates: Tensor) -> Tensor:
        """A scalar."""
        return log_evidence(self.model, self.bits, error_rates, self.data).sum()
