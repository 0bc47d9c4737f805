"""A made data set of the Netflix Prize's size in its own file format: time and memory to load it, and whether the SVD is right.

    python benchmarks/netflix.py --folder /tmp/netflix                                      # 100 million ratings, 2.5 GB of disk
    python benchmarks/netflix.py --ratings 200000 --films 300 --users 5000 --folder /tmp/small

Films have kinds and users have tastes, which say who rates what and how; a few films have most of the ratings, a few users give
most of them. The files are written to --folder, unless they are there already. Loading runs in a process of its own, so that
peak memory is its own. The SVD is checked twice: on all ratings by what defines it, orthonormal vectors with
X X' u = s^2 u, and on a block of films and users against numpy's dense one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

KINDS = 40
FILES = 4
LARGEST_USER = 2_649_429


@dataclass(frozen=True)
class Loaded:
    """Seconds to read the files and for all of `netflix_items`, peak memory in MB, ratings, and the errors of the SVD."""

    read_seconds: float
    seconds: float
    megabytes: float
    films: int
    users: int
    ratings: int
    residual: float
    departure: float
    dense: float


class Audience:
    """Users of several kinds, a few of whom rate much more than the others; `draw` says who rates a film."""

    def __init__(self, n_users: int, random: np.random.Generator) -> None:
        self.names = np.sort(random.choice(LARGEST_USER, n_users, replace=False) + 1).astype(np.int32)
        self.kind = random.integers(KINDS, size=n_users)
        self.tilt = 0.4 * random.normal(size=n_users)
        activity = random.lognormal(0.0, 1.2, n_users)
        self._groups = [np.flatnonzero(self.kind == kind) for kind in range(KINDS)]
        self._totals = [np.cumsum(activity[group]) for group in self._groups]
        self._mass = np.array([total[-1] if len(total) else 0.0 for total in self._totals])

    def draw(self, taste: Any, wanted: int, random: np.random.Generator) -> Any:
        """Different users, `wanted` of them unless that is nearly all, more of the kinds with more taste for the film."""
        share = taste * self._mass / (taste @ self._mass)
        users = np.zeros(0, dtype=np.int64)
        for _ in range(20):
            counts = random.multinomial(2 * (wanted - len(users)) + 4, share)
            drawn = [
                group[np.searchsorted(total, random.random(count) * total[-1])]
                for group, total, count in zip(self._groups, self._totals, counts, strict=True)
                if count
            ]
            users = np.unique(np.concatenate([users, *drawn]))
            if len(users) >= wanted:
                break
        return random.permutation(users)[:wanted]


def write(folder: Path, n_ratings: int, n_films: int, n_users: int, seed: int) -> None:
    """combined_data_1.txt to combined_data_4.txt and movie_titles.csv."""
    random = np.random.default_rng(seed)
    audience = Audience(n_users, random)
    popularity = random.permutation(1.0 / (np.arange(n_films) + 60.0) ** 1.3)
    wanted = n_ratings * popularity / popularity.sum()
    for _ in range(20):  # what a film cannot have, the others get
        wanted = np.minimum(wanted * n_ratings / wanted.sum(), 0.45 * n_users)
    dates = pa.array([f"{2000 + day // 365}-{day // 31 % 12 + 1:02d}-{day % 28 + 1:02d}" for day in range(2000)])
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, n_films, FILES + 1).astype(int)
    for file, (first, last) in enumerate(pairwise(bounds), start=1):
        with pa.OSFile(str(folder / f"combined_data_{file}.txt"), "wb") as out:
            for film in range(first, last):
                taste = random.lognormal(0.0, 1.0, KINDS)
                users = audience.draw(taste, max(round(wanted[film]), 3), random)
                liking = 3.2 + 0.4 * np.log(taste)[audience.kind[users]] + audience.tilt[users]
                ratings = np.clip(np.rint(liking + 0.8 * random.normal(size=len(users))), 1, 5).astype(np.int8)
                day = dates.take(pa.array(random.integers(len(dates), size=len(users))))
                table = pa.table([pa.array(audience.names[users]), pa.array(ratings), day], names=["user", "rating", "date"])
                out.write(f"{film + 1}:\n".encode())
                csv.write_csv(table, out, csv.WriteOptions(include_header=False, quoting_style="none"))
    titles = "".join(f"{film},{1930 + film % 75},Film {film}, the Cinémathèque cut\n" for film in range(1, n_films + 1))
    (folder / "movie_titles.csv").write_bytes(titles.encode("latin-1"))


def load(folder: Path, block: tuple[int, int], queue: Any) -> None:
    """Load the folder as a user does, take the figures, then check the SVD; put a `Loaded` into the queue."""
    from genz_ppl.data import netflix

    found: dict[str, Any] = {}
    read = netflix.read_ratings

    def timed(files: list[Path]) -> Any:
        started = time.perf_counter()
        found["ids"], found["ratings"] = read(files)
        found["seconds"] = time.perf_counter() - started
        return found["ids"], found["ratings"]

    netflix.read_ratings = timed  # type: ignore[assignment]  # to take its time and keep its matrix for the checks
    started = time.perf_counter()
    items = netflix.netflix_items(folder)
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(items) == min(512, len(found["ids"]))
    from genz_ppl.data.embeddings import item_embeddings

    vectors, matrix = item_embeddings(found["ratings"], alpha=1.0), in_memory(found["ratings"])
    residual, departure = defining_errors(matrix, vectors)
    dense = dense_error(matrix, *block)
    films, users = matrix.shape
    queue.put(Loaded(found["seconds"], seconds, megabytes, films, users, matrix.nnz, residual, departure, dense))


def in_memory(matrix: Any) -> Any:
    """The matrix itself, or that of ratings on disk."""
    from scipy import sparse

    from genz_ppl.data.spooled import SpooledMatrix

    if not isinstance(matrix, SpooledMatrix):
        return matrix
    return sparse.vstack(list(matrix.ratings.parts(len(matrix.ids)))).T.tocsr()


def defining_errors(matrix: Any, vectors: Any) -> tuple[float, float]:
    """The largest of |X X' u - s^2 u| / s_1^2, and of |U' U - 1|, over all 32 vectors. vectors: u times s."""
    scale = np.linalg.norm(vectors, axis=0)
    vectors = vectors / scale
    back = matrix @ (matrix.T @ vectors)
    residual = np.linalg.norm(back - vectors * scale**2, axis=0) / scale[0] ** 2
    return float(residual.max()), float(np.abs(vectors.T @ vectors - np.eye(vectors.shape[1])).max())


def dense_error(matrix: Any, n_films: int, n_users: int) -> float:
    """The largest difference between `item_embeddings` and a dense SVD on the most rated films and the most active users."""
    from genz_ppl.data.embeddings import item_embeddings

    films = np.argsort(-np.diff(matrix.indptr), kind="stable")[:n_films]
    users = np.argsort(-np.bincount(matrix.indices, minlength=matrix.shape[1]), kind="stable")[:n_users]
    part = matrix[films][:, users].tocsr()
    left = np.linalg.svd(part.toarray(), full_matrices=False)[0][:, :32]
    ours = item_embeddings(part)
    return float(np.abs(left * np.sign((left * ours).sum(axis=0)) - ours).max())


def main() -> None:
    """Write the files if need be, load them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="default: a temporary one, deleted at the end")
    parser.add_argument("--ratings", type=int, default=100_480_507)
    parser.add_argument("--films", type=int, default=17_770)
    parser.add_argument("--users", type=int, default=480_189)
    parser.add_argument("--block", type=int, nargs=2, default=(1500, 4000), help="films and users of the dense check")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "movie_titles.csv").exists():
            started = time.perf_counter()
            write(folder, arguments.ratings, arguments.films, arguments.users, arguments.seed)
            size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
            print(f"written: {size:.2f} GB in {time.perf_counter() - started:.0f} s", flush=True)
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=load, args=(folder, tuple(arguments.block), queue))
        process.start()
        loaded: Loaded = queue.get()
        process.join()
    print(
        "| films | users | ratings | seconds to read | seconds in all | peak memory, MB | X X' u - s² u | U' U - 1 | dense SVD |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {loaded.films} | {loaded.users} | {loaded.ratings} | {loaded.read_seconds:.1f} | {loaded.seconds:.1f} "
        f"| {loaded.megabytes:.0f} | {loaded.residual:.1e} | {loaded.departure:.1e} | {loaded.dense:.1e} |"
    )


if __name__ == "__main__":
    main()
