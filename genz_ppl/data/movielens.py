"""Films of the MovieLens data sets, explained by who likes what: targets are embeddings of their ratings (section 5.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from genz_ppl.data.embeddings import ratings_matrix
from genz_ppl.data.items import Items
from genz_ppl.data.ratings import LARGEST_ID, Column, Layout, Rated, check_numbers, dimension_names, read_names, stream_ratings
from genz_ppl.data.reading import read_table as read_source
from genz_ppl.data.spooled import Batch, RatedTwiceError, SpooledMatrix, gathered
from genz_ppl.data.values import listing, number, shorten
from genz_ppl.errors import InputError
from genz_ppl.types import IntArray

if TYPE_CHECKING:
    from scipy import sparse

RATINGS_FILES = ("ratings.parquet", "ratings.csv", "ratings.dat", "u.data")
MOVIES_FILES = ("movies.csv", "movies.dat", "u.item")
PLOTS_FILE = "movies_extrainfos.dat"

_ID = Column(1, LARGEST_ID)
_COLUMNS = {"user": _ID, "movie": _ID, "rating": Column(0.5, 5.0, whole=False)}
_EXPECTED = "{} with ids from 1 and a rating from 0.5 to 5"
_DAT = Layout(":", ("user", "_1", "movie", "_2", "rating", "_3", "time"), _COLUMNS, _EXPECTED.format("user::movie::rating::time"))
_TAB = Layout("\t", ("user", "movie", "rating", "time"), _COLUMNS, _EXPECTED.format("user, movie, rating, time by tabs"))
_CSV_NAMES = {"user": "userId", "movie": "movieId", "rating": "rating"}
_TITLE = re.compile(r"(.*\S)\s*\(\s*([0-9]{4})\s*(?:[-–—]\s*[0-9]{0,4})?\s*\)")
_FLAGS = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_EXTRA = {"director": 6, "actors": 8, "plot": 9}
_EXTRA_CELLS = 11
_NOTHING = frozenset({"", "N/A", "(no genres listed)", "unknown"})


@dataclass(frozen=True)
class Movie:
    """A film's title without the year, its year, and its genres as "Comedy, Drama"; None where missing."""

    title: str
    year: int | None
    genres: str | None


def movielens_items(
    directory: str | Path,
    n_items: int = 512,
    dimensions: int = 32,
    alpha: float = 0.0,
    genres: bool = False,
    plots: bool = False,
) -> Items:
    """The most rated films with the embeddings of their ratings as targets `dimension_1` … `dimension_D`.

    directory: holds a MovieLens data set as GroupLens gives it out: u.data and u.item (100K), ratings.dat and movies.dat (1M,
    10M), ratings.csv and movies.csv (all others), or ratings.parquet with the columns user, movie and rating. n_items: the
    films taken, most ratings first, equals by id; all, if there are fewer. dimensions, alpha: see
    `genz_ppl.data.embeddings.item_embeddings`, which sees the ratings of all films. A model reads title and year, with
    genres=True the genres too, with plots=True genres, director, actors and plot from movies_extrainfos.dat beside them. The
    ids are the numbers of the films in the data set. Nothing of the users is kept.

    Raises InputError if files are missing or broken, OptionError for numbers out of range.
    """
    frame = movielens_frame(directory, n_items, dimensions, alpha, plots)
    text = ("title", "year", *(("genres",) if genres or plots else ()), *(_EXTRA if plots else ()))
    roles: dict[str, Any] = {"id": "movie", "target": dimension_names(dimensions), "text": text}
    return Items.from_frame(frame.set_index("movie", drop=False), **roles, name="movielens").as_embedding()


def movielens_frame(
    directory: str | Path, n_items: int = 512, dimensions: int = 32, alpha: float = 0.0, plots: bool = False
) -> pd.DataFrame:
    """One row per film: movie, title, year, genres, with plots=True director, actors and plot, and the D dimensions."""
    check_numbers(n_items, dimensions, alpha)
    folder = Path(directory).expanduser()
    ratings_file, movies_file = _one_of(folder, RATINGS_FILES), _one_of(folder, MOVIES_FILES)
    movies = read_movies(movies_file)
    extras = _extras(folder / PLOTS_FILE) if plots else {}
    ids, ratings = read_ratings(ratings_file)
    unknown = next((movie for movie in ids.tolist() if movie not in movies), None)
    if unknown is not None:
        raise InputError(
            f"{movies_file}: movie {unknown} is rated in {ratings_file.name}, but is not in this file; "
            "take both from the same data set"
        )
    rated = Rated.of(ids, ratings, dimensions, alpha)
    chosen = rated.most_rated(n_items)
    numbers = ids[chosen].tolist()
    columns: dict[str, list[str | int | None]] = {
        name: [getattr(movies[movie], name) for movie in numbers] for name in ("title", "year", "genres")
    }
    if plots:
        columns |= {name: [extras.get(movie, {}).get(name) for movie in numbers] for name in _EXTRA}
    return rated.frame(chosen, columns)


