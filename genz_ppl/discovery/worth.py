"""What a feature must be worth: the gain that the best of many wordings reaches by chance."""

from __future__ import annotations

from functools import lru_cache

import torch

# Of the features kept, this share may seem to be worth something and not be; a data set without any signal shows a first one
# less often: nothing else speaks for there being anything to find.
SIGNIFICANCE, FIRST_SIGNIFICANCE = 0.05, 0.01


@lru_cache(maxsize=4096)
def chance_gain(n_wordings: int, n_parameters: int, n_features: int = 1) -> float:
    """Nats of log likelihood that the n-th feature must gain, so that few of the features kept have no effect.

    A feature with d parameters and no effect gains half a chi-square variable with d degrees of freedom; this is the x with
    Q(d / 2, x) = s / n_wordings, Q the regularised upper gamma function: any of n_wordings exceeds it with a probability of
    at most s. For the first feature s is 0.01. For the n-th it is 0.05 n (Benjamini and Hochberg's rule): an expected share of
    0.05 of n features is without effect. (For n = 1 that alone would find a feature in one data set of twenty without any.)
    """
    if n_wordings < 1 or n_parameters < 1:
        return 0.0
    level = FIRST_SIGNIFICANCE if n_features <= 1 else SIGNIFICANCE * n_features
    half, share = torch.tensor(n_parameters / 2, dtype=torch.float64), level / n_wordings
    low, high = 0.0, 10.0 * (n_parameters + 10)
    for _ in range(60):
        middle = (low + high) / 2
        exceeded = float(torch.special.gammaincc(half, torch.tensor(middle, dtype=torch.float64)))
        low, high = (middle, high) if exceeded > share else (low, middle)
    return low
