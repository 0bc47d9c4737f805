"""Questions mined for a recommender: items with what it knows of them as targets, for `genz fit`, from training pairs alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genz_ppl.errors import InputError
from genz_ppl.recommend.factors import least_squares_factors
from genz_ppl.recommend.interactions import Interactions
from genz_ppl.recommend.splits import Split

PREFIX = "taste_"


def mining_table(
    items: pd.DataFrame, id: str, known: Interactions, split: Split, dimensions: int = 32, seed: int = 0
) -> pd.DataFrame:
    """The rows of `items` that a training pair names, with their factors as columns taste_1 … taste_D.

    items: one row an item, with the column `id`. The factors are those of alternating least squares on split.train, turned to
    their principal axes and scaled so that their mean square is 1: items that the same users choose have similar ones.
    Raises InputError where an item of the pairs has no row, or columns of these names are there.
    """
    if id not in items.columns:
        raise InputError(f"there is no column {id!r} of ids; its columns are {', '.join(map(str, items.columns))[:200]}")
    if any(str(name).startswith(PREFIX) for name in items.columns):
        raise InputError(f"a column begins with {PREFIX}, as targets will; rename it")
    factors = least_squares_factors(split.train, dimensions, seed)
    where = {name: at for at, name in enumerate(known.items)}
    places = np.array([where.get(str(name), -1) for name in items[id]])
    chosen = (places >= 0) & ~split.cold[places]
    if not chosen.any():
        raise InputError(f"no item of the training pairs is in the column {id!r} of the items; give the items of the pairs")
    held = factors.items[places[chosen]].astype(np.float64)
    axes = np.linalg.svd(held - held.mean(axis=0), full_matrices=False)[2]
    turned = (held - held.mean(axis=0)) @ axes.T
    turned /= np.sqrt((turned**2).mean())
    names = [f"{PREFIX}{number}" for number in range(1, turned.shape[1] + 1)]
    return pd.concat([items[chosen].reset_index(drop=True), pd.DataFrame(turned, columns=names)], axis=1)
