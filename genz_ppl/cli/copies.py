"""Readable columns that give a target away: a table often holds what is to be explained a second time."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genz_ppl.data import Items
    from genz_ppl.types import FloatArray

SUSPICIOUS = 0.999
_FEWEST = 10


def likely_copies(items: Items) -> list[tuple[str, str]]:
    """(readable column, target) for every pair in a line (|Pearson| > 0.999) or in one order (|Spearman| = 1)."""
    import pandas as pd

    if items.targets is None:
        return []
    found = []
    for column in items.schema.readable:
        values = [item.fields.get(column) for item in items]
        if any(isinstance(value, str | bool | date) for value in values):
            continue
        numbers = np.array([float(value) if isinstance(value, int | float) else np.nan for value in values])
        for name, target in zip(items.target_names, items.targets.T, strict=True):
            there = np.isfinite(numbers) & np.isfinite(target)
            if there.sum() < _FEWEST:
                continue
            pair = pd.DataFrame({"column": numbers[there], "target": target[there]})
            if _correlation(pair.to_numpy()) > SUSPICIOUS or _correlation(pair.rank().to_numpy()) > 1 - 1e-12:
                found.append((column, name))
    return found


def _correlation(pair: FloatArray) -> float:
    """The size of Pearson's correlation of two columns, (n, 2); 0 where one does not vary."""
    scale = np.abs(pair).max(axis=0)
    centred = pair / np.where(scale > 0, scale, 1.0)
    centred = centred - centred.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0)).prod()
    return float(abs((centred[:, 0] * centred[:, 1]).sum()) / size) if size > 0 else 0.0
