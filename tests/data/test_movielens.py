from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Items, open_like, open_source
from genz_ppl.data.embeddings import item_embeddings, ratings_matrix
from genz_ppl.data.movielens import movielens_items
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray

# Four films and six users; film 30 has most ratings, 20 and 10 as many as each other, 40 one.
RATINGS = [
    (1, 30, 5), (2, 30, 4), (3, 30, 3), (4, 30, 5), (5, 30, 1), (1, 20, 4), (2, 20, 2), (6, 20, 5), (3, 10, 1), (5, 10, 4),
    (6, 10, 3), (4, 40, 2),
]  # fmt: skip
IDS = ("30", "10", "20", "40")
FIELDS: list[dict[str, str | int | None]] = [
    {"title": "Amélie", "year": 2001, "genres": "Comedy, Romance"},
    {"title": "Heat", "year": 1995, "genres": "Action"},
    {"title": "M: Who, exactly?", "year": 1931, "genres": None},
    {"title": "Untitled", "year": None, "genres": "Drama"},
]
Writer = Callable[[Path], None]


def write_100k(folder: Path, encoding: str = "latin-1") -> None:
    lines = [f"{user}\t{movie}\t{rating}\t881250949\n" for user, movie, rating in RATINGS]
    (folder / "u.data").write_text("".join(lines))
    flags = {"Comedy, Romance": "0000010000000010000", "Action": "0100000000000000000", "Drama": "0000000010000000000"}
    rows = []
    for movie, film in zip(IDS, FIELDS, strict=True):
        title = str(film["title"]) if film["year"] is None else f"{film['title']} ({film['year']})"
        genres = flags.get(str(film["genres"]), "1000000000000000000")
        rows.append("|".join([movie, title, "01-Jan-1995", "", "http://x", *genres]))
    (folder / "u.item").write_bytes("\n".join(rows).encode(encoding))


def write_1m(folder: Path, encoding: str = "latin-1", halves: float = 0.0) -> None:
    lines = [f"{user}::{movie}::{rating - halves:g}::978300760" for user, movie, rating in RATINGS]
    (folder / "ratings.dat").write_text("\r\n".join(lines))
    rows = (
        "10::Heat (1995)::Action\n20::M: Who, exactly? (1931)::(no genres listed)\n\n"
        "30::Amélie (2001)::Comedy|Romance\n40::Untitled::Drama\n99::Never rated (2000)::Drama\n"
    )
    (folder / "movies.dat").write_bytes(rows.encode(encoding))


def write_csv(folder: Path) -> None:
    lines = ["userId,movieId,rating,timestamp", *(f"{user},{movie},{rating}.0,1" for user, movie, rating in RATINGS)]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    rows = (
        'movieId,title,genres\n10,Heat (1995),Action\n20,"M: Who, exactly? (1931–)",(no genres listed)\n'
        "30,Amélie (2001) ,Comedy|Romance\n40,Untitled,Drama\n"
    )
    (folder / "movies.csv").write_text(rows, encoding="utf-8")


def write_parquet(folder: Path) -> None:
    write_1m(folder)
    (folder / "ratings.dat").unlink()
    pd.DataFrame(RATINGS, columns=["user", "movie", "rating"], dtype="int16").to_parquet(folder / "ratings.parquet")


