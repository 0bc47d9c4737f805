"""Questions mined for a recommender: items with what users make of them as targets, for `genz fit`, from training pairs alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genz_ppl.data.values import label
from genz_ppl.errors import InputError
from genz_ppl.recommend.interactions import Interactions, read_interactions
from genz_ppl.recommend.linear import ease_factors
from genz_ppl.recommend.settings import RecommendSettings
from genz_ppl.recommend.splits import Split, split_of

PREFIX = "taste_"
MOST_USERS = 8192
RIDGE, BALANCE = RecommendSettings.ridge, RecommendSettings.balance


def mining_table(
    items: pd.DataFrame, id: str, known: Interactions, split: Split, dimensions: int = 32, seed: int = 0
) -> pd.DataFrame:
    """The rows of `items` that a training pair names, with what users make of them as columns taste_1 … taste_D.

    items: one row an item, with the column `id`. An item's taste is the scores that users have for it by EASE on split.train,
    each user's scaled to mean 0 and variance 1 over the items, on the D principal axes, the largest first, all on one scale:
    what explains them explains the lists (fit them with an isotropic likelihood, which keeps the axes' sizes).
    Raises InputError where no item of the pairs has a row, or columns of these names are there.
    """
    if id not in items.columns:
        raise InputError(f"there is no column {id!r} of ids; its columns are {', '.join(map(str, items.columns))[:200]}")
    if any(str(name).startswith(PREFIX) for name in items.columns):
        raise InputError(f"a column begins with {PREFIX}, as targets will; rename it")
    where = {name: at for at, name in enumerate(known.items)}
    places = np.array([where.get(label(name) or "", -1) for name in items[id]])
    chosen = (places >= 0) & ~split.cold[places]
    if not chosen.any():
        raise InputError(f"no item of the training pairs is in the column {id!r} of the items; give the items of the pairs")
    factors = ease_factors(split.train, RIDGE, BALANCE)
    users = np.sort(np.random.RandomState(seed).permutation(split.train.shape[0])[:MOST_USERS])
    scores = factors(users)[:, places[chosen]].astype(np.float64)
    spread = scores.std(axis=1, keepdims=True)
    scaled = (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    values, axes = np.linalg.eigh((scaled.T @ scaled) / len(users))
    largest = np.argsort(values)[::-1][: min(dimensions, len(values) - 1)]
    tastes = axes[:, largest] * np.sqrt(np.maximum(values[largest], 0))
    tastes *= np.sign(tastes[np.abs(tastes).argmax(axis=0), np.arange(len(largest))])
    tastes /= np.sqrt((tastes**2).mean())
    names = [f"{PREFIX}{number}" for number in range(1, len(largest) + 1)]
    found: pd.DataFrame = pd.concat([items[chosen].reset_index(drop=True), pd.DataFrame(tastes, columns=names)], axis=1)
    return found


def split_pairs(pairs: str, at_least: float | None, core: int, kind: str, seed: int) -> tuple[pd.DataFrame, Interactions, Split]:
    """The liked pairs as a table of user, item and split ("train" or "test"), with what it was made of."""
    known = read_interactions(pairs, at_least, core)
    split = split_of(known, kind, seed)
    tables = []
    for side, matrix in (("train", split.train), ("test", split.test)):
        rows, columns = matrix.nonzero()
        users, items = np.array(known.users, dtype=object)[rows], np.array(known.items, dtype=object)[columns]
        tables.append(pd.DataFrame({"user": users, "item": items, "split": side}, dtype="str"))
    return pd.concat(tables, ignore_index=True), known, split
