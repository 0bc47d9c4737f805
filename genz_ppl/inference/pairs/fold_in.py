"""Embeddings of items that come with some pairs: what the features say as a prior, updated by the pairs (warm start)."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.spread import derivatives
from genz_ppl.models.cooccurrence import CoOccurrence

# Newton steps: with Gaussian pairs the first is exact.
NEWTON_STEPS = 12
CHUNK = 1 << 16


@torch.no_grad()
def fold_in(
    model: CoOccurrence, prior: Embedding, items: Tensor, others: Tensor, values: Tensor, other_side: Embedding, rows: bool = True
) -> Embedding:
    """The mode of log N(y; prior) + sum of log p(x | y, other side's means), and the sd of the Gaussian that has its curvature.

    prior: of the N items, mean and sd (N, E); of an item without pairs it is what comes back. items: (R,) positions in it;
    others: (R,) positions in other_side; values: (R, 1). With Gaussian pairs this is the exact posterior given the other side.
    rows: whether the items are rows.
    """
    mean, precision = prior.mean.clone(), prior.sd**-2
    slopes = torch.cat([torch.ones_like(other_side.mean[:, :1]), other_side.mean[:, 1:]], 1)
    step = torch.full((len(mean), 1), float("inf")).to(mean)
    curvature = torch.diag_embed(precision)
    for _ in range(NEWTON_STEPS):
        curvature, gradient = torch.diag_embed(precision), precision * (prior.mean - mean)
        for start in range(0, len(items), CHUNK):
            chosen = slice(start, start + CHUNK)
            i, slope = items[chosen], slopes[others[chosen]]
            pair = (mean[i], other_side.mean[others[chosen]])
            first, second = derivatives(model, model.location(*(pair if rows else pair[::-1])), values[chosen])
            gradient.index_add_(0, i, first * slope)
            curvature.index_add_(0, i, (-second.clamp(max=0.0))[..., None] * slope[:, :, None] * slope[:, None, :])
        step = torch.linalg.solve(curvature, gradient)
        # Steps longer than the prior is wide overshoot where a logarithm or log-odds bends.
        longest = (step.abs() * precision.sqrt()).amax(1, keepdim=True)
        linear = model.likelihood.name == "gaussian"
        mean += step if linear else step / (longest / 2).clamp(min=1.0)
        if linear or float(step.abs().max()) < 1e-9:
            break
    return Embedding(mean, torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2).sqrt())
