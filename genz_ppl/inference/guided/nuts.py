"""Weights, intercept, noise and error rates by NUTS, with the features of every item summed out: draws that no guide shapes."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor, nn
from torch.func import functional_call

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.exact import bit_table, log_evidence
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import MOST_CORRELATED, Uncertainty, set_parameters
from genz_ppl.inference.weight_posterior import add_uncertainty
from genz_ppl.models import BayesianGenZ, GenZ
from genz_ppl.models.bayesian import flattened, shaped

Potential = Callable[[dict[str, Tensor]], Tensor]

CHAINS, WARM_UP, SAMPLES = 4, 150, 250
# Chains start at draws from the Gaussian posterior, wider by this factor, so that R-hat can tell whether they have met.
OVERDISPERSED = 2.0
# Of error rates, in log-odds: the sampler's unit.
RATES_SPREAD = 0.5


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


def add_draws(state: State, data: Data, seed: int, warm_up: int = WARM_UP, samples: int = SAMPLES) -> None:
    """Give a state `uncertainty` that holds draws, (chains, samples, N + K), and its model and error rates their mean.

    The program is `BayesianGenZ` of `EnumeratedGenZ`: a normal prior on every parameter of link and likelihood, Beta on p_e. Of
    answers yes and no apart there are 2 K rates, and their prior is around the common rates that the state has. The sampler moves
    in units of `weight_posterior`'s Gaussian, where all directions are about as wide. Raises OptionError for more than 500
    parameters.
    """
    if len(flattened(state.model)) > MOST_CORRELATED:
        raise OptionError(f"posterior: nuts takes models of up to {MOST_CORRELATED} parameters; choose the linear link")
    start = state.copy()
    with isolated(seed), pyro.validation_enabled(False):
        add_uncertainty(start, data, seed)
        assert start.uncertainty is not None
        root, centre, logits = start.uncertainty.root, flattened(start.model), torch.logit(start.error_rates)
        start.model.eval()
        potential = (potential_by_hand if start.model.has_closed_form else potential_of_program)(start.model, data)

        def values(white: Tensor) -> dict[str, Tensor]:
            links, rates = white[..., : len(centre)], white[..., len(centre) :]
            return {
                "link_and_noise": centre + links @ root.T,
                "p_e": logits + RATES_SPREAD * rates.view(*white.shape[:-1], *logits.shape),
            }

        def chain() -> Tensor:
            kernel = NUTS(potential_fn=lambda at: potential(values(at["white"])))
            first = {"white": OVERDISPERSED * torch.randn(len(centre) + logits.numel(), dtype=centre.dtype)}
            run = MCMC(kernel, num_samples=samples, warmup_steps=warm_up, initial_params=first, disable_progbar=True)
            run.run()
            found = values(run.get_samples()["white"])
            return torch.cat([found["link_and_noise"], torch.sigmoid(found["p_e"]).flatten(1)], dim=1)

        drawn = torch.stack([chain() for _ in range(CHAINS)])
    mean = drawn.flatten(0, 1).mean(0)
    set_parameters(state.model, mean[: len(centre)])
    state.error_rates = mean[len(centre) :].clone().view_as(state.error_rates)
    state.uncertainty = Uncertainty.of_draws(drawn, len(centre))
