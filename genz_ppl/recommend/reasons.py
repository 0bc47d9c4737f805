"""Why an item stands where it does: the parts that its score is the sum of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from genz_ppl.recommend.features import ItemFeatures
from genz_ppl.recommend.models import Model

CONSTANT, TEXT, UNKNOWN, CHOSEN = "of any new item", "the text of its profile", " (not answered)", "chosen: "


def parts(model: Model, features: ItemFeatures | None, user: int, item: int, items: Sequence[str]) -> pd.DataFrame:
    """reason, value, weight, adds: what a score is the sum of (the columns `adds`); empty where the model does not say.

    A filled-in score: the user's constant, and for each question its answer times the user's weight; all numbers of a vector
    are one reason. A score of EASE: the user's items, each with its weight.
    """
    if model.warm[item] or model.fill is None:
        return _history(model, user, item, items)
    if features is None:
        return _table([])
    row = np.array([user])
    weights = model.fill.weights(model.factors, row)[0].astype(np.float64)
    values, said = features.matrix[item], features.said[item]
    found: list[tuple[str, float, float, float]] = [
        (CONSTANT, 1.0, constant := float(model.fill.constants(model.factors, row)[0]), constant)
    ]
    named = np.array([bool(name) for name in features.names])
    if not named.all():
        adds = float(values[~named] @ weights[~named])
        found.append((TEXT, float("nan"), float("nan"), adds))
    for at in np.flatnonzero(named):
        name = features.names[at] if said[at] else f"{features.names[at]}{UNKNOWN}"
        found.append((name, float(values[at]), float(weights[at]), float(values[at] * weights[at])))
    return _table(found)


def _history(model: Model, user: int, item: int, items: Sequence[str]) -> pd.DataFrame:
    held = model.factors.users
    if not sparse.issparse(held):
        return _table([])
    chosen = held.indices[held.indptr[user] : held.indptr[user + 1]]  # type: ignore[union-attr]
    weights = model.factors.items[item][chosen].astype(np.float64)
    return _table([(f"{CHOSEN}{items[at]}", 1.0, float(w), float(w)) for at, w in zip(chosen, weights, strict=True)])


def _table(rows: list[tuple[str, float, float, float]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["reason", "value", "weight", "adds"])
    return found.astype({"reason": "str", "value": "float64", "weight": "float64", "adds": "float64"})


def in_a_line(table: pd.DataFrame, most: int) -> str:
    """The reasons that add most, as "Is an action film (+0.07), Was a box-office hit (+0.02)"; "" where nothing adds."""
    shown = table[(table["adds"] > 0) & (table["reason"] != CONSTANT) & ~table["reason"].str.endswith(UNKNOWN)]
    best = shown.sort_values("adds", ascending=False, kind="stable").head(most)
    return ", ".join(f"{reason} ({adds:+.2g})" for reason, adds in zip(best["reason"], best["adds"], strict=True))