def expected_targets(dimensions: int, alpha: float, halves: float = 0.0) -> FloatArray:
    users, movies, ratings = (np.array(column) for column in zip(*RATINGS, strict=True))
    matrix = ratings_matrix(movies // 10 - 1, users - 1, ratings - halves)
    return item_embeddings(matrix, dimensions, alpha)[[2, 0, 1, 3]]


def check_films(items: Items) -> None:
    assert items.ids == IDS  # by ratings, equals by number
    assert [dict(item.fields) for item in items] == FIELDS
    assert items[0].text == "title: Amélie\nyear: 2001\ngenres: Comedy, Romance"
    assert items[3].text == "title: Untitled\ngenres: Drama"
    assert type(items[0].fields["year"]) is int


@pytest.mark.parametrize(
    "write",
    [write_100k, write_1m, write_csv, write_parquet, partial(write_100k, encoding="utf-8"), partial(write_1m, encoding="utf-8")],
    ids=["100K", "1M", "csv", "parquet", "100K in UTF-8", "10M"],
)
def test_every_official_format_gives_the_same_films(tmp_path: Path, write: Writer) -> None:
    write(tmp_path)
    items = open_source(f"movielens-genres:{tmp_path},dimensions=3,alpha=0.5")
    check_films(items)
    assert items.target_names == ("dimension_1", "dimension_2", "dimension_3")
    assert items.targets is not None
    np.testing.assert_allclose(items.targets, expected_targets(3, 0.5), atol=1e-12)
    assert items.covariates.shape == (4, 0)


def test_half_stars(tmp_path: Path) -> None:
    write_1m(tmp_path, halves=0.5)
    targets = movielens_items(tmp_path, dimensions=2, alpha=1.0).targets
    assert targets is not None
    np.testing.assert_allclose(targets, expected_targets(2, 1.0, halves=0.5), atol=1e-12)


def test_fewer_items_leave_their_embeddings_as_they_are(tmp_path: Path) -> None:
    write_csv(tmp_path)
    items = open_source(f"movielens:{tmp_path},items=2,dimensions=4")
    assert items.ids == ("30", "10")
    assert [dict(item.fields) for item in items] == [{"title": "Amélie", "year": 2001}, {"title": "Heat", "year": 1995}]
    assert items.targets is not None
    np.testing.assert_allclose(items.targets, expected_targets(4, 0.0)[:2], atol=1e-12)


def extras(*films: tuple[int, str, str, str]) -> str:
    return "".join(f"{film}::T::1::R::1 Jan::Drama::{who}::W::{cast}::{plot}::http\r\n" for film, who, cast, plot in films)


def test_plots(tmp_path: Path) -> None:
    write_1m(tmp_path)
    text = extras((30, "Jeunet", "Audrey Tautou", "A café: a waitress."), (10, "Mann", "N/A", "N/A"), (77, "X", "Y", "Z"))
    (tmp_path / "movies_extrainfos.dat").write_text(text, encoding="utf-8")
    items = open_source(f"movielens-plots:{tmp_path},dimensions=2")
    assert [list(item.fields.values())[3:] for item in items] == [
        ["Jeunet", "Audrey Tautou", "A café: a waitress."], ["Mann", None, None], [None] * 3, [None] * 3
    ]  # fmt: skip
    assert items[0].text.endswith("genres: Comedy, Romance\ndirector: Jeunet\nactors: Audrey Tautou\nplot: A café: a waitress.")
    assert list(items[0].fields) == ["title", "year", "genres", "director", "actors", "plot"]


def test_the_same_source_for_prediction(tmp_path: Path) -> None:
    write_1m(tmp_path)
    for source in (f"movielens:{tmp_path},dimensions=2", f"movielens-genres:{tmp_path},dimensions=2"):
        items = open_source(source)
        assert open_like(source, items.schema).fingerprint() == items.fingerprint()
    more = open_like(f"movielens:{tmp_path},items=3,dimensions=2", items.schema)  # trained with genres: they are there
    assert more.ids == IDS[:3]
    with pytest.raises(InputError, match=r"no column 'director' \(text\)"):
        open_like(f"movielens:{tmp_path},dimensions=2", open_plots(tmp_path).schema)


def open_plots(folder: Path) -> Items:
    (folder / "movies_extrainfos.dat").write_text(extras((30, "A", "B", "C")))
    return movielens_items(folder, dimensions=2, plots=True)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("1::x::4::9", "line 2"),
        ("1::30::4", "line 2"),
        ("1::30::4::9::9", "line 2"),
        ("1::30::five::9", "line 2"),
        ("1::30::nan::9", "line 2"),
        ("1::30::0::9", "line 2"),
        ("1::30::5.5::9", "line 2"),
        ("1::-30::5::9", "line 2"),
        ("1::30.5::5::9", "line 2"),
        ("99999999999::30::5::9", "line 2"),
        ("::30::5::9", "line 2"),
        ("\n\n1 30 5 9", "line 4"),
    ],
)
def test_a_broken_rating_says_its_line(tmp_path: Path, line: str, place: str) -> None:
    write_1m(tmp_path)
    (tmp_path / "ratings.dat").write_text(f"1::30::5::9\n{line}\n2::30::5::9\n")
    with pytest.raises(InputError, match=rf"ratings\.dat: {place}: expected user::movie::rating::time with ids from 1") as error:
        movielens_items(tmp_path)
    assert "\n" not in str(error.value)
    assert repr(line.strip()) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ratings.dat", "", r"ratings\.dat: expected lines user::movie::rating::time .*, found none"),
        ("ratings.dat", "\n\n", "found none"),
        ("ratings.dat", "1::30::5::9\n2::30::4::9\n1::30::5::9\n", "rating 3: user 1 has rated movie 30 twice; keep one"),
        ("ratings.dat", "1::77::5::9\n", r"movies\.dat: movie 77 is rated in ratings\.dat, but is not in this file"),
        ("movies.dat", "", r"movies\.dat: the file is empty"),
        (
            "movies.dat",
            "10::Heat (1995)::Action\n20:M\n",
            r"line 2: expected movie::title::genres, .*, found '20:M'",
        ),
        ("movies.dat", "10::Heat (1995)::Action\n10::Heat (1995)::Action\n", "line 2: .* each movie once"),
        ("movies.dat", "x::Heat (1995)::Action\n", "line 1: expected movie::title::genres"),
        ("movies.dat", "10::  ::Action\n", "line 1: expected movie::title::genres"),
        ("movies.dat", "10::Heat\n", "line 1: expected movie::title::genres"),
        ("movies.csv", "movieId,title\n1,x\n", "expected the columns movieId, title and genres, found movieId, title"),
        ("movies.csv", "movieId,title,genres\n0,x,y\n", "row 1: expected a movieId and a title, each movie once, found '0 x y'"),
        ("movies.csv", "movieId,title,genres\n1,x\n", "line 2 has 2 cells but the header has 3"),
        (
            "ratings.csv",
            "user,item,stars\n1,30,5\n",
            "expected a header with userId, movieId, rating, each once",
        ),
        ("ratings.csv", "userId,movieId,rating,rating\n1,30,5,5\n", "each once"),
        ("ratings.csv", "userId,movieId,rating\n1,30,5\n1,20\n", r"ratings\.csv: line 3: .* found '1,20'"),
        ("ratings.csv", "userId,movieId,rating\n", "found none"),
        ("movies_extrainfos.dat", "10::Heat\n", "line 1: expected 11 cells with :: between them"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: str, expected: str) -> None:
    write_1m(tmp_path)
    (tmp_path / "movies_extrainfos.dat").write_text(extras((30, "A", "B", "C")))
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=expected):
        movielens_items(tmp_path, dimensions=2, plots=True)