def folder_ratings(directory: str | Path) -> tuple[IntArray, IntArray, sparse.csr_array]:
    """As `read_table`, of the file in a MovieLens folder."""
    return read_table(_one_of(Path(directory).expanduser(), RATINGS_FILES))


def read_ratings(file: Path) -> tuple[IntArray, sparse.csr_array | SpooledMatrix]:
    """The films' ids, (N,), rising, and the (N, M) matrix of their ratings, on disk where there are more than 30 million.

    Raises InputError for any fault of the file.
    """
    try:
        found = gathered(_batches(file))
    except RatedTwiceError as error:
        raise InputError(f"{file}: {error}") from None
    if isinstance(found, SpooledMatrix):
        return found.ids, found
    ids, _, matrix = _table(file, found)
    return ids, matrix


def read_table(file: Path) -> tuple[IntArray, IntArray, sparse.csr_array]:
    """As `read_ratings`, with the users' ids, (M,), before the matrix, which is in memory."""
    return _table(file, list(_batches(file)))


def _batches(file: Path) -> Iterator[Batch]:
    return _parquet(file) if file.suffix == ".parquet" else stream_ratings(file, _layout(file))


def _table(file: Path, parts: list[Batch]) -> tuple[IntArray, IntArray, sparse.csr_array]:
    users, movies, values = (np.concatenate([part[name] for part in parts]) for name in ("user", "movie", "rating"))
    parts.clear()
    rows, ids = pd.factorize(movies, sort=True)
    columns, known = pd.factorize(users)
    try:
        matrix = ratings_matrix(rows, columns, values)
    except InputError:  # two ratings of one pair: say it in the file's own numbers
        twice = int(np.flatnonzero(pd.DataFrame({"row": rows, "column": columns}).duplicated())[0])
        pair = f"user {known[columns[twice]]} has rated movie {ids[rows[twice]]} twice"
        raise InputError(f"{file}: rating {twice + 1}: {pair}; keep one of the two") from None
    return np.asarray(ids, dtype=np.int64), np.asarray(known, dtype=np.int64), matrix


def read_movies(file: Path) -> dict[int, Movie]:
    """The films of movies.csv, movies.dat or u.item by id. Raises InputError with the place of the first broken line."""
    if file.suffix == ".csv":
        table = read_source(file, kind=".csv")
        missing = [name for name in ("movieId", "title", "genres") if name not in table.columns]
        if missing:
            raise InputError(f"{file}: expected the columns movieId, title and genres, found {listing(table.columns)}; add them")
        cells = zip(*(map(str, table.cells(name)) for name in ("movieId", "title", "genres")), strict=True)
        lines = [(f"row {row}", list(found)) for row, found in enumerate(cells, start=1)]
        expected, genres_of = "a movieId and a title", _listed_genres
    elif file.suffix == ".dat":
        lines = [(place, _three(line)) for place, line in _numbered(file)]
        expected, genres_of = "movie::title::genres", _listed_genres
    else:
        lines = [(place, line.split("|")) for place, line in _numbered(file)]
        expected, genres_of = f"movie|title|released|video|address and {len(_FLAGS)} genres of 0 or 1", _flagged_genres
    movies: dict[int, Movie] = {}
    for place, parts in lines:
        try:
            movie, genres = _identity(parts[0]), genres_of(parts)
            if not parts[1].strip() or movie in movies:
                raise ValueError
        except (ValueError, IndexError):
            raise InputError(
                f"{file}: {place}: expected {expected}, each movie once, found {shorten(' '.join(parts))}; restore the line"
            ) from None
        named = _TITLE.fullmatch(parts[1].strip())
        title, year = (named[1], int(named[2])) if named else (parts[1].strip(), None)
        movies[movie] = Movie(title, year, ", ".join(genres) or None)
    return movies


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = listing(sorted(path.name for path in folder.iterdir()), most=6) if folder.is_dir() else "no such folder"
    raise InputError(
        f"{folder}: expected {', '.join(names[:-1])} or {names[-1]} in this folder, found {found or 'nothing'}; "
        "name the folder of a MovieLens data set"
    )


