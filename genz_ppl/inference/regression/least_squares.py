"""Least squares with each item's share in the error of every coefficient, from which all intervals here are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.types import FloatArray

# An item can hardly be all that tells a coefficient: its residual counts at most so many times.
MOST_LEVERAGE = 1 - 1e-6
# Of the largest singular value; directions below are none.
SMALLEST_DIRECTION = 1e-9


@dataclass(frozen=True)
class LeastSquares:
    """coefficients: (p,). influence, shares: (n, p), how far each item moves them, and the same with its residual as it is when
    the item is left out (HC3; MacKinnon & White 1985), whose squares sum to the variance. told: (p,), which of the coefficients
    the items tell from the others. freedom: (p,), degrees of freedom of these variances (Satterthwaite, as in Bell & McCaffrey
    2002): what four items tell of a rare question is known no better than from four, however many others there are.
    """

    coefficients: FloatArray
    influence: FloatArray
    shares: FloatArray
    told: NDArray[np.bool_]
    freedom: FloatArray


def least_squares(design: FloatArray, target: FloatArray, weights: FloatArray | None = None) -> LeastSquares:
    """Coefficients of `target`, (n,), on `design`, (n, p), items weighted by `weights`, (n,), none: alike.

    Where columns say the same, the smallest coefficients that fit are taken, and `told` is False for them.
    """
    root = np.ones(len(target)) if weights is None else np.sqrt(weights)
    size = np.linalg.norm(design * root[:, None], axis=0)
    size = np.where(size > 0, size, 1.0)
    left, values, right = np.linalg.svd(design * (root[:, None] / size), full_matrices=False)
    strong = values > SMALLEST_DIRECTION * values.max(initial=0.0)
    left, right = left[:, strong], right[strong]
    back = right.T / values[strong] / size[:, None]  # (p, directions): from a projection on left to coefficients
    coefficients = back @ (left.T @ (root * target))
    residual = root * (target - design @ coefficients)
    leverage = np.minimum((left**2).sum(axis=1), MOST_LEVERAGE)
    pull = left @ back.T
    influence = pull * residual[:, None]
    known = (pull * root[:, None]) ** 2 / (1 - leverage)[:, None]
    worth = known.sum(axis=0) ** 2 / np.maximum((known**2).sum(axis=0), np.finfo(float).tiny)
    freedom = np.clip(worth - 1, 1.0, max(1.0, len(target) - float(strong.sum())))
    told = np.isclose((right**2).sum(axis=0), 1.0, atol=1e-6)
    return LeastSquares(coefficients, influence, influence / (1 - leverage)[:, None], told, freedom)
