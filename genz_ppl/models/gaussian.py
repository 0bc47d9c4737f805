"""Likelihoods with normal noise: one scale a target, one for all, or correlated targets."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.models.known_likelihoods import add_likelihood
from genz_ppl.models.likelihoods import Likelihood, ScaleMixtureLikelihood, mean_of

# Relative to the variance of a standardised target: a perfect fit must not divide by zero.
SMALLEST_VARIANCE = 1e-10
LARGEST_RANK = 5


@add_likelihood
class GaussianLikelihood(ScaleMixtureLikelihood):
    """Normal noise with one standard deviation a target (eq. 8). scale: (D,)."""

    name = "gaussian"
    robust = False

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.Normal(loc, self.scale)

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Eq. 13: the mean squared error of every target."""
        self.scale = mean_of(squared_error, observed).clamp(min=SMALLEST_VARIANCE).sqrt()
        return True

    def error_log_density(self, squared_error: Tensor) -> Tensor:
        """See `ScaleMixtureLikelihood.error_log_density`."""
        variance = self.scale**2
        density: Tensor = -0.5 * (squared_error / variance + torch.log(2 * math.pi * variance))
        return density

    def precision(self, squared_error: Tensor) -> Tensor:
        """1 / scale^2, (D,)."""
        precision: Tensor = self.scale**-2
        return precision

    def lost_by_growth(self, growth: Tensor, count: Tensor) -> Tensor:
        """See `ScaleMixtureLikelihood.lost_by_growth`: with a new scale for every target."""
        return (0.5 * count * torch.log1p(2 * growth / count.clamp(min=1))).sum(1)

    def residual(self, loc: Tensor, targets: Tensor) -> Tensor:
        """(y - f) / scale, 0 where y is missing."""
        return torch.nan_to_num((targets - loc) / self.scale).detach()


@add_likelihood
class IsotropicLikelihood(GaussianLikelihood):
    """Normal noise with one standard deviation for all targets (eq. 17). scale: (D,), all equal."""

    name = "isotropic"
    shared_scale = True

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        # The mean keeps the entries equal under gradient steps, where each would drift by itself.
        return dist.Normal(loc, self.scale.mean().expand(self.n_targets))

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Eq. 30: the mean squared error over items and targets."""
        variance = mean_of(squared_error.reshape(-1, 1), observed.reshape(-1, 1)).clamp(min=SMALLEST_VARIANCE)
        self.scale = variance.sqrt().expand(self.n_targets).clone()
        return True

    def lost_by_growth(self, growth: Tensor, count: Tensor) -> Tensor:
        """See `ScaleMixtureLikelihood.lost_by_growth`: with one new scale."""
        return super().lost_by_growth(growth.sum(1, keepdim=True), count.sum().unsqueeze(0))


@add_likelihood
class LowRankGaussianLikelihood(Likelihood):
    """Normal noise with covariance diag(scale^2) + factor factor', so that the noise of targets is correlated.

    scale: (D,); factor: (D, R), with R = min(5, half of D rounded up). Missing targets are integrated out exactly.
    """

    name = "low_rank_gaussian"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        rank = min(LARGEST_RANK, (n_targets + 1) // 2)
        self.scale = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)
        self.factor = PyroParam(torch.zeros(n_targets, rank, dtype=torch.float64))

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D). Returns a distribution with batch shape (...) and event shape (D,)."""
        return dist.LowRankMultivariateNormal(loc, self.factor, self.scale**2)

    def distribution(self, loc: Tensor, observed: Tensor | None = None) -> dist.Distribution:
        """See `Likelihood.distribution`."""
        return self(loc) if observed is None else ObservedPart(self(loc), observed)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """Half of the leading principal components of y go to the factor, the rest to the scales."""
        centred = torch.where(observed, targets - mean_of(targets, observed), torch.zeros_like(targets))
        centred = centred / observed.sum(0).clamp(min=1).to(centred).sqrt()
        covariance = centred.T @ centred
        values, vectors = torch.linalg.eigh(covariance)
        rank = self.factor.shape[1]
        self.factor = vectors[:, -rank:] * (0.5 * values[-rank:].clamp(min=SMALLEST_VARIANCE)).sqrt()
        rest = covariance.diagonal() - (self.factor.detach() ** 2).sum(1)
        self.scale = rest.clamp(min=SMALLEST_VARIANCE).sqrt()

    def residual(self, loc: Tensor, targets: Tensor) -> Tensor:
        """(y - f) over the total standard deviation of each target, 0 where y is missing."""
        spread = (self.scale**2 + (self.factor**2).sum(1)).sqrt()
        return torch.nan_to_num((targets - loc) / spread).detach()


class ObservedPart(dist.TorchDistribution):  # type: ignore[misc]
    """A low-rank Gaussian of which each item shows only some entries: `log_prob` is that of the entries that are there.

    observed: bool, broadcast against the batch shape and D. Samples have all entries.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, whole: dist.LowRankMultivariateNormal, observed: Tensor) -> None:
        self.whole, self.observed = whole, observed
        super().__init__(whole.batch_shape, whole.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> ObservedPart:
        """See `torch.distributions.Distribution.expand`."""
        return ObservedPart(self.whole.expand(batch_shape), self.observed)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """See `torch.distributions.Distribution.rsample`."""
        drawn: Tensor = self.whole.rsample(sample_shape)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """By the matrix determinant lemma, with precision 0 for entries that are missing."""
        factor, variance = self.whole._unbroadcasted_cov_factor, self.whole._unbroadcasted_cov_diag
        there = self.observed.to(variance)
        precision = there / variance
        scaled = factor * precision.unsqueeze(-1)
        capacitance = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device) + factor.mT @ scaled
        lower = torch.linalg.cholesky(capacitance)
        error = (value - self.whole.loc) * there
        inner = torch.linalg.solve_triangular(lower, (scaled.mT @ error.unsqueeze(-1)), upper=False).squeeze(-1)
        quadratic = (precision * error**2).sum(-1) - (inner**2).sum(-1)
        log_det = (there * torch.log(2 * math.pi * variance)).sum(-1)
        log_det = log_det + 2 * torch.log(torch.diagonal(lower, dim1=-2, dim2=-1)).sum(-1)
        density: Tensor = -0.5 * (quadratic + log_det)
        return density
