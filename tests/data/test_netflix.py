from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genz_ppl.data import open_like, open_source, ratings
from genz_ppl.data.embeddings import item_embeddings, ratings_matrix
from genz_ppl.data.netflix import netflix_items, read_ratings, training_files
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import IntArray

# Film: user and rating. Film 3 has most, 1 and 4 as many as each other, 2 one.
FILMS = {
    1: [(2649429, 3), (7, 5), (1488844, 1)],
    2: [(7, 4)],
    3: [(30878, 5), (7, 2), (1488844, 4), (12, 5), (2649429, 1)],
    4: [(12, 1), (30878, 3), (7, 3)],
}
TITLES = b"1,2003,Dinosaur Planet\n2,NULL,I, the Jury, again\n3,1983,Pok\xe9mon, l'\xe9t\xe9\n4,1999,Heat\n5,2000,Unrated\n"


def lines(film: int) -> str:
    return f"{film}:\n" + "".join(f"{user},{rating},2005-09-06\n" for user, rating in FILMS[film])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "combined_data_1.txt").write_text(lines(1) + lines(2))
    (tmp_path / "combined_data_2.txt").write_text(lines(3) + lines(4))
    (tmp_path / "movie_titles.csv").write_bytes(TITLES)
    return tmp_path


def test_what_a_film_is(folder: Path) -> None:
    items = open_source(f"netflix:{folder},dimensions=3,alpha=1")
    assert items.ids == ("3", "1", "4", "2")
    assert [dict(item.fields) for item in items] == [
        {"title": "Pokémon, l'été", "year": 1983},
        {"title": "Dinosaur Planet", "year": 2003},
        {"title": "Heat", "year": 1999},
        {"title": "I, the Jury, again", "year": None},
    ]
    assert items[0].text == "title: Pokémon, l'été\nyear: 1983"
    assert items[3].text == "title: I, the Jury, again"
    assert items.target_names == ("dimension_1", "dimension_2", "dimension_3")
    triples = [(film - 1, user, rating) for film, rated in FILMS.items() for user, rating in rated]
    films, users, values = zip(*triples, strict=True)
    numbered = np.unique(users, return_inverse=True)[1]
    assert items.targets is not None
    expected = item_embeddings(ratings_matrix(films, numbered, values), 3, 1.0)[[2, 0, 3, 1]]
    np.testing.assert_allclose(items.targets, expected, atol=1e-12)


