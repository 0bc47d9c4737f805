"""A likelihood of your own: errors with a long tail to one side.

python examples/own_likelihood.py
"""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.inference import fit
from genz_ppl.models import Likelihood, add_likelihood


@add_likelihood
class GumbelLikelihood(Likelihood):
    """Delays: never much too early, sometimes much too late."""

    name = "gumbel"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        return dist.Gumbel(loc, self.scale)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        self.scale = 0.78 * targets.std(0)


random = np.random.default_rng(0)
answers = (random.random((300, 3)) < 0.5).astype(float)
delays = answers @ np.array([3.0, 2.0, -1.0]) + random.gumbel(scale=0.5, size=300)
result = fit(answers, delays, likelihood="gumbel")
print("weights", result.parameters["weights"][:, 0].round(2))
print("an interval for an item with none of the features:", end=" ")
interval = result.predict_interval(np.zeros((1, 3)))
print(f"{interval.lower[0, 0]:.2f} to {interval.upper[0, 0]:.2f}")
