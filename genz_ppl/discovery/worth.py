"""What a feature must be worth: the gain that the best of many wordings reaches by chance."""

from __future__ import annotations

from functools import lru_cache

import torch

# In so many data sets the best wording without an effect may seem to be worth something beside features that are; in fewer of
# those where nothing is: there a first feature has nothing but its own gain to speak for it.
SIGNIFICANCE, FIRST_SIGNIFICANCE = 0.05, 0.01


@lru_cache(maxsize=4096)
def chance_gain(n_wordings: int, n_parameters: int, first: bool = False) -> float:
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
