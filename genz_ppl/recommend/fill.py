"""Scores of items that nobody has chosen: a ridge regression of what a backbone knows of the others on their features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.recommend.factors import Factors, Matrix
from genz_ppl.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Fill:
    """base: (r,) and slopes: (D, r), both float32, such that an item's factors are base + features @ slopes.

    A user's score of it is a sum: the user's constant, users @ base, and for each feature its value times users @ its slope.
    """

    base: Matrix
    slopes: Matrix

    @classmethod
    def of(cls, factors: Factors, features: FloatArray, ridge: float) -> Fill:
        """The regression over the items that have scores. ridge: λ of |items - base - features W|² + λ |W|², features centred.

        Since scores are linear in the items' factors, regressing each user's scores on the features gives the same.
        """
        warm = factors.scored
        items, rows = factors.items[warm].astype(np.float64), features[warm]
        centre, means = rows.mean(axis=0), items.mean(axis=0)
        away = rows - centre
        if len(away) < away.shape[1]:
            dual = away @ away.T
            dual[np.diag_indices(len(dual))] += ridge
            slopes = away.T @ np.linalg.solve(dual, items - means)
        else:
            gram = away.T @ away
            gram[np.diag_indices(len(gram))] += ridge
            slopes = np.linalg.solve(gram, away.T @ (items - means))
        return cls((means - centre @ slopes).astype(np.float32), slopes.astype(np.float32))

    def items(self, features: FloatArray) -> Matrix:
        """(N, r) factors of items by their features, (N, D)."""
        found: Matrix = self.base + features.astype(np.float32) @ self.slopes
        return found

    def filled(self, factors: Factors, features: FloatArray) -> Factors:
        """The factors with those of all items that had no score."""
        cold = ~factors.scored
        return factors.with_items(cold, self.items(features[cold])) if cold.any() else factors

    def constants(self, factors: Factors, rows: IntArray) -> NDArray[np.float32]:
        """(n,) what each user's score of an item is without its features."""
        found: NDArray[np.float32] = np.asarray(factors.users[rows] @ self.base, dtype=np.float32)
        return found

    def weights(self, factors: Factors, rows: IntArray) -> Matrix:
        """(n, D) what a user's score gains by one of each feature."""
        found: Matrix = np.asarray(factors.users[rows] @ self.slopes.T, dtype=np.float32)
        return found
