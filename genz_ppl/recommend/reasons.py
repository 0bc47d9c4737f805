"""Why an item stands where it does: the parts that its score is the sum of."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from genz_ppl.recommend.features import ItemFeatures
from genz_ppl.recommend.models import Model

CONSTANT, TEXT, UNKNOWN, CHOSEN = "of any new item", "the text of its profile", " (not answered)", "chosen: "


class Reason(NamedTuple):
    """A part of a score: what it is of, the value there, the user's weight of it, and what it adds, their product."""

    reason: str
    value: float
    weight: float
    adds: float


def parts(model: Model, features: ItemFeatures | None, user: int, item: int, items: Sequence[str]) -> list[Reason]:
    """What a score is the sum of; nothing where the model does not say.

    A filled-in score: the user's constant, and for each question its answer times the user's weight; all numbers of a vector
    are one reason. A score of EASE: the user's items, each with its weight.
    """
    if model.warm[item] or model.fill is None:
        return _history(model, user, item, items)
    if features is None:
        return []
    row = np.array([user])
    weights = model.fill.weights(model.factors, row)[0].astype(np.float64)
    constant = float(model.fill.constants(model.factors, row)[0])
    values, said, names = features.matrix[item], features.said[item], features.names
    adds = values * weights + 0.0  # no minus before a zero
    found = [Reason(CONSTANT, 1.0, constant, constant)]
    numbers = [at for at, name in enumerate(names) if not name]
    if numbers:
        found.append(Reason(TEXT, float("nan"), float("nan"), float(adds[numbers].sum())))
    for at, name in enumerate(names):
        if name:
            shown = name if said[at] else f"{name}{UNKNOWN}"
            found.append(Reason(shown, float(values[at]), float(weights[at]), float(adds[at])))
    return found


def _history(model: Model, user: int, item: int, items: Sequence[str]) -> list[Reason]:
    held = model.factors.users
    if not sparse.issparse(held):
        return []
    chosen = held.indices[held.indptr[user] : held.indptr[user + 1]]  # type: ignore[union-attr]
    weights = np.asarray(model.factors.items[item])[chosen].tolist()
    return [Reason(f"{CHOSEN}{items[at]}", 1.0, weight, weight) for at, weight in zip(chosen, weights, strict=True)]


def in_a_line(found: Sequence[Reason], most: int) -> str:
    """The reasons that add most, as "Is an action film (+0.07), Was a box-office hit (+0.02)"; "" where nothing adds."""
    shown = [one for one in found if one.adds > 0 and one.reason != CONSTANT and not one.reason.endswith(UNKNOWN)]
    return ", ".join(f"{one.reason} ({one.adds:+.2g})" for one in heapq.nlargest(most, shown, key=lambda one: one.adds))
