"""What a likelihood p(y | f) is. Adding one: subclass `Likelihood`, decorate with `add_likelihood`."""

from __future__ import annotations

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.errors import InputError
from genz_ppl.settings import CLASS_LIKELIHOODS

# Parameters that are in the units of the targets.
SCALES = {"scale", "factor"}


class Likelihood(PyroModule):  # type: ignore[misc]
    """A Pyro distribution around the link's value.

    n_targets: D. A subclass defines `forward` and `start`; the rest has defaults that fit real-valued targets. Tensors are
    float64; targets are (T, D), with missing entries marked by `observed`, (T, D) bool, or by NaN where that is said.
    """

    name: ClassVar[str]
    #: Whether targets are brought to mean 0 and standard deviation 1 before fitting; counts and classes stay as they are.
    standardised: ClassVar[bool] = True
    #: Whether all target columns share one scale, so that they must be standardised by one common number.
    shared_scale: ClassVar[bool] = False
    #: Error shown on the learning curve; None: see `genz_ppl.diagnostics.measures.error_metric`.
    metric: ClassVar[str | None] = None
    #: Whether predictions are probabilities, one column for each class of each target.
    is_of_classes: ClassVar[bool] = False
    #: Whether p(y | f) depends on y only by its squared distance to f.
    sees_errors: ClassVar[bool] = False

    def __init__(self, n_targets: int) -> None:
        super().__init__()
        self.n_targets = n_targets

    @classmethod
    def sized(cls, n_targets: int, n_classes: int) -> Likelihood:
        """A likelihood for D targets; n_classes matters to likelihoods of classes only."""
        return cls(n_targets)

    @property
    def ranked_by(self) -> str:
        """The likelihood by which a model that is refitted for every wording ranks them: of numbers one that has closed forms.

        To squared errors a few questions explain all of a count or an indicator of a class, and gains come to thousands of nats.
        """
        return self.name if self.sees_errors or not self.standardised else "gaussian"

    @property
    def n_locations(self) -> int:
        """L, how many values the link gives for an item: D, unless a target needs several."""
        return self.n_targets

    @property
    def n_free(self) -> int:
        """How many of those values p(y | f) can tell apart."""
        return self.n_locations

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., L), the link's value. Returns a distribution with batch shape (..., D)."""
        raise TypeError(f"{type(self).__name__} must define forward(loc) -> Distribution")

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """Set starting values from the targets."""
        raise TypeError(f"{type(self).__name__} must define start(targets, observed)")

    @property
    def unit(self) -> str:
        """What f is in: "sd" of several numbers, "" for the unit of one; "log-odds" of classes; else "log rate"."""
        if self.standardised:
            return "sd" if self.n_locations > 1 else ""
        return "log-odds" if self.name in CLASS_LIKELIHOODS else "log rate"

    def refused(self, targets: Tensor) -> Tensor:
        """Which entries of targets, (T, D) with NaN where missing, p(y | f) is not defined for; (T, D) bool."""
        return torch.zeros_like(targets, dtype=torch.bool)

    @property
    def requirement(self) -> tuple[str, str]:
        """What targets must be, and what to do about others: the words of the error for an entry that is refused."""
        return "numbers", "correct it or choose another likelihood"

    def check(self, targets: Tensor) -> None:
        """Raise InputError unless p(y | f) is defined for all targets, (T, D), NaN where missing."""
        wrong = self.refused(targets)
        if bool(wrong.any()):
            row, column = (int(part[0]) for part in torch.nonzero(wrong, as_tuple=True))
            expected, remedy = self.requirement
            value = float(targets[row, column])
            raise InputError(f"targets: expected {expected}, got {value:g} at row {row}, column {column}; {remedy}")

    def update(self, squared_error: Tensor, observed: Tensor) -> bool:
        """Closed-form M-step from expected squared errors, (T, D); False where there is none (gradient steps then).

        observed: (T, D), bool, or the weight of each entry.
        """
        return False

    def distribution(self, loc: Tensor, observed: Tensor | None = None) -> dist.Distribution:
        """p(y | f) of an item's targets as one event: batch shape (...), event shape (D,).

        observed: (..., D) bool or None for all; targets that are not observed are integrated out.
        """
        distribution = self(loc)
        return (distribution if observed is None else distribution.mask(observed)).to_event(1)

    def expected(self, loc: Tensor) -> Tensor:
        """What predictions report, (..., D): the mean of y (the mode where there is no mean, as with a Cauchy distribution).

        Class probabilities, (..., L), where y is a class.
        """
        distribution = self(loc)
        mean: Tensor = distribution.mean
        none = torch.isnan(mean)
        return torch.where(none, distribution.mode, mean) if bool(none.any()) else mean

    def comparable(self, targets: Tensor) -> Tensor:
        """Targets, NaN where missing, in the form of `expected`."""
        return targets

    def working(self, targets: Tensor) -> Tensor:
        """Targets, NaN where missing, as real numbers of a common size that least squares can explain, (T, L)."""
        return targets

    def unit_of_working(self, targets: Tensor) -> Tensor:
        """How much the link's value changes, roughly, where `working` changes by one, (L,)."""
        return torch.ones(self.n_locations).to(targets)

    def residual(self, loc: Tensor, targets: Tensor) -> Tensor:
        """In which direction, and how badly, the link's value misses, (T, L): d log p(y | f) / df, brought to unit size.

        targets: (T, D), NaN where missing; the residual is 0 there.
        """
        observed = ~torch.isnan(targets)
        with torch.enable_grad():
            moving = loc.detach().clone().requires_grad_(True)
            density = self.distribution(moving, observed).log_prob(torch.nan_to_num(targets)).sum()
            (score,) = torch.autograd.grad(density, moving)
        size = (score**2).mean(0).sqrt()
        residual: Tensor = score / torch.where(size > 0, size, torch.ones_like(size))
        return residual

    def parameters_in_units(self, spread: Tensor) -> dict[str, Tensor]:
        """Buffers and parameters by name, (D,) each as a rule, for targets that were divided by `spread`, (D,), before fitting.

        A `scale`, and a `factor` of scales, are in the units of the targets; others have none.
        """
        values = {name: buffer.flatten().clone() for name, buffer in self.named_buffers()}
        values |= {name: getattr(self, name).detach() for name in self._pyro_params}
        for name in values.keys() & SCALES:
            values[name] = values[name] * spread.view(-1, *[1] * (values[name].dim() - 1))
        return values

    @property
    def has_scale(self) -> bool:
        """Whether the noise has a size of its own, in the units of the targets."""
        return self.standardised and "scale" in self._pyro_params

    def widen(self, times: float) -> None:
        """Make the noise so many times larger; without a scale nothing changes."""
        if self.has_scale:
            for name in self._pyro_params.keys() & SCALES:
                setattr(self, name, getattr(self, name).detach() * times)


