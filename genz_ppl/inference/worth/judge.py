"""The model that ranks wordings, removals and splits: the run's own where its steps have closed forms, else one that has them."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.start import build_model, ridge_of, start_state
from genz_ppl.inference.state import Data, State


def missed(state: State, data: Data) -> Tensor:
    """What the model leaves unexplained, (T, L), NaN where y is missing: the errors of targets as its likelihood sees them."""
    location = state.model.link(state.posterior, data.covariates)
    residual: Tensor = state.model.likelihood.residual(location, data.targets)
    if residual.shape == data.targets.shape:
        residual = torch.where(data.observed, residual, float("nan"))
    return residual


def judge_of(state: State, data: Data, steps: int) -> tuple[State, Data]:
    """The state itself where its steps have closed forms; else such a model of the same features, fitted to the same items.

    Without shortcuts always the state itself.

    It ranks wordings and removals: refitting a network for each would cost minutes, and its training noise and its appetite
    for any column would drown the differences. Counts and classes are ranked by least squares on `Likelihood.working`.
    """
    if state.model.has_closed_form or not state.model.shortcuts:
        return state, data
    link, likelihood = state.model.link, state.model.likelihood
    name, unit = "gaussian", float(likelihood.unit_of_working(data.targets).mean())
    if likelihood.sees_errors:
        name = likelihood.name
    else:
        data = data.with_targets(likelihood.working(data.targets))
    a, b = state.model.features.concentration.tolist()
    kind = link.name if link.adds_up else "linear"
    pooling = ridge_of(link, unit**2)
    sizes = data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1]
    model = build_model(*sizes, kind, name, (a, b), pooling=pooling)
    judge = start_state(model.to(data.targets.device), data)
    judge.error_rates = state.error_rates.clone()
    judge.posterior = judge.prior(data.answers)
    refit(judge, data, steps)
    return judge, data
