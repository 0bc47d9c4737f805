"""What a feature must be worth: the gain that the best of many wordings reaches by chance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from genz_ppl.types import FloatArray

# In so many data sets the best wording without an effect may seem to be worth something beside features that are; in fewer of
# those where nothing is: there a first feature has nothing but its own gain to speak for it.
SIGNIFICANCE, FIRST_SIGNIFICANCE = 0.05, 0.01
# Points of the path along which a tail is integrated, and the nats by which the integrand has fallen at its end.
POINTS, FALL = 100, 40.0


@lru_cache(maxsize=4096)
def chance_gain(n_wordings: float, n_parameters: int, first: bool = False) -> float:
    """Nats of log likelihood that the best of so many features without any effect brings in one of twenty data sets.

    A feature with d parameters and no effect gains half a chi-square variable with d degrees of freedom; this is what any
    of n_wordings of them exceeds with probability s: the x with Q(d / 2, x) = s / n_wordings, Q the regularised upper
    gamma function. s is 0.05, or 0.01 for the first feature of a model.
    """
    if n_wordings < 1 or n_parameters < 1:
        return 0.0
    level = FIRST_SIGNIFICANCE if first else SIGNIFICANCE
    half, share = torch.tensor(n_parameters / 2, dtype=torch.float64), level / n_wordings
    low, high = 0.0, 10.0 * (n_parameters + 10)
    for _ in range(60):
        middle = (low + high) / 2
        exceeded = float(torch.special.gammaincc(half, torch.tensor(middle, dtype=torch.float64)))
        low, high = (middle, high) if exceeded > share else (low, middle)
    return low


def shrunk_chance_gain(n_wordings: float, freedoms: Sequence[float], first: bool = False) -> float:
    """`chance_gain` of a feature some of whose parameters have a prior, (n,) freedoms in [0, 1].

    With A the information on the parameters (squares and products of their columns over the noise, the rest of the model
    taken out) and R the precision of their prior, the bound with its penalty rises by g' (A + R)^-1 g / 2, where g is
    normal with covariance A if there is no effect. That is half of a sum of chi-squares of one degree of freedom, each
    times an eigenvalue of (A + R)^-1 A: 1 where there is no prior, a / (a + r) where there is one. These are the freedoms;
    their sum is the effective number of parameters. A product that ten items decide gains by chance hardly anything.
    """
    return _shrunk_gain(n_wordings, tuple(freedom for freedom in freedoms if freedom > 0), first)


@lru_cache(maxsize=4096)
def _shrunk_gain(n_wordings: float, freedoms: tuple[float, ...], first: bool) -> float:
    weights = np.asarray(freedoms, dtype=np.float64)
    if n_wordings < 1 or len(weights) == 0:
        return 0.0
    share = (FIRST_SIGNIFICANCE if first else SIGNIFICANCE) / n_wordings
    # The point c below 1 / max(weights) stands for the gain K'(c), which grows with it; K is the cumulant function.
    low, high = 0.0, 1 / float(weights.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(weights, middle) > share else (low, middle)
    return _gain_at(weights, low)


def _gain_at(weights: FloatArray, point: float) -> float:
    """K'(c), with K(t) = -1/2 sum of log(1 - weight t) the cumulant function of half the weighted sum."""
    return 0.5 * float((weights / (1 - weights * point)).sum())


def _tail(weights: FloatArray, point: float) -> float:
    """Probability that half the weighted sum of chi-squares exceeds K'(c).

    The integral of exp(K(t) - t K'(c)) / t over 2 pi i, along a parabola through c that opens to the right around all
    singularities of K, where the integrand falls like a Gaussian.
    """
    gain, distance = _gain_at(weights, point), 1 / float(weights.max()) - point
    end = (4 * FALL / (distance * gain)) ** 0.5
    steps = np.linspace(0.0, end, POINTS)
    path = point + distance * (1j * steps + steps**2 / 4)
    cumulant = -0.5 * np.log(1 - np.outer(path, weights)).sum(axis=1)
    values = (np.exp(cumulant - path * gain) / path * distance * (1 - 0.5j * steps)).real
    return float((values.sum() - 0.5 * values[0]) * (end / (POINTS - 1)) / np.pi)
