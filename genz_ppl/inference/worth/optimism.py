"""By how much the noise passes for smaller than it is on the items that the questions were chosen on.

Of hundreds of wordings those are kept that fit the training items, their noise too. What is left over there is less than what
new items will show, and intervals made from it hold too few of them. So the choice is made again without a fifth of the items, by
forward selection among all wordings that have answers, and the fifth is predicted: what that leaves over, beside what the same
selection leaves over on the items it was made on, is the factor. (That the wordings themselves were found with the fifth in sight
makes it a little small, that a fifth fewer items choose worse a little large.)
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State
from genz_ppl.models import Likelihood
from genz_ppl.types import FloatArray, IntArray

# Parts in which items are left out, how often they are drawn anew, and the wordings among which a selection is made: the best of
# them alone, on its items.
FOLDS, REPEATS, MOST_WORDINGS = 5, 3, 200
# A column of which the ones before leave less than this share explains nothing of its own.
NEARLY_NOTHING = 1e-6


@one_thread()
def optimism(state: State, data: Data, wordings: FloatArray, seed: int) -> float:
    """Scale of the noise on new items over that on the items of the fit, 1 or more.

    wordings: (T, N), answers to all that the state's K features were chosen from, NaN where there are none. A likelihood without
    a scale has nothing to widen; there, and without features, it is 1.
    """
    n_chosen, likelihood = state.posterior.shape[1], state.model.likelihood
    if n_chosen == 0 or not likelihood.has_scale or len(data.targets) < 2 * FOLDS:
        return 1.0
    base, targets = _base(state, data)
    columns = _filled(wordings)
    seen = targets - _predicted(base, columns, targets, np.arange(len(targets)), np.arange(len(targets)), n_chosen)
    unseen = np.empty((REPEATS, *seen.shape))
    for repeat, fold in product(range(REPEATS), range(FOLDS)):
        folds = np.random.default_rng([seed, repeat]).permutation(len(targets)) % FOLDS
        rows, left = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        unseen[repeat, left] = targets[left] - _predicted(base, columns, targets, rows, left, n_chosen)
    observed = data.observed.cpu()
    return max(1.0, _scale(likelihood, unseen, observed) / _scale(likelihood, seen[None], observed))


def _base(state: State, data: Data) -> tuple[FloatArray, FloatArray]:
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


def _filled(wordings: FloatArray) -> FloatArray:
    counts = np.maximum((~np.isnan(wordings)).sum(axis=0), 1)
    return np.where(np.isnan(wordings), np.nansum(wordings, axis=0) / counts, wordings)


def _predicted(
    base: FloatArray, columns: FloatArray, targets: FloatArray, rows: IntArray, others: IntArray, n_chosen: int
) -> FloatArray:
    """Predictions for the others, (U, D), from forward selection of so many columns by least squares on the rows."""
    chosen = _selected(base[rows], columns[rows], targets[rows], n_chosen)
    design = np.concatenate([base, columns[:, chosen]], axis=1)
    weights = np.linalg.lstsq(design[rows], targets[rows], rcond=None)[0]
    predicted: FloatArray = design[others] @ weights
    return predicted


def _selected(base: FloatArray, columns: FloatArray, targets: FloatArray, n_chosen: int) -> list[int]:
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


def _scale(likelihood: Likelihood, errors: FloatArray, observed: Tensor) -> float:
    """The factor of the likelihood's scale at which these errors, (R, T, D), are most probable; observed: (T, D)."""
    values, there = torch.from_numpy(errors), observed.expand(errors.shape)
    nothing, n_there = torch.zeros_like(values), int(there.sum())
    own = likelihood.to(values.device)

    def surprise(logarithm: float) -> float:
        density = own.distribution(nothing, there).log_prob(values / np.exp(logarithm))
        return float(n_there * logarithm - density.sum())

    with torch.no_grad():
        return float(np.exp(minimize_scalar(surprise, bounds=(-5.0, 5.0), method="bounded").x))
