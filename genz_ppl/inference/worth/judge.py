"""The model that ranks wordings, removals and splits: the run's own where its steps have closed forms, else one that has them."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.choose import steps_of
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.start import build_model, ridge_of, start_state
from genz_ppl.inference.state import Data, State


def missed(state: State, data: Data, features: Tensor | None = None) -> Tensor:
    """What the model leaves unexplained, (T, L), NaN where y is missing: the errors of targets as its likelihood sees them.

    features: in place of the posterior, which the targets have moved, (T, K).
    """
    location = state.model.link(state.posterior if features is None else features, data.covariates)
    residual: Tensor = state.model.likelihood.residual(location, data.targets)
    if residual.shape == data.targets.shape:
        residual = torch.where(data.observed, residual, float("nan"))
    return residual


def judge_of(state: State, data: Data, steps: int) -> tuple[State, Data]:
    """The state itself, or a model of the same features with the link and likelihood by which its own are ranked.

    Without shortcuts always the state itself.

    It ranks wordings and removals: refitting a network for each would cost minutes, and its training noise and its appetite
    for any column would drown the differences. Least squares explain numbers as in `Likelihood.working`.
    """
    link, likelihood = state.model.link, state.model.likelihood
    kind, name = link.ranked_by, likelihood.ranked_by
    if not state.model.shortcuts or (kind, name) == (link.name, likelihood.name):
        return state, data
    unit = float(likelihood.unit_of_working(data.targets).mean())
    if name != likelihood.name:
        data = data.with_targets(likelihood.working(data.targets))
    a, b = state.model.features.concentration.tolist()
    pooling = ridge_of(link, unit**2)
    sizes = data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1]
    n_classes, apart = likelihood.n_locations // likelihood.n_targets, state.model.features.asymmetric
    model = build_model(*sizes, kind, name, (a, b), n_classes=n_classes, pooling=pooling, asymmetric=apart)
    judge = start_state(model.to(data.targets.device), data)
    judge.error_rates = state.error_rates.clone()
    judge.posterior = judge.prior(data.answers)
    refit(judge, data, steps_of(judge.model, steps))
    return judge, data
