"""The bound of a trained guide, measured by draws from it."""

from __future__ import annotations

import torch

from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.guided.guides import StructuredGuide
from genz_ppl.inference.state import Bound, Data, State, bound_of
from genz_ppl.inference.uncertainty import drawn_models
from genz_ppl.models.features import prior_probability

DRAWS = 100


@torch.no_grad()
def mean_field_bound(state: State, data: Data) -> Bound:
    """The bound of the factorised q that `state` holds: exact for Gaussian noise on a linear link, else over 100 draws of z."""
    state.model.eval()
    if state.uncertainty is None and state.model.is_quadratic:
        return bound_of(state, data, closed_form_for(state.model, data).observation(state))
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    models = drawn_models(state.model, state.uncertainty, DRAWS, 0)
    for _ in range(DRAWS):
        uniform = torch.rand(state.posterior.shape, generator=generator, dtype=state.posterior.dtype)
        model = next(models, state.model)
        total += float(model.log_density((uniform < state.posterior).to(uniform), data.covariates, data.targets).sum())
    return bound_of(state, data, total / DRAWS)


@torch.no_grad()
def structured_bound(state: State, data: Data, guide: StructuredGuide) -> Bound:
    """The bound of a structured q over 100 draws from it; the global random numbers decide on the draws."""
    state.model.eval()
    q = guide.distribution(None, (data.answers, data.covariates, data.targets), state.error_rates)
    prior = prior_probability(data.answers, state.error_rates)
    observation = feature = entropy = 0.0
    for _ in range(DRAWS):
        z = q.sample()
        observation += float(state.model.log_density(z, data.covariates, data.targets).sum())
        feature += float(torch.log(torch.where(z > 0.5, prior, 1 - prior)).sum())
        entropy -= float(q.log_prob(z).sum())
    penalty = float(state.model.penalty(state.error_rates))
    return Bound(observation / DRAWS, feature / DRAWS, entropy / DRAWS, penalty)
