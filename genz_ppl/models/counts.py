"""Likelihoods of counts: the link gives the logarithm of the expected count, relative to its mean over the items."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.models.known_likelihoods import add_likelihood
from genz_ppl.models.likelihoods import Likelihood, mean_of, size_of, unit_size

# Beyond a factor of exp(30) from the mean count nothing is being explained; exp must not overflow on the way.
LARGEST_LOG = 30.0
MOST_CONCENTRATED = 1e4


@add_likelihood
class PoissonLikelihood(Likelihood):
    """Counts whose variance is their mean: rate = exp(base + f). base: (D,), fixed at the log of the mean count."""

    name = "poisson"
    standardised = False
    metric = "deviance"
    base: Tensor

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.register_buffer("base", torch.zeros(n_targets, dtype=torch.float64))

    def rate(self, loc: Tensor) -> Tensor:
        """Expected count, (..., D)."""
        return torch.exp(self.base + loc.clamp(-LARGEST_LOG, LARGEST_LOG))

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.Poisson(self.rate(loc))

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """base: the log of the mean count."""
        self.base.copy_(mean_of(targets, observed).clamp(min=1e-6).log())

    def refused(self, targets: Tensor) -> Tensor:
        """Entries that are negative or no whole numbers."""
        return ~torch.isnan(targets) & ((targets < 0) | (targets != targets.round()))

    @property
    def requirement(self) -> tuple[str, str]:
        """See `Likelihood.requirement`."""
        return f"counts (0, 1, 2, ...) for the {self.name} likelihood", "correct it or choose another likelihood"

    def working(self, targets: Tensor) -> Tensor:
        """log(1 + y), centred, each column of unit size."""
        return unit_size(torch.log1p(targets))

    def unit_of_working(self, targets: Tensor) -> Tensor:
        """The standard deviation of log(1 + y)."""
        return size_of(torch.log1p(targets))


@add_likelihood
class NegativeBinomialLikelihood(PoissonLikelihood):
    """Counts that vary more than their mean m: the variance is m + m^2 / concentration. concentration: (D,)."""

    name = "negative_binomial"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.concentration = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        logits = self.base + loc.clamp(-LARGEST_LOG, LARGEST_LOG) - torch.log(self.concentration)
        return dist.NegativeBinomial(self.concentration, logits=logits)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """base as for `poisson`; concentration by moments, for all of the variance of y."""
        super().start(targets, observed)
        mean = mean_of(targets, observed)
        excess = mean_of((targets - mean) ** 2, observed) - mean
        self.concentration = torch.where(excess > 0, mean**2 / excess.clamp(min=1e-12), MOST_CONCENTRATED).clamp(
            1e-3, MOST_CONCENTRATED
        )
