"""Predictions of pairs, whatever is known of their items: both embeddings are averaged over, never plugged in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding, location_moments
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.types import FloatArray

# Nodes of the Gauss-Hermite rule over the location, and pairs at once.
NODES = 24
CHUNK = 1 << 16


@dataclass(frozen=True)
class PairPrediction:
    """Of R pairs: mean and sd of x, (R,), and the central interval that holds the level asked for."""

    mean: FloatArray
    sd: FloatArray
    lower: FloatArray
    upper: FloatArray


@isolated(0)  # calling a module outside would put its parameters into Pyro's global store
@torch.no_grad()
def pair_means(model: CoOccurrence, rows: Embedding, columns: Embedding, first: Tensor, second: Tensor) -> FloatArray:
    """E[x] of the pairs (first[r], second[r]), positions in the two embeddings, (R,)."""
    parts = [np.zeros(0)]
    for nodes, weights, _ in _nodes(model, rows, columns, first, second):
        parts.append((model.likelihood.expected(nodes[..., None])[..., 0] @ weights).numpy())
    return np.concatenate(parts)


@isolated(0)
@torch.no_grad()
def pair_densities(
    model: CoOccurrence, rows: Embedding, columns: Embedding, first: Tensor, second: Tensor, values: Tensor
) -> FloatArray:
    """log p(x) of the pairs given what is known of their items, (R,); values: (R, 1).

    The location b + c + y1'y2 is taken for a normal of its exact mean and variance.
    """
    parts = [np.zeros(0)]
    for nodes, weights, chosen in _nodes(model, rows, columns, first, second):
        density = model.likelihood.distribution(nodes[..., None]).log_prob(values[chosen][:, None, :])
        parts.append(torch.logsumexp(density + weights.log(), 1).numpy())
    return np.concatenate(parts)


@torch.no_grad()
def predict_pairs(
    model: CoOccurrence,
    rows: Embedding,
    columns: Embedding,
    first: Tensor,
    second: Tensor,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> PairPrediction:
    """Mean of x exact up to quadrature, spread and interval by draws of both embeddings and x."""
    generator = torch.Generator().manual_seed(seed)
    spread, bounds = [np.zeros(0)], [np.zeros((2, 0))]
    size = max(1, 4 * CHUNK // draws)
    for start in range(0, len(first), size):
        chosen = slice(start, start + size)
        one, other = rows.take(first[chosen]), columns.take(second[chosen])
        location = model.location(_drawn(one, draws, generator), _drawn(other, draws, generator))
        with isolated(seed + start):
            x = model.likelihood(location).sample()[..., 0].numpy()
        spread.append(x.std(axis=0))
        bounds.append(np.quantile(x, [(1 - level) / 2, (1 + level) / 2], axis=0))
    lower, upper = np.concatenate(bounds, axis=1)
    return PairPrediction(pair_means(model, rows, columns, first, second), np.concatenate(spread), lower, upper)


def _drawn(embedding: Embedding, draws: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn((draws, *embedding.mean.shape), generator=generator, dtype=embedding.mean.dtype)
    return embedding.mean + embedding.sd * noise


def _nodes(
    model: CoOccurrence, rows: Embedding, columns: Embedding, first: Tensor, second: Tensor
) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Chunks of pairs: locations at the nodes, (B, NODES), their weights, (NODES,), and which pairs they are."""
    points, mass = np.polynomial.hermite_e.hermegauss(NODES)
    nodes, weights = torch.from_numpy(points), torch.from_numpy(mass / mass.sum())
    for start in range(0, len(first), CHUNK):
        chosen = slice(start, start + CHUNK)
        mean, variance = location_moments(rows.take(first[chosen]), columns.take(second[chosen]))
        yield (model.offset + mean)[:, None] + variance.sqrt()[:, None] * nodes, weights, chosen
