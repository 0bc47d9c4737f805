"""How much better distributions of counts describe a column than a Gaussian does."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from genz_ppl.types import FloatArray

# Concentrations between which the best one is sought.
LEAST, MOST = 1e-3, 1e4


def density_gains(values: FloatArray) -> FloatArray:
    """Nats by which the likeliest Poisson and negative binomial distributions are above the likeliest Gaussian, (2,).

    values: (T,), counts of which not all are equal. The Gaussian has a density, which of whole numbers is their probability.
    """
    n_items, mean, variance = len(values), values.mean(), values.var()
    gaussian = -0.5 * n_items * (np.log(2 * np.pi * variance) + 1)
    poisson = float((values * np.log(mean) - mean - gammaln(values + 1)).sum())

    def lost(log_concentration: float) -> float:
        size = np.exp(log_concentration)
        terms = gammaln(values + size) - gammaln(size) - gammaln(values + 1)
        terms = terms + size * np.log(size / (size + mean)) + values * np.log(mean / (size + mean))
        return -float(terms.sum())

    found = minimize_scalar(lost, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    gains: FloatArray = np.array([poisson, -float(found.fun)]) - gaussian
    return gains
