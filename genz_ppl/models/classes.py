"""Likelihoods of classes: the link gives log-odds, relative to the shares of the classes among the items."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from genz_ppl.models.known_likelihoods import add_likelihood
from genz_ppl.models.likelihoods import Likelihood, mean_of, size_of, unit_size

# A class without a single item keeps a finite log-odds.
SMALLEST_SHARE = 1e-4


@add_likelihood
class BernoulliLikelihood(Likelihood):
    """Two classes, 0 and 1: P(y = 1) = sigmoid(base + f). base: (D,), fixed at the log-odds of the share of ones."""

    name = "bernoulli"
    standardised = False
    metric = "log_loss"
    base: Tensor

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.register_buffer("base", torch.zeros(n_targets, dtype=torch.float64))

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D)."""
        return dist.Bernoulli(logits=self.base + loc)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """base: the log-odds of the share of ones."""
        self.base.copy_(torch.logit(mean_of(targets, observed).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)))

    def refused(self, targets: Tensor) -> Tensor:
        """Entries that are neither 0 nor 1."""
        return ~torch.isnan(targets) & (targets != 0) & (targets != 1)

    @property
    def requirement(self) -> tuple[str, str]:
        """See `Likelihood.requirement`."""
        return "0 or 1 for the bernoulli likelihood", "correct it or use categorical for more classes"

    def working(self, targets: Tensor) -> Tensor:
        """The ones and zeros, centred, each column of unit size."""
        return unit_size(targets)

    def unit_of_working(self, targets: Tensor) -> Tensor:
        """With the share p of ones: their standard deviation, the root of p (1 - p), over p (1 - p), the slope of the share."""
        return 1 / size_of(targets)


@add_likelihood
class CategoricalLikelihood(Likelihood):
    """C classes, 0 to C - 1: P(y = c) is the softmax of base + f. The link gives C values a target, L = D C.

    base: (D, C), fixed at the log of the classes' shares. All targets have the same C.
    """

    name = "categorical"
    is_of_classes = True
    standardised = False
    metric = "cross_entropy"
    base: Tensor

    def __init__(self, n_targets: int, n_classes: int = 2) -> None:
        super().__init__(n_targets)
        self.n_classes = max(2, n_classes)
        self.register_buffer("base", torch.zeros(n_targets, self.n_classes, dtype=torch.float64))

    @classmethod
    def sized(cls, n_targets: int, n_classes: int) -> CategoricalLikelihood:
        """See `Likelihood.sized`."""
        return cls(n_targets, n_classes)

    @property
    def n_locations(self) -> int:
        """L = D C."""
        return self.n_targets * self.n_classes

    @property
    def n_free(self) -> int:
        """D (C - 1): what all classes have in common changes nothing."""
        return self.n_targets * (self.n_classes - 1)

    def forward(self, loc: Tensor) -> dist.Distribution:
        """loc: (..., D C), the classes of a target side by side."""
        return dist.Categorical(logits=self.base + loc.reshape(*loc.shape[:-1], self.n_targets, self.n_classes))

    def start(self, targets: Tensor, observed: Tensor) -> None:
        """base: the log of the shares of the classes."""
        shares = torch.stack([mean_of((targets == c).to(targets), observed) for c in range(self.n_classes)], dim=1)
        self.base.copy_(shares.clamp(min=SMALLEST_SHARE).log())

    def refused(self, targets: Tensor) -> Tensor:
        """Entries that are none of the classes 0 to C - 1."""
        known = (targets >= 0) & (targets < self.n_classes) & (targets == targets.round())
        return ~torch.isnan(targets) & ~known

    @property
    def requirement(self) -> tuple[str, str]:
        """See `Likelihood.requirement`."""
        expected = f"classes 0 to {self.n_classes - 1} for the categorical likelihood"
        return expected, "number the classes from 0, as they were in the fit"

    def expected(self, loc: Tensor) -> Tensor:
        """Class probabilities, (..., D C)."""
        probabilities: Tensor = self(loc).probs
        return probabilities.flatten(-2)

    def comparable(self, targets: Tensor) -> Tensor:
        """1 for the class an item has, 0 for the others, (T, D C); NaN where missing."""
        targets = targets.to(self.base)  # draws are whole numbers
        classes = torch.arange(self.n_classes, dtype=targets.dtype, device=targets.device)
        one_hot = (targets.unsqueeze(-1) == classes).to(targets)
        return torch.where(torch.isnan(targets).unsqueeze(-1), targets.unsqueeze(-1), one_hot).flatten(-2)

    def working(self, targets: Tensor) -> Tensor:
        """`comparable`, centred, each column of unit size."""
        return unit_size(self.comparable(targets))

    def unit_of_working(self, targets: Tensor) -> Tensor:
        """As with two classes, for each of them."""
        return 1 / size_of(self.comparable(targets))
