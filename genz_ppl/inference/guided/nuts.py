"""Weights, intercept, noise and error rates by NUTS, with the features of every item summed out: draws that no guide shapes."""

from __future__ import annotations

import pyro
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.potential import potential_of
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import MOST_CORRELATED, Uncertainty, set_parameters
from genz_ppl.inference.weight_posterior import add_uncertainty
from genz_ppl.models.bayesian import flattened

CHAINS, WARM_UP, SAMPLES = 4, 150, 250
# Chains start at draws from the Gaussian posterior, wider by this factor, so that R-hat can tell whether they have met.
OVERDISPERSED = 2.0
# Of error rates, in log-odds: the sampler's unit.
RATES_SPREAD = 0.5


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
        potential = potential_of(start.model, data)

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
