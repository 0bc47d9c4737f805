"""Predictions for very many items, whose targets are as narrow as their file: part by part, in float32, so as to copy neither."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.prediction import log_predictive_density, predictive_mean
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.types import Numbers

# Items that are predicted together.
PART = 1 << 16
# Items whose densities are looked at.
MOST_DRAWN = 200_000


def predicted(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, seed: int) -> NDArray[np.float32]:
    """`predictive_mean`, (T, D)."""
    if not state.model.has_closed_form:  # items of which the same is known share their draws
        return predictive_mean(state, scaling, answers, covariates, seed).astype(np.float32)
    found = np.empty((len(answers), state.model.likelihood.n_locations), dtype=np.float32)
    for rows in blocks_of(len(answers), PART):
        found[rows] = predictive_mean(state, scaling, answers[rows], covariates[rows], seed)
    return found


def mean_density(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, targets: Numbers, seed: int) -> float:
    """The mean of `log_predictive_density` over every n-th item, `MOST_DRAWN` at the most: each takes draws of its features."""
    every = slice(None, None, -(-len(answers) // MOST_DRAWN))
    some = torch.from_numpy(targets[every].astype(np.float64))
    return float(log_predictive_density(state, scaling, answers[every], covariates[every], some, seed).mean())
