"""Fold-in: exact against the decomposition, with the item in the matrix and taken out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genz_ppl.data.embeddings import item_embeddings, ratings_matrix
from genz_ppl.inference.ratings import fold_in as module
from genz_ppl.inference.ratings.fold_in import Factors, fold_in, path
from genz_ppl.types import FloatArray, IntArray


def matrix(n_items: int = 60, n_users: int = 90, seed: int = 0) -> Any:
    """Ratings with a few strong directions and many weak ones."""
    random = np.random.default_rng(seed)
    liking = random.normal(size=(n_items, 6)) @ random.normal(size=(6, n_users))
    rated = random.random((n_items, n_users)) < 1 / (1 + np.exp(1.0 - liking))
    rated[:, 0] = True
    items, users = np.nonzero(rated)
    return ratings_matrix(items, users, np.clip(np.rint(3 + liking[rated]), 1, 5))


def factors(ratings: Any, dimensions: int = 5, alpha: float = 0.0, kept: int | None = None) -> Factors:
    left = item_embeddings(ratings, 2 * dimensions if kept is None else kept)
    return Factors.of(ratings, left, dimensions, alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_all_ratings_of_an_item_give_its_embedding(alpha: float) -> None:
    ratings = matrix()
    found = factors(ratings, alpha=alpha)
    embeddings = item_embeddings(ratings, 5, alpha)
    np.testing.assert_allclose(found.embeddings, embeddings, atol=1e-10)
    for item in range(60):
        np.testing.assert_allclose(fold_in(found, *found.rated(item)), embeddings[item], atol=1e-10)


def test_a_path_is_the_fold_in_of_every_start_and_reads_each_rating_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = factors(matrix())
    users, values = found.rated(7)
    asked: list[int] = []
    at = Factors.at

    def counted(self: Factors, users: IntArray) -> FloatArray:
        asked.append(len(users))
        return at(self, users)

    monkeypatch.setattr(Factors, "at", counted)
    steps = path(found, users, values)
    assert asked == [len(users)]  # linear in the ratings
    for count in range(1, len(users) + 1):
        np.testing.assert_allclose(steps[count - 1], fold_in(found, users[:count], values[:count]), atol=1e-12)


def written_out(ratings: Any, item: int, dimensions: int, alpha: float) -> Any:
    """The weights of all users from dense decompositions, with the row set to zero, (M, D)."""
    full = ratings.toarray()
    left = item_embeddings(ratings, dimensions)
    scale = np.linalg.norm(full.T @ left, axis=0)
    rest = full.copy()
    rest[item] = 0.0
    u, s, vt = np.linalg.svd(rest, full_matrices=False)
    u, s, v = u[:, :dimensions], s[:dimensions], vt[:dimensions].T
    others = np.arange(len(full)) != item
    turn = np.linalg.lstsq(u[others], left[others], rcond=None)[0]
    return (v / s) @ turn * scale**alpha


@pytest.mark.parametrize(("alpha", "kept"), [(0.0, 10), (0.5, 10), (1.0, 10), (0.0, 60), (0.0, 5)])
def test_without_an_item_is_the_decomposition_of_the_other_rows(monkeypatch: pytest.MonkeyPatch, alpha: float, kept: int) -> None:
    monkeypatch.setattr(module, "EXTRA_STEPS", 60)  # to the end: exact
    ratings = matrix()
    found = factors(ratings, alpha=alpha, kept=kept)
    for item in (0, 11, 59):
        wanted = written_out(ratings, item, 5, alpha)
        np.testing.assert_allclose(found.without(item).at(np.arange(90)), wanted, atol=1e-8 * np.abs(wanted).max())


def test_a_few_steps_are_enough() -> None:
    """Each step gains the square of the gap's ratio, (S_(2 D + 1) / S_D)^2, at least."""
    ratings = matrix(200, 300, seed=1)
    found = factors(ratings)
    singular = np.linalg.svd(ratings.toarray(), compute_uv=False)
    bound = (singular[10] / singular[4]) ** (2 * module.EXTRA_STEPS)
    for item in range(5):
        wanted = written_out(ratings, item, 5, 0.0)
        assert np.abs(found.without(item).at(np.arange(300)) - wanted).max() < 10 * bound * np.abs(wanted).max()


def test_taking_an_item_out_hides_its_ratings() -> None:
    """What else the item's row holds does not move the span of the weights."""
    ratings = matrix()
    changed = ratings.copy()
    changed.data[changed.indptr[3] : changed.indptr[4]] = 1.0
    first, second = (factors(one, kept=60).without(3).at(np.arange(90)) for one in (ratings, changed))
    combined = np.linalg.svd(np.hstack([first / np.linalg.norm(first), second / np.linalg.norm(second)]), compute_uv=False)
    assert combined[5] < 1e-6 * combined[0]
    left_in = [factors(one).at(np.arange(90)) for one in (ratings, changed)]
    assert np.linalg.svd(np.hstack(left_in), compute_uv=False)[5] > 1e-3  # while left in it does


def test_an_item_on_which_the_rank_depends_and_one_without_ratings() -> None:
    ratings = ratings_matrix(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2]), np.array([5.0, 3.0, 4.0, 1.0, 2.0]), n_items=4)
    found = factors(ratings, dimensions=3, kept=3)
    weights = found.without(2).at(np.arange(3))  # nobody else has rated what user 2 has
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights[2], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.without(3).at(np.arange(3)), found.at(np.arange(3)), atol=1e-12)