class ScaleMixtureLikelihood(Likelihood):
    """A likelihood that sees y only by its squared distance e to f, through a convex and falling function of e.

    These are Gaussians of random precision. At any e a Gaussian of precision -2 d log p / de touches log p from below, so
    that with a link linear in z the E-step and the M-step for the weights have closed forms.
    """

    sees_errors = True
    #: Whether the precision depends on e; if not, the likelihood is a Gaussian.
    robust: ClassVar[bool] = True

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """The noise starts as all of y."""
        self.update((targets - mean_of(targets, observed)) ** 2, observed)

    def error_log_density(self, squared_error: Tensor) -> Tensor:
        """log p as a function of e, (T, D)."""
        raise TypeError(f"{type(self).__name__} must define error_log_density(squared_error)")

    def precision(self, squared_error: Tensor) -> Tensor:
        """Precision of the touching Gaussian at e; (T, D), or (D,) where it is the same for all items."""
        raise TypeError(f"{type(self).__name__} must define precision(squared_error)")

    def lost_by_growth(self, growth: Tensor, count: Tensor) -> Tensor:
        """Loss of log p, (K,), by growth of the squared errors over twice the noise, (K, D), after what the noise does about it.

        count: (D,), entries of each target. Here the noise stays.
        """
        return growth.sum(1)


def mean_of(values: Tensor, observed: Tensor) -> Tensor:
    """Mean of every column over its observed entries, (D,); observed: (T, D), bool or weights."""
    weights = observed.to(values)
    total = (torch.where(weights > 0, values, torch.zeros_like(values)) * weights).sum(0)
    return total / weights.sum(0).clamp(min=1e-300)


def unit_size(values: Tensor) -> Tensor:
    """Every column, NaN where missing, centred and brought to standard deviation 1; a constant one becomes 0."""
    return (values - mean_of(torch.nan_to_num(values), ~torch.isnan(values))) / size_of(values)


def size_of(values: Tensor) -> Tensor:
    """Standard deviation of every column, NaN where missing; 1 of a constant one."""
    observed = ~torch.isnan(values)
    centred = values - mean_of(torch.nan_to_num(values), observed)
    size = mean_of(torch.nan_to_num(centred) ** 2, observed).sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))
