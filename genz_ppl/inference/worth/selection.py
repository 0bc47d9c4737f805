"""The choice of questions made again on some of the items, by forward selection among all wordings that have answers.

What is measured on items that the questions were chosen on is too good. So the choice is made again without a fold, and the fold
is predicted: that tells how noisy new items are (`optimism`) and which link predicts them best (`link_scores`).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from genz_ppl.inference.state import Data, State
from genz_ppl.models import Likelihood
from genz_ppl.types import FloatArray, IntArray

# Parts in which items are left out, and the wordings among which a selection is made: the best of them alone, on its items.
FOLDS, MOST_WORDINGS = 5, 200
# A column of which the ones before leave less than this share explains nothing of its own.
NEARLY_NOTHING = 1e-6


def base_of(state: State, data: Data) -> tuple[FloatArray, FloatArray]:
    """Columns that every selection starts with, (T, 1 + P), and targets, (T, D), 0 where missing.

    Effects of groups are the model's own, which knows how uncertain they are; the rest is fitted anew.
    """
    model, x = state.model, data.covariates
    targets = data.targets
    with torch.no_grad():
        if model.link.pooling is not None:
            targets, x = targets - model.link(torch.zeros_like(state.posterior), x), x[:, :0]
        columns = torch.cat([torch.ones(len(x), 1).to(x), x], dim=1)
    return columns.cpu().numpy(), torch.nan_to_num(targets).cpu().numpy()


def filled(wordings: FloatArray) -> FloatArray:
    """Answers, (T, N), the mean of its column where one is missing."""
    counts = np.maximum((~np.isnan(wordings)).sum(axis=0), 1)
    return np.where(np.isnan(wordings), np.nansum(wordings, axis=0) / counts, wordings)


def folds_of(n_items: int, seed: list[int]) -> list[tuple[IntArray, IntArray]]:
    """The positions of the items of every selection, and those of its fold."""
    folds = np.random.default_rng(seed).permutation(n_items) % FOLDS
    return [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(FOLDS)]


def predicted(base: FloatArray, columns: FloatArray, targets: FloatArray, rows: IntArray, others: IntArray) -> FloatArray:
    """Predictions for the others, (U, D), by least squares on the rows."""
    design = np.concatenate([base, columns], axis=1)
    weights = np.linalg.lstsq(design[rows], targets[rows], rcond=None)[0]
    found: FloatArray = design[others] @ weights
    return found


def selected(base: FloatArray, columns: FloatArray, targets: FloatArray, n_chosen: int) -> list[int]:
    """Columns in the order in which each takes most off what the ones before leave over."""
    directions = np.linalg.qr(base)[0]
    left = targets - directions @ (directions.T @ targets)
    columns = columns - directions @ (directions.T @ columns)
    least = NEARLY_NOTHING * len(columns)
    order = np.argsort(-_explained(columns, left, least), kind="stable")[:MOST_WORDINGS]
    columns, chosen = columns[:, order], []
    for _ in range(min(n_chosen, len(order))):
        best = int(np.argmax(_explained(columns, left, least)))
        direction = columns[:, best] / max(float(np.linalg.norm(columns[:, best])), least)
        left = left - np.outer(direction, direction @ left)
        columns = columns - np.outer(direction, direction @ columns)
        chosen.append(int(order[best]))
    return chosen


def _explained(columns: FloatArray, left: FloatArray, least: float) -> FloatArray:
    """Squares that each column alone takes off, (N,)."""
    size = (columns**2).sum(axis=0)
    taken: FloatArray = np.where(size > least, ((columns.T @ left) ** 2).sum(axis=1) / np.maximum(size, least), 0.0)
    return taken


def scale_of(likelihood: Likelihood, errors: FloatArray, observed: Tensor) -> float:
    """The factor of the likelihood's scale at which these errors, (R, T, D), are most probable; observed: (T, D)."""
    n_there = int(observed.expand(errors.shape).sum())

    def surprise(logarithm: float) -> float:
        return float(n_there * logarithm - densities(likelihood, errors / np.exp(logarithm), observed).sum())

    return float(np.exp(minimize_scalar(surprise, bounds=(-5.0, 5.0), method="bounded").x))


@torch.no_grad()
def densities(likelihood: Likelihood, errors: FloatArray, observed: Tensor) -> FloatArray:
    """Log densities of items by their errors, (R, T), from those, (R, T, D); observed: (T, D)."""
    values, there = torch.from_numpy(errors), observed.expand(errors.shape)
    own = likelihood.to(values.device)
    found: FloatArray = own.distribution(torch.zeros_like(values), there).log_prob(values).numpy()
    return found