def test_a_movies_csv_that_is_not_utf8(tmp_path: Path) -> None:
    write_csv(tmp_path)
    (tmp_path / "movies.csv").write_bytes("movieId,title,genres\n30,Amélie (2001),Drama\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8, byte 0xe9 .* re-save the file as UTF-8"):
        movielens_items(tmp_path)


def test_flags_that_are_no_flags(tmp_path: Path) -> None:
    write_100k(tmp_path)
    (tmp_path / "u.item").write_text("10|Heat (1995)|01-Jan-1995||http|" + "|".join("02" + "0" * 17))
    with pytest.raises(InputError, match=r"u\.item: line 1: expected movie\|title\|released\|video\|address and 19 genres"):
        movielens_items(tmp_path)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"user": [1], "movie": [30]}, "expected the columns user, movie and rating, found user, movie"),
        ({"user": [1, 2], "movie": [30, 0], "rating": [5, 5]}, "row 2, column 'movie': expected a whole number from 1 to"),
        ({"user": [1, 2], "movie": [30, 30], "rating": [5, None]}, "row 2, column 'rating': expected a number from 0.5 to 5"),
        ({"user": [1.5, 2], "movie": [30, 30], "rating": [5, 4]}, "row 1, column 'user': expected a whole number .* found 1.5"),
        ({"user": ["1", "ann"], "movie": [30, 30], "rating": [5, 4]}, "row 2, column 'user': .* found 'ann'"),
    ],
)
def test_broken_parquet(tmp_path: Path, frame: dict[str, list[object]], expected: str) -> None:
    write_parquet(tmp_path)
    pd.DataFrame(frame).to_parquet(tmp_path / "ratings.parquet")
    with pytest.raises(InputError, match=expected):
        movielens_items(tmp_path)


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected ratings\.parquet, .* or u\.data in this folder, found no such folder"):
        movielens_items(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"in this folder, found nothing; name the folder of a MovieLens data set"):
        movielens_items(tmp_path)
    write_1m(tmp_path)
    with pytest.raises(InputError, match=r"movies_extrainfos\.dat: there is no such file, and the plots are in it"):
        open_source(f"movielens-plots:{tmp_path}")
    (tmp_path / "movies.dat").unlink()
    with pytest.raises(InputError, match=r"expected movies\.csv, movies\.dat or u\.item in this folder, found ratings\.dat"):
        movielens_items(tmp_path)


def test_numbers_out_of_range(tmp_path: Path) -> None:
    write_1m(tmp_path)
    with pytest.raises(OptionError, match=r"32 dimensions are too many: .* ask for at most 4"):
        movielens_items(tmp_path)
    with pytest.raises(OptionError, match="at least 2 items are needed, not 1"):
        movielens_items(tmp_path, n_items=1, dimensions=2)


def test_the_real_films(data_folder: Path) -> None:
    folder = data_folder / "ml-1m"
    if not folder.is_dir():
        pytest.skip(f"needs the MovieLens data, and there are none at {folder}")
    items = open_source(f"movielens-plots:{folder}")
    assert len(items) == 512
    assert dict(items[0].fields) | {"plot": ""} == {
        "title": "American Beauty", "year": 1999, "genres": "Comedy, Drama", "director": "Sam Mendes",
        "actors": "Kevin Spacey, Annette Bening, Thora Birch, Wes Bentley", "plot": "",
    }  # fmt: skip
    assert set(items.ids) == set(pd.read_csv(folder / "movies_top512.csv")["ml_id"].astype(str))
    assert all(item.fields["year"] for item in items)
    targets = items.targets
    assert targets is not None
    assert targets.shape == (512, 32)
    # The reference: the mean of the training items meets the others at a cosine of 0.195 over ten splits.
    cosines = []
    for seed in range(10):
        split = items.split_indices(seed)
        mean = targets[split.train].mean(axis=0)
        test = targets[split.test]
        cosines.append(np.mean(test @ mean / np.linalg.norm(test, axis=1) / np.linalg.norm(mean)))
    assert np.mean(cosines) == pytest.approx(0.195, abs=0.001)
