"""A joint normal distribution of answers and targets, fitted to items of which some answers are missing.

Which answers a search has asked for depends on the targets: it asks at the two ends of a split. Least squares of targets on
answers, with means put in for what is missing, is wrong then, and gets worse the more such wordings it is given. The
likelihood of all that is known, targets among it, is right whatever the choice depended on, as long as that is known itself:
missing answers are filled in from the answers and the targets that are there, and what stays uncertain about them is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.types import FloatArray

# Steps of EM, and the smallest variance of a column, relative to one.
STEPS, SMALLEST = 15, 1e-6


@dataclass(frozen=True)
class JointNormal:
    """mean: (V,); covariance: (V, V)."""

    mean: FloatArray
    covariance: FloatArray

    def regression(self, n_known: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The last columns given the first n_known: weights (n_known, V - n_known), intercept, and their covariance."""
        first, last = slice(0, n_known), slice(n_known, None)
        weights = np.asarray(np.linalg.solve(self.covariance[first, first], self.covariance[first, last]), dtype=np.float64)
        rest = self.covariance[last, last] - self.covariance[last, first] @ weights
        return weights, self.mean[last] - self.mean[first] @ weights, rest

    def filled(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(T, V) with expectations in place of NaN, and the sum over items of what is uncertain about them, (V, V)."""
        found, doubt = values.copy(), np.zeros_like(self.covariance)
        for rows, missing in _alike(np.isnan(values)):
            if not missing.any():
                continue
            there = ~missing
            between = self.covariance[np.ix_(there, missing)]
            weights = np.linalg.solve(self.covariance[np.ix_(there, there)], between)
            found[np.ix_(rows, missing)] = self.mean[missing] + (values[np.ix_(rows, there)] - self.mean[there]) @ weights
            own = self.covariance[np.ix_(missing, missing)] - between.T @ weights
            doubt[np.ix_(missing, missing)] += len(rows) * own
        return found, doubt


def fit_joint_normal(values: FloatArray, strength: float) -> JointNormal:
    """The most probable one by EM. values: (T, V), NaN where missing, each column known of two items at least.

    strength: of the prior, in items: columns that vary as these do and have nothing to do with one another.
    """
    variance = np.maximum(np.nanvar(values, axis=0), SMALLEST)
    joint = JointNormal(np.nanmean(values, axis=0), np.diag(variance))
    for _ in range(STEPS):
        found, doubt = joint.filled(values)
        mean = found.mean(axis=0)
        squares = (found - mean).T @ (found - mean) + doubt + strength * np.diag(variance)
        joint = JointNormal(mean, squares / (len(values) + strength))
    return joint


def _alike(missing: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """The rows that lack the same columns, and which these are."""
    patterns, which = np.unique(missing, axis=0, return_inverse=True)
    return [(np.flatnonzero(which.ravel() == number), pattern) for number, pattern in enumerate(patterns)]
