"""What the pairs say of embeddings beside a point: curvature of the bound, as the spread of q(y) that points do not have."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.training import PairTensors
from genz_ppl.models.cooccurrence import CoOccurrence, EmbeddingPrior

# Pairs at once: what is made of them on the way stays below some 200 MB.
CHUNK = 1 << 19


@torch.no_grad()
def point_spread(
    model: CoOccurrence,
    pairs: PairTensors,
    points: tuple[Embedding, Embedding],
    priors: tuple[EmbeddingPrior, EmbeddingPrior],
) -> tuple[Embedding, Embedding]:
    """The points with sd = 1 / sqrt of minus the second derivative of log p(x, y), one entry at a time (Laplace).

    Without it a learned scale around f(z) and its points shrink onto each other until the density of points has no limit.
    """
    rows, columns = (point.mean for point in points)
    precision = [(prior.scale**-2).expand_as(prior.location).clone() for prior in priors]
    for start in range(0, len(pairs), CHUNK):
        chosen = slice(start, start + CHUNK)
        first, second = pairs.rows[chosen], pairs.columns[chosen]
        _, bend = derivatives(model, model.location(rows[first], columns[second]), pairs.values[chosen])
        curvature = -bend.clamp(max=0.0)
        for side, positions, other in ((0, first, columns[second]), (1, second, rows[first])):
            slopes = torch.cat([torch.ones_like(other[:, :1]), other[:, 1:]], 1)
            precision[side].index_add_(0, positions, curvature * slopes**2)
    return Embedding(rows, precision[0].rsqrt()), Embedding(columns, precision[1].rsqrt())


def derivatives(model: CoOccurrence, location: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of log p(x | location) by location, (B, 1) each."""
    with torch.enable_grad():
        at = location.detach().clone().requires_grad_(True)
        density = model.likelihood.distribution(at).log_prob(values).sum()
        (first,) = torch.autograd.grad(density, at, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), at)
    return first.detach(), second.detach()
