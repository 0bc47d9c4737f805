"""log p(y | z, x) of every item, read off the Pyro program itself."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from genz_ppl.inference.state import Data
from genz_ppl.models import GenZ


def observation_log_density(model: GenZ, z: Tensor, error_rates: Tensor, data: Data) -> Tensor:
    """Log density of each item's targets with z clamped.

    z: (T, K) of 0 and 1; error_rates: (K,). Returns (T,); missing target entries count nothing.
    """
    program = poutine.condition(model, data={"z": z, "p_e": error_rates})
    trace = poutine.trace(program).get_trace(data.answers, data.covariates, data.targets)
    site = trace.nodes["y"]
    density: Tensor = site["fn"].log_prob(site["value"])
    return density.expand(z.shape[0])


def clamped_log_densities(model: GenZ, z: Tensor, feature: int, error_rates: Tensor, doubled: Data) -> tuple[Tensor, Tensor]:
    """Log density of each item's targets with one feature clamped to 1 and to 0, the others as in z: two (T,) tensors.

    doubled: the items of z twice over, (2T, ...), so that both clamps are one run of the program.
    """
    both = torch.cat([z, z])
    both[: len(z), feature] = 1.0
    both[len(z) :, feature] = 0.0
    density = observation_log_density(model, both, error_rates, doubled)
    return density[: len(z)], density[len(z) :]
