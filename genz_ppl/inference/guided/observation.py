"""log p(y | z, x) of a model as a fixed function of z: what an exact conditional of one feature given the others is read off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.func import functional_call

from genz_ppl.models import GenZ, Likelihood
from genz_ppl.models.genz import log_density_at


@torch.no_grad()
def held_observation(model: GenZ, given: dict[str, Tensor], z: Tensor, covariates: Tensor, targets: Tensor) -> Tensor:
    """Log density of each item's targets, missing ones left out, without gradient and without dropout.

    given: parameters to use in place of the model's own, by the names of `Observation`. z: (..., T, K). Returns (..., T).
    """
    with poutine.block(), without_dropout(model):
        density: Tensor = functional_call(Observation(model), given, (z, covariates, targets))
    return density


class Observation(nn.Module):
    """log p(y | z, x) of a model as a module of its own, for `functional_call`. likelihood: to take instead of the model's."""

    def __init__(self, model: GenZ, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        self.model = model
        self._given = (likelihood,)  # in a tuple: its parameters are held

    def forward(self, z: Tensor, covariates: Tensor, targets: Tensor) -> Tensor:
        """z: (..., T, K). Returns (..., T)."""
        likelihood = self._given[0] or self.model.likelihood
        return log_density_at(likelihood, self.model.link(z, covariates), targets).expand(z.shape[:-1])


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Evaluate the model as a fixed function: q(z_k | z_-k) must be one distribution, however often it is asked for."""
    training = [part for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
