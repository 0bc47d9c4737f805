"""The model that ranks wordings, removals and splits: the run's own where its steps have closed forms, else one that has them."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.start import build_model, ridge_of, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GenZ


def missed(state: State, data: Data) -> Tensor:
    """What the model leaves unexplained, (T, L), NaN where y is missing: the errors of targets as its likelihood sees them."""
    location = state.model.link(state.posterior, data.covariates)
    residual: Tensor = state.model.likelihood.residual(location, data.targets)
    if residual.shape == data.targets.shape:
        residual = torch.where(data.observed, residual, float("nan"))
    return residual


# Of the steps of a refit so many parts are left out where an M-step is a descent, and where it is the training of a network.
DESCENT, TRAINING = 3, 5


def steps_of(model: GenZ, wanted: int) -> int:
    """E- and M-steps of a refit: fewer where an M-step is training."""
    return wanted if model.has_closed_form else max(1, wanted // (DESCENT if model.link.adds_up else TRAINING))


def judge_of(state: State, data: Data, steps: int) -> tuple[State, Data]:
    """The state itself where it can be refitted without training; else a model of the same features with a linear link.

    Without shortcuts always the state itself.

    It ranks wordings and removals: refitting a network for each would cost minutes, and its training noise and its appetite
    for any column would drown the differences. Numbers without closed forms are ranked by least squares on
    `Likelihood.working`; counts and classes, where a network is the link, too, are not: to squared errors a few questions
    explain all of an indicator, and gains come to thousands of nats.
    """
    link, likelihood = state.model.link, state.model.likelihood
    if state.model.has_closed_form or not state.model.shortcuts or (link.adds_up and not likelihood.standardised):
        return state, data
    name, unit = "gaussian", float(likelihood.unit_of_working(data.targets).mean())
    if likelihood.sees_errors or not likelihood.standardised:
        name = likelihood.name
    else:
        data = data.with_targets(likelihood.working(data.targets))
    a, b = state.model.features.concentration.tolist()
    kind = link.name if link.adds_up else "linear"
    pooling = ridge_of(link, unit**2)
    sizes = data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1]
    n_classes, apart = likelihood.n_locations // likelihood.n_targets, state.model.features.asymmetric
    model = build_model(*sizes, kind, name, (a, b), n_classes=n_classes, pooling=pooling, asymmetric=apart)
    judge = start_state(model.to(data.targets.device), data)
    judge.error_rates = state.error_rates.clone()
    judge.posterior = judge.prior(data.answers)
    refit(judge, data, steps_of(judge.model, steps))
    return judge, data
