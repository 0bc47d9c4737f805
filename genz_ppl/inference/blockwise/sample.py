"""Some of the items of blocks as blocks of their own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genz_ppl.inference.blockwise.files import ROWS, block_name, digest_of, marks_of, write_table, write_whole


def sampled(files: Sequence[Path], folder: Path, n_items: int, seed: int, rows: int = ROWS) -> list[Path]:
    """Blocks in a folder with about so many items of all blocks, drawn from a seed; the files themselves if they have no more.

    Every block gives its share of the items, in its order. What an earlier call has written is taken as it is.
    """
    total = sum(pq.read_metadata(file).num_rows for file in files)
    if total <= n_items:
        return list(files)
    mark, noted = digest_of([n_items, seed, rows, marks_of(files)]), folder / "sample.json"
    if not (noted.exists() and noted.read_text() == mark):
        shutil.rmtree(folder, ignore_errors=True)
        _write(files, folder, n_items / total, seed, rows)
        write_whole(noted, mark)
    return sorted(folder.glob("*.parquet"))


def _write(files: Sequence[Path], folder: Path, share: float, seed: int, rows: int) -> None:
    waiting: list[pa.Table] = []
    written = 0
    for number, file in enumerate(files):
        table = pq.read_table(file)
        chosen = np.flatnonzero(np.random.default_rng([seed, number]).random(len(table)) < share)
        waiting.append(table.take(pa.array(chosen)))
        if sum(map(len, waiting)) >= rows or number == len(files) - 1:
            write_table(folder / block_name(written), pa.concat_tables(waiting))
            waiting, written = [], written + 1
