"""Likelihoods that a user might write: a class, and a mixture that no closed form knows."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.models import Likelihood


def contaminated(loc: Tensor, scale: float | Tensor = 0.5) -> dist.Distribution:
    """One value in ten has five times the noise."""
    shares = dist.Categorical(torch.tensor([0.9, 0.1], dtype=torch.float64)).expand(loc.shape)
    return dist.MixtureSameFamily(shares, dist.Normal(loc.unsqueeze(-1), torch.stack([scale, 5 * scale], -1)))  # type: ignore[list-item]


class Gumbel(Likelihood):
    """Never much too early, sometimes much too late."""

    name = "gumbel"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        return dist.Gumbel(loc, self.scale)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        self.scale = torch.full_like(self.scale, 0.8)

    def parameters_in_units(self, spread: Tensor) -> dict[str, Tensor]:
        return {"scale": self.scale.detach() * spread}
