"""What a feature must be worth: the gain that the best of many wordings reaches by chance."""

from __future__ import annotations

import torch

# In so many data sets without any signal the best wording may seem to be worth something.
SIGNIFICANCE = 0.05


def chance_gain(n_wordings: int, n_parameters: int) -> float:
    """Nats of log likelihood that the best of so many features without any effect brings in one of twenty data sets.

    A feature with d parameters and no effect gains half a chi-square variable with d degrees of freedom; this is what any
    of n_wordings of them exceeds with probability 0.05: the x with Q(d / 2, x) = 0.05 / n_wordings, Q the regularised upper
    gamma function.
    """
    if n_wordings < 1 or n_parameters < 1:
        return 0.0
    half, share = torch.tensor(n_parameters / 2, dtype=torch.float64), SIGNIFICANCE / n_wordings
    low, high = 0.0, 10.0 * (n_parameters + 10)
    for _ in range(60):
        middle = (low + high) / 2
        exceeded = float(torch.special.gammaincc(half, torch.tensor(middle, dtype=torch.float64)))
        low, high = (middle, high) if exceeded > share else (low, middle)
    return low
