"""Embeddings of items that come with some pairs: what the features say as a prior, updated by the pairs (warm start)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.spread import derivatives
from genz_ppl.models.cooccurrence import CoOccurrence

# Newton steps, at most, and halvings of one: with Gaussian pairs the first step is exact.
NEWTON_STEPS, HALVINGS = 50, 12
CONVERGED = 1e-9
CHUNK = 1 << 16


@isolated(0)
@torch.no_grad()
def embedding_given_pairs(
    model: CoOccurrence, prior: Embedding, items: Tensor, others: Tensor, values: Tensor, other_side: Embedding, rows: bool = True
) -> Embedding:
    """The mode of log N(y; prior) + sum of log p(x | y, other side's means), and the sd of the Gaussian that has its curvature.

    prior: of the N items, mean and sd (N, E); of an item without pairs it is what comes back. items: (R,) positions in it;
    others: (R,) positions in other_side; values: (R, 1). With Gaussian pairs this is the exact posterior given the other side.
    rows: whether the items are rows.
    """
    problem = _Problem(model, prior, items, others, values, other_side.mean, rows)
    mean, height = prior.mean.clone(), problem.density(prior.mean)
    gradient, curvature = problem.slopes(mean)
    for _ in range(NEWTON_STEPS):
        step = torch.linalg.solve(curvature, gradient)
        # A whole step overshoots where a logarithm or log-odds bends: halved, by item, until it climbs.
        for _ in range(HALVINGS):
            reached = problem.density(mean + step)
            lower = reached < height - 1e-12 * height.abs()
            if not bool(lower.any()):
                break
            step = torch.where(lower[:, None], step / 2, step)
        mean, height = mean + step, reached
        gradient, curvature = problem.slopes(mean)
        if float(step.abs().max()) < CONVERGED:
            break
    return Embedding(mean, torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2).sqrt())


@dataclass(frozen=True)
class _Problem:
    """The log density of each item's embedding, (N,), as a function of it, (N, E)."""

    model: CoOccurrence
    prior: Embedding
    items: Tensor
    others: Tensor
    values: Tensor
    other_means: Tensor
    rows: bool

    def density(self, mean: Tensor) -> Tensor:
        """Up to a constant, (N,)."""
        total = -0.5 * (((mean - self.prior.mean) / self.prior.sd) ** 2).sum(1)
        for chosen, location in self._locations(mean):
            total.index_add_(0, self.items[chosen], self.model.likelihood.distribution(location).log_prob(self.values[chosen]))
        return total

    def slopes(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """First derivatives, (N, E), and minus the second ones, (N, E, E)."""
        precision = self.prior.sd**-2
        gradient, curvature = precision * (self.prior.mean - mean), torch.diag_embed(precision)
        for chosen, location in self._locations(mean):
            other = self.other_means[self.others[chosen]]
            slope = torch.cat([torch.ones_like(other[:, :1]), other[:, 1:]], 1)
            first, second = derivatives(self.model, location, self.values[chosen])
            bend = (-second).clamp(min=0.0)[..., None]
            gradient.index_add_(0, self.items[chosen], first * slope)
            curvature.index_add_(0, self.items[chosen], bend * slope[:, :, None] * slope[:, None, :])
        return gradient, curvature

    def _locations(self, mean: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.items), CHUNK):
            chosen = slice(start, start + CHUNK)
            mine, theirs = mean[self.items[chosen]], self.other_means[self.others[chosen]]
            yield chosen, self.model.location(mine, theirs) if self.rows else self.model.location(theirs, mine)
