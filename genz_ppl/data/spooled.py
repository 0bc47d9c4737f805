"""More ratings than memory should hold: kept on disk, in parts that each have all ratings of some users."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import InputError
from genz_ppl.types import FloatArray, IntArray

if TYPE_CHECKING:
    from scipy import sparse

Batch = Mapping[str, NDArray[Any]]
# Up to so many ratings, as the matrix that a decomposition in memory takes (0.5 GB); parts on disk, each of a million or so.
LARGEST_IN_MEMORY, PARTS = 30_000_000, 96
_RATING = np.dtype([("movie", np.int32), ("user", np.int32), ("value", np.float32)])


class RatedTwiceError(InputError):
    """Two ratings of one film by one user."""


class RatingsOnDisk:
    """Takes ratings batch by batch, 12 bytes each in a temporary folder that goes when this does.

    All of a user's ratings are in one part, so a product with X X' is a sum over parts, whatever the number of users.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="genz-ratings-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._files = [Path(folder) / f"part-{part}" for part in range(PARTS)]
        self._ids, self._counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def add(self, movies: NDArray[Any], users: NDArray[Any], values: NDArray[Any]) -> None:
        """movies, users: (R,) their numbers in the files, from 1; values: (R,)."""
        found, counts = np.unique(movies, return_counts=True)
        ids = np.union1d(self._ids, found)
        total = np.zeros(len(ids), dtype=np.int64)
        total[np.searchsorted(ids, self._ids)] = self._counts
        total[np.searchsorted(ids, found)] += counts
        self._ids, self._counts = ids, total
        ratings = np.empty(len(movies), dtype=_RATING)
        ratings["movie"], ratings["user"], ratings["value"] = movies, users, values
        part = users % PARTS
        ratings = ratings[np.argsort(part, kind="stable")]
        edges = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=PARTS))])
        for number, file in enumerate(self._files):
            with file.open("ab") as out:
                ratings[edges[number] : edges[number + 1]].tofile(out)

    def finished(self) -> SpooledMatrix:
        """The matrix. Raises InputError for two ratings of one film by one user."""
        n_users = sum(self._settle(file) for file in self._files)
        return SpooledMatrix(self._ids, self._counts, n_users, self)

    def _settle(self, file: Path) -> int:
        """Sort a part by user and film, with the films' places in the matrix for their numbers; returns how many users it has."""
        ratings = np.fromfile(file, dtype=_RATING) if file.exists() else np.empty(0, dtype=_RATING)
        ratings["movie"] = np.searchsorted(self._ids, ratings["movie"])
        ratings = ratings[np.lexsort((ratings["movie"], ratings["user"]))]
        same = (np.diff(ratings["user"]) == 0) & (np.diff(ratings["movie"]) == 0)
        if same.any():
            twice = ratings[np.flatnonzero(same)[0]]
            pair = f"user {twice['user']} has rated movie {self._ids[twice['movie']]} twice"
            raise RatedTwiceError(f"{pair}; keep one of the two ratings")
        ratings.tofile(file)
        return len(np.unique(ratings["user"]))

    def parts(self, n_movies: int) -> Iterator[sparse.csr_array]:
        """The matrix in parts, users by films, float64; after `finished`."""
        from scipy import sparse

        for file in self._files:
            ratings = np.fromfile(file, dtype=_RATING)
            starts = np.flatnonzero(np.diff(ratings["user"], prepend=-1))
            bounds = np.append(starts, len(ratings))
            columns = np.ascontiguousarray(ratings["movie"])
            yield sparse.csr_array((ratings["value"].astype(np.float64), columns, bounds), shape=(len(starts), n_movies))


@dataclass(frozen=True)
class SpooledMatrix:
    """Ratings on disk as the (N, M) matrix X, films by users. ids: (N,), the films' numbers, rising; counts: (N,), of ratings."""

    ids: IntArray
    counts: IntArray
    n_users: int
    ratings: RatingsOnDisk

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        return len(self.ids), self.n_users

    def square(self, block: FloatArray) -> FloatArray:
        """X X' times a block of columns, (N, B), in one pass over the parts."""
        found = np.zeros_like(block)
        for part in self.ratings.parts(len(self.ids)):
            found += part.T @ (part @ block)
        return found


def gathered(batches: Iterable[Batch]) -> list[Batch] | SpooledMatrix:
    """Batches of movie, user and rating as they are, or, of more than `LARGEST_IN_MEMORY` ratings, the matrix on disk."""
    held: list[Batch] = []
    disk, n_ratings = None, 0
    for batch in batches:
        held.append(batch)
        n_ratings += len(batch["user"])
        if disk is None and n_ratings > LARGEST_IN_MEMORY:
            disk = RatingsOnDisk()
        while disk is not None and held:
            known = held.pop()
            disk.add(known["movie"], known["user"], known["rating"])
    return held if disk is None else disk.finished()
