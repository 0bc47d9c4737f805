"""Ratings that are kept on disk give the embeddings that those in memory give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genz_ppl.data import embeddings, open_source, spooled
from genz_ppl.data.embeddings import item_embeddings, leading_directions
from genz_ppl.data.spooled import RatingsOnDisk
from genz_ppl.errors import InputError, OptionError


def made(seed: int = 0, n_movies: int = 70, n_users: int = 400) -> sparse.coo_array:
    """Ratings from 1 to 5 of a tenth of all pairs, with a few strong directions."""
    random = np.random.default_rng(seed)
    taste = random.normal(size=(n_movies, 6)) @ random.normal(size=(6, n_users))
    return sparse.coo_array(np.where(random.random(taste.shape) < 0.1, np.clip(np.rint(3 + taste), 1, 5), 0.0))


def on_disk(matrix: sparse.coo_array, batches: int = 7) -> RatingsOnDisk:
    """The ratings in any order and in several batches; film 3 m + 10 is row m, user 5 u + 1 column u."""
    ratings, order = RatingsOnDisk(), np.random.default_rng(1).permutation(matrix.nnz)
    for part in np.array_split(order, batches):
        ratings.add(3 * matrix.row[part].astype(np.int32) + 10, 5 * matrix.col[part].astype(np.int32) + 1, matrix.data[part])
    return ratings


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("room", [2**25, 1])
def test_ratings_on_disk_have_the_embeddings_of_those_in_memory(monkeypatch: pytest.MonkeyPatch, alpha: float, room: int) -> None:
    monkeypatch.setattr(embeddings, "_ROOM", room)  # without room for many blocks the best vectors stand for them
    monkeypatch.setattr(embeddings, "_MORE_COLUMNS", 4)
    matrix = made()
    found = on_disk(matrix).finished()
    assert found.shape == matrix.shape
    np.testing.assert_array_equal(found.ids, 3 * np.arange(70) + 10)
    np.testing.assert_array_equal(found.counts, np.diff(matrix.tocsr().indptr))
    expected = item_embeddings(matrix.tocsr(), 5, alpha)
    np.testing.assert_allclose(item_embeddings(found, 5, alpha), expected, atol=1e-7 * np.abs(expected).max())
    np.testing.assert_array_equal(item_embeddings(found, 5, alpha), item_embeddings(on_disk(matrix).finished(), 5, alpha))


def test_fewer_directions_than_asked_for_are_told() -> None:
    ratings = RatingsOnDisk()
    ratings.add(np.array([1, 2, 1, 2], dtype=np.int32), np.array([1, 1, 2, 2], dtype=np.int32), np.array([1.0, 2.0, 2.0, 4.0]))
    with pytest.raises(OptionError, match="2 items by 2 users have 1 independent directions; ask for at most 1"):
        item_embeddings(ratings.finished(), 2)


def test_few_passes_are_enough_where_singular_values_fall_slowly() -> None:
    random = np.random.default_rng(0)
    vectors = np.linalg.qr(random.normal(size=(900, 900)))[0]
    squares, passes = 0.99 ** np.arange(900), []

    def square(block: np.ndarray) -> np.ndarray:
        passes.append(block.shape[1])
        return np.asarray(vectors @ (squares[:, None] * (vectors.T @ block)))

    values, found = leading_directions(square, 900, 10)
    np.testing.assert_allclose(values, squares[:10], rtol=1e-10)
    np.testing.assert_allclose(np.abs((found * vectors[:, :10]).sum(0)), 1.0, atol=1e-8)
    assert len(passes) < 25


def test_a_pair_rated_twice_in_different_batches_is_told() -> None:
    matrix = made()
    ratings = on_disk(matrix)
    ratings.add(*(np.array([value], dtype=np.int32) for value in (3 * matrix.row[5] + 10, 5 * matrix.col[5] + 1, 4)))
    with pytest.raises(InputError, match=f"user {5 * matrix.col[5] + 1} has rated movie {3 * matrix.row[5] + 10} twice; keep"):
        ratings.finished()


def write_movielens(folder: Path, matrix: sparse.coo_array, kind: str) -> None:
    """ratings.csv or ratings.parquet and movies.csv."""
    table = pd.DataFrame({"userId": matrix.col + 1, "movieId": matrix.row + 1, "rating": matrix.data})
    if kind == "csv":
        table.to_csv(folder / "ratings.csv", index=False)
    else:
        table.to_parquet(folder / "ratings.parquet")
    movies = pd.DataFrame({"movieId": range(1, 71), "title": [f"Film {m} (2000)" for m in range(1, 71)], "genres": "Drama"})
    movies.to_csv(folder / "movies.csv", index=False)


def write_netflix(folder: Path, matrix: sparse.coo_array, kind: str) -> None:
    """Two files of ratings and the titles."""
    rows = matrix.tocsr()
    for number, films in enumerate((range(40), range(40, 70))):
        texts = []
        for film in films:
            own = slice(*rows.indptr[film : film + 2])
            lines = zip(rows.indices[own], rows.data[own], strict=True)
            texts.append(f"{film + 1}:\n" + "".join(f"{user + 1},{value:.0f},2005-09-06\n" for user, value in lines))
        (folder / f"combined_data_{number + 1}.txt").write_text("".join(texts))
    (folder / "movie_titles.csv").write_text("".join(f"{m},2000,Film {m}\n" for m in range(1, 71)))


@pytest.mark.parametrize(("name", "kind"), [("movielens", "csv"), ("movielens", "parquet"), ("netflix", "")])
def test_films_are_the_same_where_ratings_go_through_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    (write_netflix if name == "netflix" else write_movielens)(tmp_path, made(), kind)
    source = f"{name}:{tmp_path},items=30,dimensions=4"
    in_memory = open_source(source)
    monkeypatch.setattr(spooled, "LARGEST_IN_MEMORY", 1000)
    through_disk = open_source(source)
    assert through_disk.ids == in_memory.ids
    assert through_disk.targets is not None
    assert in_memory.targets is not None
    np.testing.assert_allclose(through_disk.targets, in_memory.targets, atol=1e-7)


def test_faults_are_told_with_their_row_whatever_batch_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_movielens(tmp_path, made(), "csv")
    users = np.arange(1, 140_002)
    table = pd.DataFrame({"user": users, "movie": 1 + users % 70, "rating": 4.0})
    table.loc[135_000, "rating"] = 9.0
    table.to_parquet(tmp_path / "ratings.parquet")
    with pytest.raises(InputError, match=r"row 135001, column 'rating': expected a number from 0\.5 to 5, found 9"):
        open_source(f"movielens:{tmp_path},dimensions=2")
    table.loc[135_000] = table.loc[3]
    table.to_parquet(tmp_path / "ratings.parquet")
    monkeypatch.setattr(spooled, "LARGEST_IN_MEMORY", 1000)
    with pytest.raises(InputError, match=r"ratings\.parquet: user 4 has rated movie 5 twice; keep one of the two"):
        open_source(f"movielens:{tmp_path},dimensions=2")
