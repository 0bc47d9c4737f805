from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from genz_ppl.data import embeddings
from genz_ppl.data.embeddings import item_embeddings, ratings_matrix
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray


def made(n_items: int, n_users: int, seed: int = 0) -> FloatArray:
    """Half-empty ratings from 1 to 5 with a few strong directions."""
    random = np.random.default_rng(seed)
    taste = random.normal(size=(n_items, 8)) @ random.normal(size=(8, n_users))
    return np.where(random.random(taste.shape) < 0.5, np.clip(np.rint(3 + taste), 1, 5), 0.0)


def dense(ratings: FloatArray, dimensions: int, alpha: float) -> FloatArray:
    left, scale, _ = np.linalg.svd(ratings, full_matrices=False)
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    return np.asarray((left * signs * scale**alpha)[:, :dimensions])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("shape", "small_side"),
    [((40, 90), 512), ((90, 40), 512), ((40, 90), 0), ((90, 40), 0), ((520, 560), 512), ((560, 520), 512)],
)
def test_all_ways_give_what_a_dense_decomposition_gives(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], small_side: int, alpha: float
) -> None:
    monkeypatch.setattr(embeddings, "_SMALL_SIDE", small_side)
    ratings = made(*shape)
    found = item_embeddings(sparse.csr_array(ratings), 8, alpha)
    expected = dense(ratings, 8, alpha)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


def test_missing_ratings_are_zeros_and_no_mean_is_taken_off() -> None:
    # Two films that all of ten users have rated, one with 5 and one with 3: one direction, and it is not centred away.
    ratings = ratings_matrix(np.repeat([0, 1], 10), np.tile(np.arange(10), 2), np.repeat([5, 3], 10))
    np.testing.assert_allclose(item_embeddings(ratings, 1, 1.0)[:, 0], np.sqrt(10) * np.array([5, 3]))


def test_two_calls_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = sparse.csr_array(made(60, 80))
    for small_side in (512, 0):
        monkeypatch.setattr(embeddings, "_SMALL_SIDE", small_side)
        np.random.seed(1)  # noqa: NPY002  # the process-wide state has no say
        first = item_embeddings(ratings, 5)
        np.random.seed(2)  # noqa: NPY002
        np.testing.assert_array_equal(first, item_embeddings(ratings, 5))


def test_the_sign_of_equal_magnitudes_is_that_of_the_first() -> None:
    found = item_embeddings(sparse.csr_array(np.array([[3.0, 1.0], [1.0, 3.0]])), 2)
    np.testing.assert_allclose(found, np.array([[1, 1], [1, -1]]) / np.sqrt(2), atol=1e-15)


@settings(max_examples=60)
@given(
    ratings=arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 5)),
    data=st.data(),
    alpha=st.floats(0.0, 1.0),
)
def test_eq_36_holds_for_any_ratings(ratings: FloatArray, data: st.DataObject, alpha: float) -> None:
    scale = np.linalg.svd(ratings, compute_uv=False)
    rank = int(np.linalg.matrix_rank(ratings))
    matrix = sparse.csr_array(ratings.astype(np.float64))
    with pytest.raises(OptionError, match=rf"have {rank} independent directions; ask for at most {rank}"):
        item_embeddings(matrix, rank + 1, alpha)
    if rank == 0:
        return
    dimensions = data.draw(st.integers(1, rank))
    found = item_embeddings(matrix, dimensions, alpha)
    # Columns are orthogonal with lengths s^alpha; squared singular values are right to rounding, small ones to its root.
    precision = 1e-7 * max(float(scale[0]) ** (2 * alpha), 1.0)
    np.testing.assert_allclose(found.T @ found, np.diag(scale[:dimensions] ** (2 * alpha)), atol=precision)
    largest = np.abs(found).max(axis=0)
    assert (found.max(axis=0) >= largest * (1 - 1e-6)).all()
    # With all directions, U S^alpha and S^(1 - alpha) V' give the ratings back (eq. 36): U U' X = X.
    whole = item_embeddings(matrix, rank, 0.0)
    np.testing.assert_allclose(whole @ (whole.T @ ratings), ratings, atol=1e-7)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), alpha=st.floats(0.0, 1.0))
def test_the_order_of_users_and_of_the_triples_does_not_matter(seed: int, alpha: float) -> None:
    ratings = made(12, 15, seed)
    items, users = np.nonzero(ratings)
    shuffle = np.random.default_rng(seed).permutation(len(items))
    renamed = np.random.default_rng(seed + 1).permutation(15)
    other = ratings_matrix(items[shuffle], renamed[users[shuffle]], ratings[items, users][shuffle], n_items=12)
    np.testing.assert_allclose(item_embeddings(other, 3, alpha), dense(ratings, 3, alpha), atol=1e-9 * 60**alpha)


def test_items_without_ratings_have_zeros() -> None:
    ratings = ratings_matrix([0, 0, 2], [0, 1, 1], [4, 2, 5], n_items=5)
    assert ratings.shape == (5, 2)
    found = item_embeddings(ratings, 2)
    np.testing.assert_array_equal(found[[1, 3, 4]], 0.0)


@pytest.mark.parametrize(
    ("triples", "n_items", "expected"),
    [
        (([0, 1], [0], [1.0, 2.0]), None, "as many item positions as user positions and values, found 2, 1 and 2"),
        (([], [], []), None, "there are no ratings"),
        (([0, -1], [0, 1], [1, 2]), None, "item positions from 0, found -1"),
        (([0.5, 1], [0, 1], [1, 2]), None, "whole numbers as item positions, found float64"),
        (([0, 1], [[0], [1]], [1, 2]), None, "whole numbers as user positions"),
        (([0, 1], [0, 1], [1, np.nan]), None, "rating 1: expected a finite number, found nan"),
        (([0, 7], [0, 1], [1, 2]), 5, "item positions below 5, found 7"),
        (([0, 1, 0], [2, 1, 2], [1, 2, 3]), None, "rating 2: user 2 has rated item 0 already"),
    ],
)
def test_ratings_that_cannot_be(
    triples: tuple[list[float], list[float], list[float]], n_items: int | None, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        ratings_matrix(*triples, n_items=n_items)


@pytest.mark.parametrize(
    ("dimensions", "alpha", "expected"),
    [
        (2, -0.1, "alpha must be from 0 to 1, not -0.1"),
        (2, 1.5, "alpha must be from 0 to 1"),
        (2, float("nan"), "alpha must be from 0 to 1, not nan"),
        (0, 0.0, "at least 1 dimension, not 0"),
        (4, 0.0, "4 dimensions are too many: the ratings of 3 items by 6 users have 3 independent directions"),
    ],
)
def test_numbers_out_of_range(dimensions: int, alpha: float, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        item_embeddings(sparse.csr_array(made(3, 6)), dimensions, alpha)
