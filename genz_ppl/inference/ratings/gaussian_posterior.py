"""A Gaussian that linear observations update in closed form: Bayesian linear regression, one observation or many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.types import FloatArray


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """y ~ N(mean, precision^-1). mean: (D,). precision: (D, D), symmetric and positive definite."""

    mean: FloatArray
    precision: FloatArray

    @classmethod
    def of(cls, mean: FloatArray, covariance: FloatArray) -> GaussianPosterior:
        """From the covariance, (D, D), or the variances, (D,)."""
        return cls(mean, np.diag(1.0 / covariance) if covariance.ndim == 1 else _symmetric(np.linalg.inv(covariance)))

    @property
    def covariance(self) -> FloatArray:
        """(D, D)."""
        return _symmetric(np.linalg.inv(self.precision))

    @property
    def sd(self) -> FloatArray:
        """Standard deviations, (D,)."""
        return np.sqrt(self.covariance.diagonal())

    def update(self, design: FloatArray, values: FloatArray, noise: FloatArray | float) -> GaussianPosterior:
        """What is known of y after observing values = design y + e, e ~ N(0, R):

            precision' = precision + A' R^-1 A,    mean' = mean + precision'^-1 A' R^-1 (values - A mean).

        design A: (m, D). values: (m,). noise R: one variance, variances (m,), or a covariance (m, m). Updating by one
        observation after the other, a rank-one change of the precision each, gives the same as all at once.

        With factors of users that come from observed ratings only, a rating of user j is x_j = mu + b_j + v_j'y + e:
        design is v_j, the value x_j - mu - b_j.
        """
        noise = np.asarray(noise, dtype=np.float64)
        weighted = np.linalg.solve(noise, design) if noise.ndim == 2 else design / np.broadcast_to(noise, values.shape)[:, None]
        precision = _symmetric(self.precision + design.T @ weighted)
        shift = np.linalg.solve(precision, weighted.T @ (values - design @ self.mean))
        return GaussianPosterior(self.mean + shift, precision)


def _symmetric(matrix: NDArray[Any]) -> FloatArray:
    half: FloatArray = 0.5 * (matrix + matrix.T)
    return half