def _layout(file: Path) -> Layout:
    if file.suffix != ".csv":
        return _DAT if file.suffix == ".dat" else _TAB
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        header = tuple(name.strip() for name in lines.readline().split(","))
    if not set(_CSV_NAMES.values()) <= set(header) or len(set(header)) < len(header):
        expected = f"expected a header with {', '.join(_CSV_NAMES.values())}, each once"
        raise InputError(f"{file}: {expected}, found {shorten(','.join(header))}; correct the first line")
    names = {written: name for name, written in _CSV_NAMES.items()}
    return Layout(",", tuple(names.get(name, name) for name in header), _COLUMNS, _EXPECTED.format(",".join(header)), skip=1)


def _parquet(file: Path) -> Iterator[Batch]:
    try:
        source = parquet.ParquetFile(file)
        names = source.schema_arrow.names
    except (OSError, pyarrow.ArrowException):
        names = read_source(file, kind=".parquet").columns  # says what is wrong with the file
    columns: dict[str, str] = {}
    for name, official in _CSV_NAMES.items():
        column = next((known for known in (name, official) if known in names), None)
        if column is None:
            raise InputError(f"{file}: expected the columns user, movie and rating, found {listing(names)}; rename them")
        columns[name] = column
    before = 0
    for batch in source.iter_batches(columns=list(columns.values())):
        yield {name: _numbers(file, name, batch.column(column), column, before) for name, column in columns.items()}
        before += batch.num_rows


def _numbers(file: Path, name: str, cells: pyarrow.Array, column: str, before: int) -> np.ndarray:
    """A column of a batch as its type says; before: how many rows come before the batch."""
    try:
        values = cells.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowException:
        values = np.array([_number(cell) for cell in cells.to_pylist()], dtype=np.float64)
    rule = _COLUMNS[name]
    faulty = ~((values >= rule.least) & (values <= rule.most)) | (rule.whole & (values != np.round(values)))
    if faulty.any():
        row = int(np.flatnonzero(faulty)[0])
        kind = f"a {'whole ' if rule.whole else ''}number from {rule.least:g} to {rule.most:.10g}"
        cell = shorten(cells[row].as_py())
        place = f"row {before + row + 1}, column {shorten(column)}"
        raise InputError(f"{file}: {place}: expected {kind}, found {cell}; correct the cell")
    typed: np.ndarray = values.astype(np.int32 if rule.whole else np.float32)
    return typed


def _number(cell: object) -> float:
    try:
        return number(cell)
    except (ValueError, TypeError):
        return np.nan


def _numbered(file: Path) -> list[tuple[str, str]]:
    return [(f"line {row}", line) for row, line in enumerate(read_names(file), start=1) if line.strip()]


def _three(line: str) -> list[str]:
    """movie, title and genres of "movie::title::genres", where the title may hold colons."""
    first, _, rest = line.partition("::")
    title, separator, genres = rest.rpartition("::")
    return [first, title, genres] if separator else [line]


def _identity(cell: str) -> int:
    if not _ID.reads(cell):
        raise ValueError
    return int(cell)


def _listed_genres(parts: Sequence[str]) -> list[str]:
    return [genre for genre in parts[2].split("|") if genre not in _NOTHING]


def _flagged_genres(parts: Sequence[str]) -> list[str]:
    flags = parts[5:]
    if len(flags) != len(_FLAGS) or not set(flags) <= {"0", "1"}:
        raise ValueError
    return [genre for genre, flag in zip(_FLAGS, flags, strict=True) if flag == "1" and genre not in _NOTHING]


def _extras(file: Path) -> dict[int, dict[str, str | None]]:
    """Director, actors and plot by movie."""
    if not file.is_file():
        raise InputError(f"{file}: there is no such file, and the plots are in it; add it or take the films without plots")
    extras: dict[int, dict[str, str | None]] = {}
    for place, line in _numbered(file):
        cells = line.split("::")
        if len(cells) != _EXTRA_CELLS or not _ID.reads(cells[0]):
            expected = f"{_EXTRA_CELLS} cells with :: between them, the first a movie"
            raise InputError(f"{file}: {place}: expected {expected}, found {shorten(line)}; restore the line")
        extras[int(cells[0])] = {
            name: None if cells[place_of].strip() in _NOTHING else cells[place_of].strip() for name, place_of in _EXTRA.items()
        }
    return extras
