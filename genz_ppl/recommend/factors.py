"""What every backbone gives: factors of users and items whose products are the scores; and those of alternating least squares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from genz_ppl.types import IntArray

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Factors:
    """users: (U, r), dense or sparse; items: (N, r) float32. A score is the product of two rows.

    scored: (N,) whether an item has a score; a backbone gives none to items that nobody has chosen.
    """

    users: sparse.csr_array | Matrix
    items: Matrix
    scored: NDArray[np.bool_]

    def __call__(self, rows: IntArray) -> Matrix:
        """(n, N) float32 scores of the users at these positions; -inf where an item has none."""
        found: Matrix = np.asarray(self.users[rows] @ self.items.T, dtype=np.float32)
        if not self.scored.all():
            found[:, ~self.scored] = -np.inf
        return found

    def with_items(self, places: NDArray[np.bool_], items: Matrix) -> Factors:
        """The same with other factors of some items, which have scores then."""
        changed = self.items.copy()
        changed[places] = items
        return replace(self, items=changed, scored=self.scored | places)


def least_squares_factors(
    train: sparse.csr_array, dimensions: int, seed: int, *, unseen: float = 0.1, ridge: float = 0.01, sweeps: int = 12
) -> Factors:
    """Alternating least squares for pairs without values (Hu et al. 2008, scaled as by Rendle et al. 2022).

    Minimises the sum over chosen pairs of (1 - w·h)² plus `unseen` times that over all pairs of (w·h)², and
    ridge * (number of pairs + unseen * the other side's size) of each vector's square. Each sweep takes three steps of conjugate
    gradients for all users, then for all items.
    """
    random = np.random.RandomState(seed)
    scale = 0.1 / np.sqrt(dimensions)
    sides = [(scale * random.standard_normal((size, dimensions))).astype(np.float32) for size in train.shape]
    ways = (train, sparse.csr_array(train.T))
    for _ in range(sweeps):
        for side in (0, 1):
            sides[side] = _solved(ways[side], sides[side], sides[1 - side], unseen, ridge)
    return Factors(sides[0], sides[1], np.asarray(train.sum(axis=0)).ravel() > 0)


def _solved(chosen: sparse.csr_array, start: Matrix, others: Matrix, unseen: float, ridge: float, steps: int = 3) -> Matrix:
    """Some steps of conjugate gradients for all rows at once."""
    counts = np.diff(chosen.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    held = (ridge * (counts + unseen * len(others)))[:, None].astype(np.float32)
    gram = (unseen * (others.T @ others)).astype(np.float32)

    def applied(x: Matrix) -> Matrix:
        products = np.einsum("nd,nd->n", x[rows], others[chosen.indices])
        weighted = sparse.csr_array((products, chosen.indices, chosen.indptr), shape=chosen.shape)
        found: Matrix = x @ gram + weighted @ others + held * x
        return found

    x = start
    residual = chosen @ others - applied(x)
    direction, square = residual, np.einsum("nd,nd->n", residual, residual)
    for _ in range(steps):
        image = applied(direction)
        length = square / np.maximum(np.einsum("nd,nd->n", direction, image), 1e-20)
        x = x + length[:, None] * direction
        residual = residual - length[:, None] * image
        before, square = square, np.einsum("nd,nd->n", residual, residual)
        direction = residual + (square / np.maximum(before, 1e-20))[:, None] * direction
    return x.astype(np.float32)
