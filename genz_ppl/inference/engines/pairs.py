"""M-steps at a list of items and assignments of their features, each with its probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from genz_ppl.inference.engines.descent import raised
from genz_ppl.inference.state import Data
from genz_ppl.models import GenZ

# Where (item, assignment) pairs are listed one by one, those of smaller probability are left out.
SMALLEST = 1e-9


@dataclass(frozen=True)
class Pairs:
    """items: (N,), ascending; z: (N, K), of 0 and 1; weights: (N,), probabilities, of an item's pairs 1 together. n_items: T."""

    items: Tensor
    z: Tensor
    weights: Tensor
    n_items: int

    @classmethod
    def joined(cls, parts: Sequence[Pairs], n_items: int) -> Pairs:
        """Those of several blocks of items."""
        items, z, weights = (torch.cat([getattr(part, name) for part in parts]) for name in ("items", "z", "weights"))
        return cls(items, z, weights, n_items)

    @cached_property
    def _counts(self) -> Tensor:
        return torch.bincount(self.items, minlength=self.n_items)

    def of(self, chosen: Tensor) -> Pairs:
        """Those of some items, in their order."""
        counts, starts = self._counts[chosen], (self._counts.cumsum(0) - self._counts)[chosen]
        places = torch.arange(int(counts.sum())) + (starts - (counts.cumsum(0) - counts)).repeat_interleave(counts)
        return Pairs(chosen.repeat_interleave(counts), self.z[places], self.weights[places], len(chosen))


@torch.no_grad()
def update_at_pairs(model: GenZ, data: Data, pairs: Pairs) -> None:
    """The likelihood's closed-form M-step, if it has one, from the errors of all pairs, each weighted by its probability."""
    likelihood, items = model.likelihood, pairs.items
    model.eval()
    value = model.link(pairs.z, data.covariates[items])
    if not likelihood.sees_errors:
        value = likelihood.expected(value)
    error = torch.nan_to_num(likelihood.comparable(data.targets)[items] - value)
    likelihood.update(error**2, data.observed[items] * pairs.weights.unsqueeze(1))


def train_at_pairs(model: GenZ, data: Data, pairs: Pairs, share: float) -> None:
    """Gradient M-step on the mean over target entries of the expectation of -log p(y | z, x), less the link's log prior.

    See `raised`; in batches of items with all of their assignments.
    """

    def loss_of(chosen: Tensor) -> Callable[[], Tensor]:
        some = pairs.of(chosen)
        covariates, targets = data.covariates[some.items], data.targets[some.items]
        weights = some.weights / (len(chosen) * data.targets.shape[1])

        def loss() -> Tensor:
            expected = (model.log_density(some.z, covariates, targets) * weights).sum()
            return -expected - model.link.penalty() / data.targets.numel()

        return loss

    raised(model, pairs.n_items, loss_of, share)
