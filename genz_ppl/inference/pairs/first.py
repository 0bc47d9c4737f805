"""Where the embeddings start: biases, then the leading singular vectors of what they leave."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.training import PairTensors
from genz_ppl.models.likelihoods import Likelihood

# Pairs that an item is given of the average before its own count.
SHRINKAGE = 5.0
# Noise on the coordinates, so that directions without a start can grow; standard deviation of q(y), at first.
JITTER, FIRST_SD = 0.02, 0.1
# Shares of the start that are tried, on so many pairs.
SCALES, MOST_TRIED = tuple(0.7**power for power in range(12)), 200_000


def first_embeddings(pairs: PairTensors, likelihood: Likelihood, dimensions: int) -> tuple[Embedding, Embedding]:
    """Embeddings (N1, 1 + D) and (N2, 1 + D) from the pairs as least squares sees them. Draws from torch's generator."""
    values = likelihood.working(pairs.values)[:, 0]
    rows = _biases(pairs.rows, values, pairs.n_rows)
    values = values - rows[pairs.rows]
    columns = _biases(pairs.columns, values, pairs.n_columns)
    values = values - columns[pairs.columns]
    left, right = _singular(pairs, values, dimensions)
    scale = _best_scale(pairs, likelihood, rows, columns, left, right)
    embeddings = []
    for bias, vectors in ((rows, left), (columns, right)):
        vectors = scale**0.5 * vectors + JITTER * torch.randn_like(vectors)
        mean = torch.cat([scale * bias[:, None], vectors], 1)
        embeddings.append(Embedding(mean, torch.full_like(mean, FIRST_SD)))
    return embeddings[0], embeddings[1]


def _biases(positions: Tensor, values: Tensor, size: int) -> Tensor:
    total = torch.zeros(size, dtype=values.dtype).index_add_(0, positions, values)
    return total / (torch.bincount(positions, minlength=size) + SHRINKAGE)


def _best_scale(pairs: PairTensors, likelihood: Likelihood, rows: Tensor, columns: Tensor, left: Tensor, right: Tensor) -> float:
    """How much of it all is believed: singular vectors of few pairs are mostly noise, and a logarithm has other units."""
    chosen = torch.arange(0, len(pairs), max(1, len(pairs) // MOST_TRIED))
    i, j = pairs.rows[chosen], pairs.columns[chosen]
    location = (rows[i] + columns[j] + (left[i] * right[j]).sum(1))[:, None]
    with torch.no_grad():
        fits = [float(likelihood.distribution(scale * location).log_prob(pairs.values[chosen]).sum()) for scale in SCALES]
    return SCALES[int(np.argmax(fits))]


def _singular(pairs: PairTensors, values: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """U S^1/2 and V S^1/2, each side D columns, zeros where there are fewer directions."""
    from scipy import sparse
    from scipy.sparse.linalg import svds

    left, right = torch.zeros(pairs.n_rows, dimensions).to(values), torch.zeros(pairs.n_columns, dimensions).to(values)
    smallest = min(pairs.n_rows, pairs.n_columns)
    wanted = min(dimensions, smallest - 1)
    if wanted < 1 or not bool(values.any()):
        return left, right
    # An item's observed pairs stand for all of its pairs: entries are scaled by the inverse square roots of both sides' shares.
    shares = [
        (torch.bincount(positions, minlength=size) + SHRINKAGE) / (other + SHRINKAGE)
        for positions, size, other in (
            (pairs.rows, pairs.n_rows, pairs.n_columns),
            (pairs.columns, pairs.n_columns, pairs.n_rows),
        )
    ]
    scaled = values / (shares[0][pairs.rows] * shares[1][pairs.columns]).sqrt()
    matrix = sparse.csr_array(
        (scaled.numpy(), (pairs.rows.numpy(), pairs.columns.numpy())), shape=(pairs.n_rows, pairs.n_columns)
    )
    start = np.random.default_rng(0).standard_normal(smallest)
    u, s, vh = svds(matrix, k=wanted, v0=start)
    falling = np.argsort(s)[::-1]
    root = np.sqrt(np.maximum(s[falling], 0.0))
    left[:, :wanted] = torch.from_numpy(np.ascontiguousarray(u[:, falling] * root))
    right[:, :wanted] = torch.from_numpy(np.ascontiguousarray(vh[falling].T * root))
    return left, right
