"""Parameters of a fitted model in the units of the user's targets and covariates."""

from __future__ import annotations

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.types import FloatArray


def user_parameters(state: State, scaling: Scaling) -> dict[str, FloatArray]:
    """See `FitResult.parameters`."""
    link, likelihood = state.model.link, state.model.likelihood
    units = (scaling.spread_of(likelihood.n_locations), scaling.covariate_centre, scaling.covariate_spread)
    with isolated(0):
        parameters = link.parameters_in_units(scaling.location, *units) | likelihood.parameters_in_units(scaling.target_spread)
        return {name: value.numpy().copy() for name, value in parameters.items()}
