"""Likelihoods p(y | f). A new likelihood is one class with `forward` and `start`, and one line in `LIKELIHOODS`."""

from __future__ import annotations

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

# Relative to the variance of a standardised target: a perfect fit must not divide by zero.
SMALLEST_VARIANCE = 1e-10


class Likelihood(PyroModule):  # type: ignore[misc]
    """A Pyro distribution around the link's value.

    n_targets: D. Targets come standardised and with missing entries marked by `observed`, (T, D) bool.
    """

    name: ClassVar[str]
    #: Whether all target columns share one scale, so that they must be standardised by one common number.
    shared_scale: ClassVar[bool] = False

    def __init__(self, n_targets: int) -> None:
        super().__init__()
        self.n_targets = n_targets

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D), the link's value. Returns a distribution with batch shape (..., D)."""
        raise TypeError(f"{type(self).__name__} must define forward(loc) -> Distribution")

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """Set starting values from the targets, (T, D)."""
        raise TypeError(f"{type(self).__name__} must define start(targets, observed)")

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Closed-form M-step from expected squared errors, (T, D); False where there is none (gradient steps then)."""
        return False


class GaussianLikelihood(Likelihood):
    """Normal noise with one standard deviation a target (eq. 8). scale: (D,)."""

    name = "gaussian"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.Normal(loc, self.scale)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """The noise starts as all of the variance of y."""
        centre = _mean(targets, observed)
        self.update((targets - centre) ** 2, observed)

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Eq. 13: the mean squared error of every target."""
        self.scale = _mean(squared_error, observed).clamp(min=SMALLEST_VARIANCE).sqrt()
        return True


class IsotropicLikelihood(GaussianLikelihood):
    """Normal noise with one standard deviation for all targets (eq. 17). scale: (D,), all equal."""

    name = "isotropic"
    shared_scale = True

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Eq. 30: the mean squared error over items and targets."""
        total = torch.where(observed, squared_error, torch.zeros_like(squared_error)).sum()
        variance = (total / observed.sum().clamp(min=1)).clamp(min=SMALLEST_VARIANCE)
        self.scale = variance.sqrt().expand(self.n_targets).clone()
        return True


def _mean(values: Tensor, observed: Tensor) -> Tensor:
    total = torch.where(observed, values, torch.zeros_like(values)).sum(0)
    return total / observed.sum(0).clamp(min=1)


LIKELIHOODS: dict[str, type[Likelihood]] = {"gaussian": GaussianLikelihood, "isotropic": IsotropicLikelihood}
