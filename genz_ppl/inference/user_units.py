"""Parameters of a fitted model in the units of the user's targets and covariates."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.models import InteractionLink
from genz_ppl.types import FloatArray


def user_parameters(state: State, scaling: Scaling) -> dict[str, FloatArray]:
    """See `FitResult.parameters`."""
    with isolated(0):
        return _user_parameters(state, scaling)


def _user_parameters(state: State, scaling: Scaling) -> dict[str, FloatArray]:
    link, likelihood = state.model.link, state.model.likelihood
    parameters: dict[str, Tensor] = {}
    if link.adds_up:
        whole = likelihood.n_locations == len(scaling.target_spread)
        spread = scaling.target_spread if whole else torch.ones(likelihood.n_locations, dtype=torch.float64)
        shift = scaling.covariate_centre / scaling.covariate_spread
        columns, n_covariates = link.covariate_weights.detach() * spread, len(scaling.covariate_spread)
        slopes = columns[:n_covariates] / scaling.covariate_spread[:, None]
        if scaling.n_groups:
            parameters["group_effects"] = _group_effects(link.group_effects().detach() * spread, scaling)
            units = torch.cat([torch.ones(1).to(spread), scaling.covariate_spread])
            parameters["group_spread"] = link.priors()["group_effects"].spread / units.unsqueeze(1) * spread
        weights = link.weights.detach() * spread
        if isinstance(link, InteractionLink):
            products = link.interactions.detach() * spread
            weights = weights - torch.einsum("p,kpd->kd", shift, products)
            parameters["interactions"] = products / scaling.covariate_spread[:, None]
        parameters["weights"] = weights
        parameters["intercept"] = scaling.location(link.intercept.detach()) - scaling.covariate_centre @ slopes
        parameters["covariate_weights"] = slopes
    else:
        parameters.update({f"link.{name}": value.detach() for name, value in link.named_parameters()})
    parameters |= likelihood.parameters_in_units(scaling.target_spread)
    return {name: value.numpy().copy() for name, value in parameters.items()}


def _group_effects(effects: Tensor, scaling: Scaling) -> Tensor:
    """What is added to intercept and slopes in each group, (G, 1 + P, D), from the same for standardised covariates."""
    slopes = effects[:, 1:] / scaling.covariate_spread[:, None]
    intercepts = effects[:, 0] - torch.einsum("p,gpd->gd", scaling.covariate_centre, slopes)
    return torch.cat([intercepts.unsqueeze(1), slopes], dim=1)
