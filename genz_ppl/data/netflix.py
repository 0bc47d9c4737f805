"""Films of the Netflix Prize, explained by who likes what: the paper's third experiment (section 5.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.data.items import Items
from genz_ppl.data.ratings import LARGEST_ID, Column, Layout, Rated, check_numbers, dimension_names, read_names, stream_ratings
from genz_ppl.data.spooled import Batch, SpooledMatrix, gathered
from genz_ppl.data.values import listing, shorten
from genz_ppl.errors import InputError
from genz_ppl.types import IntArray

if TYPE_CHECKING:
    from scipy import sparse

TITLES_FILES = ("movie_titles.csv", "movie_titles.txt")
LARGEST_USER = 2_649_429  # of the 480 189 in the data set

_LAYOUT = Layout(
    ",",
    ("user", "rating", "date"),
    {"user": Column(1, LARGEST_USER), "rating": Column(1, 5)},
    f"'MovieID:', or user,rating,date with a user from 1 to {LARGEST_USER} and a rating from 1 to 5",
    headings=re.compile(r"[0-9]{1,9}:"),
)
_MISSING_YEAR = frozenset({"", "NULL"})


def netflix_items(directory: str | Path, n_items: int = 512, dimensions: int = 32, alpha: float = 0.0) -> Items:
    """The most rated films with the embeddings of their ratings as targets `dimension_1` … `dimension_D`.

    directory: holds the Netflix Prize's own files: combined_data_1.txt and so on, or training_set/ with one mv_*.txt per
    film; and movie_titles.csv (or .txt). n_items: the films taken, most ratings first, equals by number; all, if there are
    fewer. dimensions, alpha: see `genz_ppl.data.embeddings.item_embeddings`, which sees the ratings of all films. A model
    reads title and year, the year of the film or, for some, of its DVD. The ids are the films' numbers. Nothing of the users
    is kept.

    The files are read in pieces; more than 30 million ratings go through a temporary folder (12 bytes each) instead of memory.
    Raises InputError if files are missing or broken, OptionError for numbers out of range.
    """
    frame = netflix_frame(directory, n_items, dimensions, alpha)
    return Items.from_frame(
        frame.set_index("movie", drop=False),
        id="movie",
        target=dimension_names(dimensions),
        text=("title", "year"),
        name="netflix",
    ).as_embedding()


def netflix_frame(directory: str | Path, n_items: int = 512, dimensions: int = 32, alpha: float = 0.0) -> pd.DataFrame:
    """One row per film: movie, title, year and the D dimensions."""
    check_numbers(n_items, dimensions, alpha)
    folder = Path(directory).expanduser()
    files = training_files(folder)
    titles_file = next((folder / name for name in TITLES_FILES if (folder / name).is_file()), None)
    if titles_file is None:
        raise InputError(f"{folder}: expected {' or '.join(TITLES_FILES)} in this folder, found neither; add the titles")
    titles = read_titles(titles_file)
    ids, ratings = read_ratings(files)
    unknown = next((movie for movie in ids.tolist() if movie not in titles), None)
    if unknown is not None:
        raise InputError(f"{titles_file}: movie {unknown} is rated, but is not in this file; take all files from one data set")
    rated = Rated.of(ids, ratings, dimensions, alpha)
    chosen = rated.most_rated(n_items)
    numbers = ids[chosen].tolist()
    return rated.frame(
        chosen, {"title": [titles[movie][0] for movie in numbers], "year": [titles[movie][1] for movie in numbers]}
    )


def training_files(folder: Path) -> list[Path]:
    """The files of ratings in a folder, by name. Raises InputError if there are none."""
    for pattern in ("combined_data_*.txt", "training_set/mv_*.txt", "mv_*.txt"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    found = listing(sorted(path.name for path in folder.iterdir()), most=6) if folder.is_dir() else "no such folder"
    expected = "expected combined_data_*.txt or training_set/mv_*.txt in this folder"
    raise InputError(f"{folder}: {expected}, found {found or 'nothing'}; name the folder of the Netflix Prize's files")


def read_titles(file: Path) -> dict[int, tuple[str, int | None]]:
    """Title and year of each film; the year is None where it says NULL. Raises InputError with the first broken line."""
    titles: dict[int, tuple[str, int | None]] = {}
    for row, line in enumerate(read_names(file), start=1):
        if not line.strip():
            continue
        movie, _, rest = line.partition(",")
        year, _, title = (part.strip() for part in rest.partition(","))  # titles hold commas, without quotes
        known_year = year in _MISSING_YEAR or re.fullmatch("[0-9]{4}", year)
        if not known_year or not title or not _is_movie(movie) or int(movie) in titles:
            expected = "expected movie,year,title with a year or NULL, each movie once"
            raise InputError(f"{file}: line {row}: {expected}, found {shorten(line)}; restore the line")
        titles[int(movie)] = (title, None if year in _MISSING_YEAR else int(year))
    return titles


def folder_ratings(directory: str | Path) -> tuple[IntArray, IntArray, sparse.csr_array]:
    """As `read_table`, of the files in a folder."""
    return read_table(training_files(Path(directory).expanduser()))


def read_ratings(files: Sequence[Path]) -> tuple[IntArray, sparse.csr_array | SpooledMatrix]:
    """The films' numbers, (N,), and the (N, M) matrix of their ratings, films by users; on disk where there are more than 30
    million. Raises InputError for any fault.
    """
    movies: dict[int, int] = {}
    found = gathered(_batches(files, movies))
    if isinstance(found, SpooledMatrix):
        return found.ids, found
    ids, _, matrix = _table(found, movies)
    return ids, matrix


def read_table(files: Sequence[Path]) -> tuple[IntArray, IntArray, sparse.csr_array]:
    """As `read_ratings`, with the users' numbers, (M,), before the matrix, which is in memory."""
    movies: dict[int, int] = {}
    return _table(list(_batches(files, movies, with_movies=False)), movies)


