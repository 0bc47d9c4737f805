"""Item embeddings: the leading singular vectors of a matrix of ratings (the paper's section 5.3 and appendix C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from genz_ppl.data.spooled import SpooledMatrix
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray

if TYPE_CHECKING:
    from scipy import sparse  # half a second to import: only those who have ratings wait for it

_SMALL_SIDE = 512  # up to here all eigenvectors at once are faster than iterating for some
_LEAST_RATIO = 1e-6  # of the first singular value: below, a direction is rounding error of the squared matrix
_TIED = 1e-9
# Of products with blocks of columns: how many columns more than directions wanted; the numbers that are kept of all blocks; how
# far X X' u may be from s^2 u, as a share of it; and passes over the ratings at most.
_MORE_COLUMNS, _ROOM, _TOLERANCE, _MOST_PASSES = 16, 2**25, 1e-8, 60


def ratings_matrix(items: ArrayLike, users: ArrayLike, values: ArrayLike, n_items: int | None = None) -> sparse.csr_array:
    """The (N, M) matrix of ratings, items by users: 0 where a user has not rated an item.

    items, users: (R,) whole numbers from 0, the positions of each rating. values: (R,) finite numbers. n_items: N, if items
    without any rating come after the last rated one.

    Raises InputError for lengths that differ, for positions out of range, for values that are not finite, and for two
    ratings of one item by one user.
    """
    from scipy import sparse

    rows, columns = _positions(items, "item"), _positions(users, "user")
    entries = np.asarray(values, dtype=np.float64)
    if not rows.shape == columns.shape == entries.shape:
        lengths = f"{rows.shape[0]}, {columns.shape[0]} and {entries.size}"
        raise InputError(f"expected as many item positions as user positions and values, found {lengths}: give one of each")
    if not entries.size:
        raise InputError("there are no ratings; at least one is needed")
    if not np.isfinite(entries).all():
        where = int(np.flatnonzero(~np.isfinite(entries))[0])
        raise InputError(f"rating {where}: expected a finite number, found {entries[where]}; correct it")
    size = int(rows.max()) + 1 if n_items is None else n_items
    if rows.max() >= size:
        raise InputError(f"expected item positions below {size}, found {rows.max()}; correct n_items or the position")
    matrix = sparse.csr_array((entries, (rows, columns)), shape=(size, int(columns.max()) + 1))
    if matrix.nnz < entries.size:
        order = np.lexsort((columns, rows))
        twice = (np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0)
        where = int(order[np.flatnonzero(twice)[0] + 1])
        raise InputError(
            f"rating {where}: user {columns[where]} has rated item {rows[where]} already; keep one rating of each pair"
        )
    return matrix


def item_embeddings(ratings: sparse.csr_array | SpooledMatrix, dimensions: int = 32, alpha: float = 0.0) -> FloatArray:
    """The N items in D dimensions, (N, D): U S^alpha of the truncated decomposition X = U S V' (eq. 36 with R = identity).

    ratings: (N, M), items by users, finite. As in the paper, X is the matrix itself: a missing rating counts as 0, and no
    mean is taken off, of items, users or all. So the first dimension is close to how often an item is rated.
    dimensions: D. alpha: 0 gives the singular vectors themselves, orthonormal columns; 1 scales each by its singular value.

    The dimensions are in the order of falling singular values. Singular vectors are unique up to sign: in each dimension the
    entry of largest magnitude (the first of equals) is positive. The same matrix gives the same bits on the same machine.

    Computed from the eigenvectors of X X' (or X' X, if there are fewer users than items): by Lanczos iteration from a fixed
    start on products with X, without forming the square; all at once if a side is at most 512. Where singular values are
    equal, the vectors are some basis of their space. Of ratings on disk see `leading_directions`.

    Raises OptionError for D or alpha out of range and for a D beyond the rank of X.
    """
    check_embedding(dimensions, alpha)
    fewer_users = False
    if isinstance(ratings, SpooledMatrix):
        squares, vectors = leading_directions(ratings.square, len(ratings.ids), min(dimensions, len(ratings.ids)))
    else:
        fewer_users = ratings.shape[1] < ratings.shape[0]
        wide = ratings.T.tocsr() if fewer_users else ratings
        squares, vectors = _leading_eigenvectors(wide, min(dimensions, wide.shape[0]))
    rank = int((squares > squares[0] * _LEAST_RATIO**2).sum()) if squares[0] > 0 else 0
    if rank < dimensions:
        count = f"{ratings.shape[0]} items by {ratings.shape[1]} users have {rank} independent directions"
        raise OptionError(f"{dimensions} dimensions are too many: the ratings of {count}; ask for at most {rank}")
    scale = np.sqrt(squares)
    left = vectors
    if fewer_users and not isinstance(ratings, SpooledMatrix):
        left = np.asarray(ratings @ vectors) / scale
    return np.ascontiguousarray(left * _signs(left) * scale**alpha)


def check_embedding(dimensions: int, alpha: float) -> None:
    """Raises OptionError for a number of dimensions below 1 and for an alpha that is not from 0 to 1."""
    if not 0.0 <= alpha <= 1.0:
        raise OptionError(f"alpha must be from 0 to 1, not {alpha:g}")
    if dimensions < 1:
        raise OptionError(f"the embeddings need at least 1 dimension, not {dimensions}")


def _positions(positions: ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(positions)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"expected a list of whole numbers as {what} positions, found {array.dtype} of shape {array.shape}")
    if array.size and array.min() < 0:
        raise InputError(f"expected {what} positions from 0, found {array.min()}; number them from 0")
    return array


def _leading_eigenvectors(wide: sparse.csr_array, n_vectors: int) -> tuple[FloatArray, FloatArray]:
    """The largest eigenvalues of X X', falling, (n,), and their vectors (rows of X, n)."""
    n_rows = wide.shape[0]
    if n_rows <= _SMALL_SIDE or n_vectors >= n_rows:
        values, vectors = np.linalg.eigh((wide @ wide.T).toarray())
    else:
        from scipy.sparse.linalg import LinearOperator, eigsh

        square = LinearOperator((n_rows, n_rows), matvec=lambda vector: wide @ (wide.T @ vector), dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(n_rows)  # not constant: that could lie across a vector searched for
        values, vectors = eigsh(square, k=n_vectors, which="LA", v0=start, ncv=min(n_rows, 3 * n_vectors + 16))
    falling = np.argsort(values)[::-1][:n_vectors]
    return np.maximum(values[falling], 0.0), vectors[:, falling]


def leading_directions(square: Callable[[FloatArray], FloatArray], n_rows: int, n_vectors: int) -> tuple[FloatArray, FloatArray]:
    """The largest eigenvalues of X X', falling, (n,), and their vectors, (N, n), from few passes over X.

    square: X X' times a block of columns, (N, B). A randomised block Krylov method (Musco and Musco, "Randomized block Krylov
    methods for stronger and faster approximate singular value decomposition", 2015): a block of random columns is multiplied
    again and again, and the best vectors are sought among all that came out, until X X' u is s^2 u to 1e-8 of it. Where all
    blocks would be too much to keep, the best vectors so far stand for them. The start is fixed.
    """
    width = min(n_rows, n_vectors + _MORE_COLUMNS)
    most = max(3 * width, _ROOM // n_rows)
    block = np.linalg.qr(np.random.default_rng(0).standard_normal((n_rows, width)))[0]
    basis, inner = block[:, :0], np.zeros((0, 0))
    for _ in range(_MOST_PASSES):
        image, before = square(block), basis.shape[1]
        basis = np.concatenate([basis, block], axis=1)
        crossed = basis.T @ image
        grown = np.zeros((basis.shape[1], basis.shape[1]))
        grown[:before, :before] = inner
        grown[:, before:], grown[before:, :] = crossed, crossed.T
        inner = grown
        image -= basis @ crossed
        image -= basis @ (basis.T @ image)  # once more, for what rounding has left
        values, vectors = np.linalg.eigh(inner)
        values, vectors = values[::-1], vectors[:, ::-1]
        left, sizes, right = np.linalg.svd(image, full_matrices=False)
        errors = np.linalg.norm(sizes[:, None] * (right @ vectors[before:, :n_vectors]), axis=0)
        new = sizes > 1e-12 * values[0]
        if (errors <= _TOLERANCE * values[:n_vectors]).all() or not new.any():
            break
        block = left[:, new]
        if basis.shape[1] + block.shape[1] > most:
            basis, inner = basis @ vectors[:, :width], np.diag(values[:width])
    return np.maximum(values[:n_vectors], 0.0), basis @ vectors[:, :n_vectors]


def _signs(vectors: FloatArray) -> FloatArray:
    """(D,) of 1 and -1: what makes the entry of largest magnitude positive. Rounding does not choose between equal ones."""
    magnitude = np.abs(vectors)
    first = (magnitude >= magnitude.max(axis=0) * (1.0 - _TIED)).argmax(axis=0)
    return np.where(vectors[first, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
