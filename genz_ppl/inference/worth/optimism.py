"""By how much the noise passes for smaller than it is on the items that the questions were chosen on.

Of hundreds of wordings those are kept that fit the training items, their noise too. What is left over there is less than what
new items will show, and intervals made from it hold too few of them. So the choice is made again without a fifth of the items
(`selection`), and the fifth is predicted: what that leaves over, beside what the same
selection leaves over on the items it was made on, is the factor. (That the wordings themselves were found with the fifth in sight
makes it a little small, that a fifth fewer items choose worse a little large.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.selection import FOLDS, base_of, filled, folds_of, predicted, scale_of, selected
from genz_ppl.types import FloatArray, IntArray

# How often folds are drawn anew.
REPEATS = 3
# Of so many items fewer are looked at, drawn at random: their noise passes for a little smaller than that of all.
LARGE, DRAWN = 200_000, 50_000


@one_thread()
def optimism(state: State, data: Data, wordings: FloatArray, seed: int) -> float:
    """Scale of the noise on new items over that on the items of the fit, 1 or more.

    wordings: (T, N), answers to all that the state's K features were chosen from, NaN where there are none. A likelihood without
    a scale has nothing to widen; there, and without features, it is 1.
    """
    n_chosen, likelihood, n_items = state.posterior.shape[1], state.model.likelihood, len(data.targets)
    if n_chosen == 0 or not likelihood.has_scale or n_items < 2 * FOLDS:
        return 1.0
    if n_items >= LARGE:
        drawn = torch.from_numpy(np.sort(np.random.default_rng(seed).choice(n_items, DRAWN, replace=False)))
        some = drawn.to(data.targets.device)
        state, data, wordings = replace(state, posterior=state.posterior[some]), data.items(some), wordings[drawn.numpy()]
        n_items = DRAWN
    base, targets = base_of(state, data)
    columns, everyone = filled(wordings), np.arange(n_items)

    def left(rows: IntArray, others: IntArray) -> FloatArray:
        chosen = selected(base[rows], columns[rows], targets[rows], n_chosen)
        return targets[others] - predicted(base, columns[:, chosen], targets, rows, others)

    seen = left(everyone, everyone)
    unseen = np.empty((REPEATS, *seen.shape))
    for repeat in range(REPEATS):
        for rows, fold in folds_of(n_items, [seed, repeat]):
            unseen[repeat, fold] = left(rows, fold)
    observed = data.observed.cpu()
    return max(1.0, scale_of(likelihood, unseen, observed) / scale_of(likelihood, seen[None], observed))
