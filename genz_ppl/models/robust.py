"""Likelihoods with heavier tails than a Gaussian: a few items that nothing explains do not bend the features."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.models.gaussian import SMALLEST_VARIANCE
from genz_ppl.models.known_likelihoods import add_likelihood
from genz_ppl.models.likelihoods import ScaleMixtureLikelihood, mean_of

# The variance of a Student-t is finite above 2; above 100 it is a Gaussian for all purposes.
FEWEST_DEGREES, MOST_DEGREES = 2.05, 100.0
# Factor by which an M-step may move the degrees of freedom.
DEGREES_STEP = 1.3
# An item met exactly would take all the weight of a Laplace fit: no error counts as less than this share of the scale.
SHARPEST = 1e-3


@add_likelihood
class StudentTLikelihood(ScaleMixtureLikelihood):
    """Student-t noise; scale and degrees_of_freedom, (D,), are learned. The variance is scale^2 df / (df - 2)."""

    name = "student_t"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)
        limits = constraints.interval(FEWEST_DEGREES, MOST_DEGREES)
        self.degrees_of_freedom = PyroParam(torch.full((n_targets,), 4.0, dtype=torch.float64), limits)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.StudentT(self.degrees_of_freedom, loc, self.scale)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """The noise starts as all of y, with four degrees of freedom."""
        centre = mean_of(targets, observed)
        self.degrees_of_freedom = targets.new_full((self.n_targets,), 4.0)
        self.scale = (0.5 * mean_of((targets - centre) ** 2, observed)).clamp(min=SMALLEST_VARIANCE).sqrt()

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """One step of EM for the scale, then the best of three values near the present degrees of freedom."""
        variance = mean_of(squared_error * self.precision(squared_error).detach(), observed) * self.scale.detach() ** 2
        self.scale = variance.clamp(min=SMALLEST_VARIANCE).sqrt()
        present = self.degrees_of_freedom.detach()
        tried = torch.stack([present, present / DEGREES_STEP, present * DEGREES_STEP])
        tried = tried.clamp(FEWEST_DEGREES + 1e-6, MOST_DEGREES - 1e-6)
        scale = self.scale.detach()
        fits = torch.stack([mean_of(_log_density(squared_error, scale, degrees), observed) for degrees in tried])
        self.degrees_of_freedom = tried.gather(0, fits.argmax(0, keepdim=True))[0]
        return True

    def error_log_density(self, squared_error: Tensor) -> Tensor:
        """See `ScaleMixtureLikelihood.error_log_density`."""
        return _log_density(squared_error, self.scale, self.degrees_of_freedom)

    def precision(self, squared_error: Tensor) -> Tensor:
        """(df + 1) / (df scale^2 + e), (T, D)."""
        degrees = self.degrees_of_freedom
        precision: Tensor = (degrees + 1) / (degrees * self.scale**2 + squared_error)
        return precision


def _log_density(squared_error: Tensor, scale: Tensor, degrees: Tensor) -> Tensor:
    constant = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2) - 0.5 * torch.log(math.pi * degrees * scale**2)
    return constant - 0.5 * (degrees + 1) * torch.log1p(squared_error / (degrees * scale**2))


@add_likelihood
class LaplaceLikelihood(ScaleMixtureLikelihood):
    """Double exponential noise: absolute errors count. scale: (D,), the mean absolute error."""

    name = "laplace"
    metric = "mean_absolute_error"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.Laplace(loc, self.scale)

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """The mean of sqrt(e), less a trifle for errors below SHARPEST (see `error_log_density`)."""
        mean = mean_of(squared_error.sqrt(), observed).clamp(min=SMALLEST_VARIANCE**0.5)
        self.scale = mean_of(squared_error / _distance(squared_error, mean), observed).clamp(min=SMALLEST_VARIANCE**0.5)
        return True

    def error_log_density(self, squared_error: Tensor) -> Tensor:
        """See `ScaleMixtureLikelihood.error_log_density`; for errors below SHARPEST the touching Gaussian itself."""
        distance = _distance(squared_error, self.scale)
        density: Tensor = -torch.log(2 * self.scale) - 0.5 * (distance + squared_error / distance) / self.scale
        return density

    def precision(self, squared_error: Tensor) -> Tensor:
        """1 / (scale sqrt(e)), (T, D)."""
        precision: Tensor = 1 / (self.scale * _distance(squared_error, self.scale))
        return precision


def _distance(squared_error: Tensor, scale: Tensor) -> Tensor:
    return squared_error.sqrt().maximum(SHARPEST * scale)
