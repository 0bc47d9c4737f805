"""Draws for a report: new targets for its training items, and the parameters of the model, but no log likelihoods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import DRAWS, FittedItems, PosteriorDraws, with_uncertainty
from genz_ppl.inference.prediction import predictive_draws
from genz_ppl.inference.uncertainty import drawn_models
from genz_ppl.inference.user_units import user_parameters

# Numbers drawn for new targets: 160 MB.
MOST_DRAWN = 20_000_000
DRAWS_OF_TARGETS = 400


def report_draws(fitted: FittedItems) -> PosteriorDraws:
    """Draws of replicated targets of `shown_items(fitted)` and of the parameters; the other members are empty.

    `posterior_draws` integrates features out of every item's log likelihood, which a report does not show and which takes most
    of the time: a minute for 1 500 items with 49 targets.
    """
    state, seed = fitted.state, fitted.seed
    if state.uncertainty is None:
        state = with_uncertainty(state, fitted.data, seed)
    some = shown_items(fitted)
    with torch.no_grad(), isolated(seed):
        replicated = predictive_draws(state, some.scaling, some.answers, some.covariates, seed)
        models = drawn_models(state.model, state.uncertainty, DRAWS, seed + 1)
        drawn = [user_parameters(replace(state, model=model), fitted.scaling) for model in models]
    parameters = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
    none = np.zeros((0, 0))
    return PosteriorDraws(state, seed, np.zeros((0, 0, 0), dtype=np.uint8), none, parameters, replicated, none)


def shown_items(fitted: FittedItems) -> FittedItems:
    """Every n-th of the items, so that the draws of their targets fit into memory."""
    size = len(fitted.item_ids)
    step = -(-size * fitted.state.model.likelihood.n_locations * DRAWS_OF_TARGETS // MOST_DRAWN)
    if step <= 1:
        return fitted
    rows = np.arange(0, size, step)
    return replace(
        fitted,
        state=replace(fitted.state, posterior=fitted.state.posterior[rows]),
        answers=fitted.answers[rows],
        covariates=fitted.covariates[rows],
        targets=fitted.targets[rows],
        item_ids=tuple(fitted.item_ids[row] for row in rows.tolist()),
    )