def _batches(files: Sequence[Path], movies: dict[int, int], with_movies: bool = True) -> Iterator[Batch]:
    """Batches of user, rating and, with_movies, movie. movies: gets each film, and how many ratings come before its own."""
    n_ratings = 0
    for file in files:
        headings: list[tuple[int, str]] = []
        first, noted = n_ratings, 0
        for batch in stream_ratings(file, _LAYOUT, headings):
            for lines, text in headings[noted:]:
                if (movie := int(text[:-1])) in movies:
                    raise InputError(f"{file}: movie {movie} was there before; keep one of the two")
                movies[movie] = first + lines
            noted = len(headings)
            if not headings or headings[0][0] > 0:
                raise InputError(f"{file}: expected the first line to be 'MovieID:', found a rating; restore the line")
            found = {"user": batch["user"], "rating": batch["rating"].astype(np.int8)}
            if with_movies:
                starts, ids = np.array([*movies.values()]), np.array([*movies], dtype=np.int32)
                lines_of_batch = np.arange(n_ratings, n_ratings + len(batch["user"]))
                found["movie"] = ids[np.searchsorted(starts, lines_of_batch, side="right") - 1]
            n_ratings += len(batch["user"])
            yield found


def _table(parts: list[Batch], movies: dict[int, int]) -> tuple[IntArray, IntArray, sparse.csr_array]:
    """The parts are emptied on the way."""
    users, values = [part["user"] for part in parts], [part["rating"] for part in parts]
    parts.clear()
    starts = np.array([*movies.values(), sum(map(len, users))])
    ids = np.array(list(movies), dtype=np.int64)
    return ids, *_matrix(users, values, starts, ids)


def _matrix(
    users: list[NDArray[np.int32]], values: list[NDArray[np.int8]], starts: IntArray, ids: IntArray
) -> tuple[IntArray, sparse.csr_array]:
    """The users' numbers and the matrix. What the files hold is one but for its types; both lists are emptied on the way."""
    from scipy import sparse

    present = np.zeros(LARGEST_USER + 1, dtype=np.bool_)
    for part in users:
        present[part] = True
    place = np.cumsum(present, dtype=np.int32) - np.int32(1)
    columns, entries = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1])
    first = 0
    users.reverse()
    values.reverse()
    while users:
        last = first + len(users[-1])
        columns[first:last] = place[users.pop()]
        entries[first:last] = values.pop()
        first = last
    matrix = sparse.csr_array((entries, columns, starts.astype(np.int32)), shape=(len(ids), int(present.sum())))
    matrix.sort_indices()  # products with the matrix are faster so
    if not matrix.has_canonical_format:
        same = np.diff(matrix.indices) == 0
        same[starts[1:-1][(starts[1:-1] > 0) & (starts[1:-1] < starts[-1])] - 1] = False  # two films, not one
        where = int(np.flatnonzero(same)[0])
        movie = ids[np.searchsorted(starts, where, side="right") - 1]
        user = np.flatnonzero(present)[matrix.indices[where]]
        raise InputError(f"user {user} has rated movie {movie} twice; keep one of the two ratings")
    return np.flatnonzero(present), matrix


def _is_movie(cell: str) -> bool:
    return cell.strip().isdecimal() and cell.isascii() and 1 <= int(cell) <= LARGEST_ID