def test_one_file_a_film_is_the_same(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("prize")
    (other / "training_set").mkdir()
    for film in FILMS:
        (other / "training_set" / f"mv_{film:07}.txt").write_bytes(lines(film).replace("\n", "\r\n").encode())
    (other / "movie_titles.txt").write_bytes(TITLES)
    source = f"netflix:{other},dimensions=2"
    assert open_source(source).fingerprint() == netflix_items(folder, dimensions=2).fingerprint()
    assert open_like(source, open_source(source).schema).fingerprint() == open_source(source).fingerprint()


def matrix_of(folder: Path) -> tuple[IntArray, Any]:
    """What the files hold, as one matrix in memory."""
    return read_ratings(training_files(folder))


@pytest.mark.parametrize("block", [64, 100, 257])
def test_films_that_lie_across_the_pieces_read_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = matrix_of(folder)
    monkeypatch.setattr(ratings, "_BLOCK", block)
    ids, pieces = matrix_of(folder)
    np.testing.assert_array_equal(ids, whole[0])
    np.testing.assert_array_equal(pieces.toarray(), whole[1].toarray())
    # Users in the order of their numbers: 7, 12, 30878, 1488844, 2649429.
    np.testing.assert_array_equal(pieces.toarray(), [[5, 0, 0, 1, 3], [4, 0, 0, 0, 0], [2, 5, 5, 4, 1], [3, 1, 3, 0, 0]])


def test_a_film_that_nobody_rated_and_blank_lines(folder: Path) -> None:
    (folder / "combined_data_1.txt").write_text(f"\n{lines(1)}\n5:\n\n{lines(2)}\n")
    ids, matrix = matrix_of(folder)
    assert ids.tolist() == [1, 5, 2, 3, 4]
    assert np.diff(matrix.indptr).tolist() == [3, 0, 1, 5, 3]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("12,6,2005-09-06", 3),
        ("12,0,2005-09-06", 3),
        ("12,3.5,2005-09-06", 3),
        ("12,,2005-09-06", 3),
        ("x,3,2005-09-06", 3),
        ("0,3,2005-09-06", 3),
        ("2649430,3,2005-09-06", 3),
        ("99999999999,3,2005-09-06", 3),
        ("12,3", 3),
        ("12,3,2005-09-06,1", 3),
        ("\n\nfilm 2:", 5),
    ],
)
def test_a_broken_rating_says_its_line(folder: Path, line: str, place: int) -> None:
    (folder / "combined_data_1.txt").write_text(f"1:\n7,5,2005-09-06\n{line}\n8,5,2005-09-06\n")
    with pytest.raises(
        InputError, match=rf"combined_data_1\.txt: line {place}: expected 'MovieID:', or user,rating,date"
    ) as error:
        netflix_items(folder)
    assert repr(line.strip()) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("combined_data_1.txt", "", r"combined_data_1\.txt: expected lines 'MovieID:'.*, found none"),
        ("combined_data_1.txt", "1:\n2:\n", "found none"),
        (
            "combined_data_1.txt",
            "7,5,2005-09-06\n1:\n8,5,2005-09-06\n",
            "expected the first line to be 'MovieID:', found a rating",
        ),
        ("combined_data_1.txt", "7,5,2005-09-06\n", "expected the first line to be 'MovieID:', found a rating"),
        ("combined_data_1.txt", "4:\n7,5,2005-09-06\n", r"combined_data_2\.txt: movie 4 was there before"),
        ("combined_data_1.txt", "1:\n8,5,2005-09-06\n7,5,2005-09-06\n8,4,2005-09-07\n", "user 8 has rated movie 1 twice"),
        ("combined_data_1.txt", "9:\n7,5,2005-09-06\n", r"movie_titles\.csv: movie 9 is rated, but is not in this file"),
        ("combined_data_1.txt", "99999999999:\n7,5,2005-09-06\n", "line 1: expected 'MovieID:'"),
        ("movie_titles.csv", "", r"movie_titles\.csv: the file is empty"),
        ("movie_titles.csv", "1,2003,A\n2,2003\n", "line 2: expected movie,year,title with a year or NULL"),
        ("movie_titles.csv", "1,2003,A\n2,200x,B\n", r"line 2: .* found '2,200x,B'"),
        ("movie_titles.csv", "1,2003,A\n1,2003,A\n", "line 2: .* each movie once"),
        ("movie_titles.csv", "one,2003,A\n", "line 1: expected movie"),
    ],
)
def test_broken_files(folder: Path, name: str, content: str, expected: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=expected):
        netflix_items(folder, dimensions=2)


def test_users_who_come_again_in_the_next_film_are_not_twice_there(folder: Path) -> None:
    # The last user of film 2 is the first of film 3, with a film that nobody rated between them.
    (folder / "combined_data_1.txt").write_text("1:\n7,5,d\n12,1,d\n5:\n2:\n12,4,d\n")
    (folder / "combined_data_2.txt").write_text("3:\n12,3,d\n12,2,d\n")
    with pytest.raises(InputError, match="user 12 has rated movie 3 twice"):
        netflix_items(folder, dimensions=2)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected combined_data_\*\.txt or training_set/mv_\*\.txt .*, found no such folder"):
        netflix_items(tmp_path / "nowhere")
    (folder / "movie_titles.csv").unlink()
    with pytest.raises(InputError, match=r"expected movie_titles\.csv or movie_titles\.txt in this folder, found neither"):
        netflix_items(folder)


@pytest.mark.parametrize(
    ("items", "dimensions", "alpha", "expected"),
    [(512, 32, 2.0, "alpha must be from 0 to 1"), (512, 0, 0.0, "at least 1 dimension"), (0, 32, 0.0, "at least 2 items")],
)
def test_numbers_are_checked_before_anything_is_read(
    tmp_path: Path, items: int, dimensions: int, alpha: float, expected: str
) -> None:
    with pytest.raises(OptionError, match=expected):
        netflix_items(tmp_path, items, dimensions, alpha)
