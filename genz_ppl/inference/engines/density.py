"""log p(y | z, x) of every item: read off the Pyro program itself, and at many draws of z."""

from __future__ import annotations

import math

import torch
from pyro import poutine
from torch import Tensor

from genz_ppl.inference.state import Data
from genz_ppl.models import GaussianLikelihood, GenZ, LinearLink
from genz_ppl.models.annotators import AnnotatedGenZ

# Rows of one run of the program: what a link makes of them, some hundred numbers each, stays within 50 MB.
LARGEST_RUN = 50_000


def observation_log_density(model: GenZ, z: Tensor, error_rates: Tensor, data: Data) -> Tensor:
    """Log density of each item's targets with z clamped.

    z: (T, K) of 0 and 1; error_rates: (K,). Returns (T,); missing target entries count nothing.
    """
    asked = AnnotatedGenZ(model) if data.answers.dim() == 3 else model
    program = poutine.condition(asked, data={"z": z, "p_e": error_rates})
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


def flipped_log_densities(model: GenZ, z: Tensor, error_rates: Tensor, data: Data) -> tuple[Tensor, Tensor]:
    """Log density of each item's targets at z, (T,), and with each of its features flipped in turn, (K, T).

    Both clamps of every feature at once, in runs of the program over at most LARGEST_RUN rows (or one item).
    """
    n_features = z.shape[1]
    flips = torch.cat([torch.zeros_like(z[:1]), torch.eye(n_features).to(z)]).unsqueeze(1)
    densities = []
    for start in range(0, len(z), max(1, LARGEST_RUN // (n_features + 1))):
        items = slice(start, start + max(1, LARGEST_RUN // (n_features + 1)))
        rows = (z[items] - flips).abs_().flatten(0, 1)
        part = data.items(items).repeated(n_features + 1)
        densities.append(observation_log_density(model, rows, error_rates, part).view(n_features + 1, -1))
    together = torch.cat(densities, dim=1)
    return together[0], together[1:]


def drawn_log_densities(model: GenZ, z: Tensor, data: Data) -> Tensor:
    """Log density of each item's targets at draws of its z, (n, B, K): (n, B)."""
    link, likelihood = model.link, model.likelihood
    if not (type(link) is LinearLink and type(likelihood) is GaussianLikelihood and data.complete):
        return model.log_density(z, data.covariates, data.targets)
    # Written out, because runs evaluate it often: what is as large as the draws by D is made once and changed in place.
    still = (data.targets - data.covariates @ link.covariate_weights - link.intercept) / likelihood.scale
    weights = link.weights / likelihood.scale
    constant = torch.log(likelihood.scale).sum() + 0.5 * math.log(2 * math.pi) * still.shape[1]
    if len(weights) < still.shape[1]:  # |y - zW|^2 = y'y - z (2 Wy - WW'z): nothing has a column for every target
        square = (z @ (weights @ weights.T)).sub_(2 * still @ weights.T).mul_(z).sum(-1).add_(still.square().sum(-1))
    else:
        square = (z @ weights).sub_(still).square_().sum(-1)
    density: Tensor = square.mul_(-0.5).sub_(constant)
    return density
