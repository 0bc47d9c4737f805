"""The embedding of an item from some of its ratings, with the users' factors held: exact, and linear in the ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genz_ppl.types import FloatArray, IntArray

if TYPE_CHECKING:
    from scipy import sparse

# Directions beyond the kept ones in which taking an item out is worked out exactly: the error falls by about 5 with each.
EXTRA_STEPS = 6
# Relative to what a vector was before: shorter ones are rounding error.
_NOTHING = 1e-10


class Weights(Protocol):
    """What a rating of 1 by a user adds to an item's embedding."""

    def at(self, users: IntArray) -> FloatArray:
        """(n, D) for n users."""


def fold_in(weights: Weights, users: IntArray, values: FloatArray) -> FloatArray:
    """The embedding from ratings `values` of `users`, (n,) each: sum_j r_j w_j, (D,)."""
    folded: FloatArray = values @ weights.at(users)
    return folded


def path(weights: Weights, users: IntArray, values: FloatArray) -> FloatArray:
    """The embedding after each of n ratings, (n, D): a cumulative sum, so all together cost as much as the last."""
    return np.cumsum(values[:, None] * weights.at(users), axis=0)


@dataclass(frozen=True, eq=False)
class Factors:
    """A matrix of ratings, missing ones 0, as X ~ U S V' (eq. 36): (N, M), items by users.

    left: U, (N, K), orthonormal columns in the order of falling singular values. right: V, (M, K). scale: S, (K,). The first
    `dimensions` D of the K are the embedding, Y = U S^alpha; the others, best as many again, serve `without`.

    A row x is folded in as y = x V S^(alpha - 1), which for a row of X is its row of Y.
    """

    ratings: sparse.csr_array
    left: FloatArray
    right: FloatArray
    scale: FloatArray
    dimensions: int
    alpha: float

    @classmethod
    def of(cls, ratings: sparse.csr_array, left: FloatArray, dimensions: int, alpha: float) -> Factors:
        """From the left singular vectors, (N, K)."""
        scaled = np.asarray(ratings.T @ left)
        scale = np.linalg.norm(scaled, axis=0)
        return cls(ratings, left, scaled / scale, scale, dimensions, alpha)

    @property
    def embeddings(self) -> FloatArray:
        """Y, (N, D)."""
        embeddings: FloatArray = self.left[:, : self.dimensions] * self.scale[: self.dimensions] ** self.alpha
        return embeddings

    def at(self, users: IntArray) -> FloatArray:
        """V S^(alpha - 1) of these users, (n, D): the weights of an item that is not in X, and of one that stays in it."""
        weights: FloatArray = self.right[users, : self.dimensions] * self.scale[: self.dimensions] ** (self.alpha - 1.0)
        return weights

    def rated(self, item: int) -> tuple[IntArray, FloatArray]:
        """The users who rated an item of X and their ratings, (n,) each."""
        place = slice(self.ratings.indptr[item], self.ratings.indptr[item + 1])
        return self.ratings.indices[place].astype(np.int64), np.asarray(self.ratings.data[place], dtype=np.float64)

    def without(self, item: int) -> HeldWeights:
        """The weights with the item's row taken out of X before the decomposition, in the coordinates of Y.

        Left in, the row would tilt V towards itself, and a few of its ratings would look like more than they tell. With
        X_- the matrix without the row x and X_- ~ U_- S_- V_-', a row is folded in as

            y = (x V_- S_-^-1) A S^alpha,    A = U_-' U without the row,

        where A, least squares over the other items, turns the coordinates of the one decomposition into those of the other.

        V_- is found in the span of V and of the Krylov vectors r, X'X r, ... of the part r of x outside of V: X_-'X_- is
        X'X - x x', so eigenvectors for large eigenvalues leave V in these directions only, each smaller by about
        (S_(K+1) / S_D)^2. A few products with X instead of a decomposition for each item.
        """
        users, values = self.rated(item)
        row = np.zeros(self.ratings.shape[1])
        row[users] = values
        inside = self.right.T @ row
        outside, projected = self._krylov(row - self.right @ inside)
        size, kept = len(self.scale) + outside.shape[1], self.dimensions
        gram = np.zeros((size, size))
        gram[: len(self.scale), : len(self.scale)] = np.diag(self.scale**2)
        gram[len(self.scale) :, len(self.scale) :] = projected
        coordinates = np.concatenate([inside, outside.T @ row])
        squares, vectors = np.linalg.eigh(gram - np.outer(coordinates, coordinates))
        squares, vectors = squares[::-1][:kept], vectors[:, ::-1][:, :kept]
        inverse = np.where(squares > _NOTHING * squares[0], 1.0 / np.maximum(squares, _NOTHING * squares[0]), 0.0)
        others = np.zeros((size, kept))
        others[:kept] = np.diag(self.scale[:kept])
        others -= np.outer(coordinates, self.left[item, :kept])
        turned = (vectors * inverse) @ (vectors.T @ others) * self.scale[:kept] ** self.alpha
        return HeldWeights(self.right, outside, turned)

    def _krylov(self, residual: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Orthonormal r, X'X r, ..., (M, m), orthogonal to V, and X'X in them, (m, m)."""
        most = EXTRA_STEPS if len(self.scale) >= 2 * self.dimensions else max(EXTRA_STEPS, self.dimensions)
        found: list[FloatArray] = []
        products: list[FloatArray] = []
        vector, before = residual, np.linalg.norm(residual) + self.scale[0]
        while len(found) < most:
            for _ in range(2):  # once leaves what rounding took
                vector = vector - self.right @ (self.right.T @ vector)
                for other in found:
                    vector = vector - other * (other @ vector)
            length = np.linalg.norm(vector)
            if length <= _NOTHING * before:
                break
            found.append(vector / length)
            products.append(np.asarray(self.ratings.T @ (self.ratings @ found[-1])))
            vector, before = products[-1], self.scale[0] ** 2
        outside = np.column_stack(found) if found else np.zeros((len(residual), 0))
        projected = outside.T @ np.column_stack(products) if found else np.zeros((0, 0))
        return outside, 0.5 * (projected + projected.T)


@dataclass(frozen=True, eq=False)
class HeldWeights:
    """Weights of an item that was taken out of X: see `Factors.without`. right: (M, K); outside: (M, m); turned: (K + m, D)."""

    right: FloatArray
    outside: FloatArray
    turned: FloatArray

    def at(self, users: IntArray) -> FloatArray:
        """(n, D) for n users."""
        weights: FloatArray = np.hstack([self.right[users], self.outside[users]]) @ self.turned
        return weights
