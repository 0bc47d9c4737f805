"""Blocks of items as parquet files: answers, targets and covariates by column, some ten thousand items each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray

ROWS = 65_536
KINDS = ("answer", "target", "covariate")
# Blocks that a process keeps once it has read them, by their number.
KEPT = 16


@dataclass(frozen=True)
class Block:
    """signs: (K, B) int8, 1 for the answer yes, -1 for no, 0 for none; targets: (B, D); covariates: (B, P)."""

    signs: NDArray[np.int8]
    targets: FloatArray
    covariates: FloatArray


def write_blocks(
    folder: str | Path, answers: FloatArray, targets: FloatArray, covariates: FloatArray | None = None, rows: int = ROWS
) -> list[Path]:
    """Write items into a new folder of blocks, in order; returns its files.

    answers: (T, K) of 1, 0 and NaN. targets: (T, D). covariates: (T, P) or None. rows: of a block. Columns are named answer_0,
    target_0, covariate_0 and so on. Raises OptionError for a folder that holds blocks already.
    """
    there = Path(folder)
    if there.exists() and any(there.glob("*.parquet")):
        raise OptionError(f"{there}: holds blocks already; name a new folder")
    there.mkdir(parents=True, exist_ok=True)
    covariates = np.zeros((len(answers), 0)) if covariates is None else covariates
    files = []
    for number, start in enumerate(range(0, len(answers), rows)):
        part = slice(start, start + rows)
        columns: dict[str, pa.Array] = {}
        for k, column in enumerate(answers[part].T):
            columns[f"answer_{k}"] = pa.array(np.nan_to_num(column).astype(np.int8), mask=np.isnan(column))
        for kind, values in (("target", targets), ("covariate", covariates)):
            columns |= {f"{kind}_{k}": pa.array(np.ascontiguousarray(column)) for k, column in enumerate(values[part].T)}
        files.append(there / f"block-{number:06d}.parquet")
        partial = files[-1].with_suffix(".partial")
        pq.write_table(pa.table(columns), partial, compression="lz4")
        partial.replace(files[-1])
    return files


def blocks_in(folder: str | Path) -> list[Path]:
    """The blocks of a folder, in the order of their names. Raises InputError if there are none, or not all have the same columns.

    Only the heads of the files are read.
    """
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise InputError(f"{folder}: expected a folder of .parquet files, one a block, found none")
    first = _columns(files[0])
    for kind in KINDS[:2]:
        if not first[kind]:
            raise InputError(f"{files[0]}: expected columns {kind}_0, {kind}_1, …, found none; see write_blocks")
    for file in files[1:]:
        if _columns(file) != first:
            raise InputError(f"{file}: expected the columns of {files[0].name}, found others; give all blocks the same")
    return files


def _columns(file: Path) -> dict[str, list[str]]:
    try:
        names = pq.read_schema(file).names
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read as parquet ({' '.join(str(error).split())})") from None
    found = {kind: [name for name in names if name.startswith(f"{kind}_")] for kind in KINDS}
    return {kind: sorted(names, key=lambda name: (len(name), name)) for kind, names in found.items()}


def read_block(path: str) -> Block:
    """The block in a file. Raises InputError where a target or covariate is missing, or an answer is neither 1, 0 nor missing."""
    return _read(path, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=KEPT)
def _read(path: str, _changed: int) -> Block:
    named = _columns(Path(path))
    table = pq.read_table(path, columns=[name for kind in KINDS for name in named[kind]], use_threads=False)
    signs = np.empty((len(named["answer"]), len(table)), dtype=np.int8)
    for row, name in zip(signs, named["answer"], strict=True):
        column = table.column(name).combine_chunks()
        values = column.fill_null(2).to_numpy(zero_copy_only=False)
        wrong = ~np.isin(values, (0, 1, 2)) & ~np.isnan(values)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{path}: column {name!r}, row {at}: expected 1, 0 or nothing, got {values[at]:g}")
        row[:] = np.select([values == 1, values == 0], [1, -1], 0)
    numbers = [_numbers(path, table, named[kind]) for kind in KINDS[1:]]
    return Block(signs, *numbers)


def _numbers(path: str, table: pa.Table, names: Sequence[str]) -> FloatArray:
    found = np.empty((len(table), len(names)))
    for column, name in zip(found.T, names, strict=True):
        column[:] = table.column(name).to_numpy().astype(np.float64)
        if not np.isfinite(column).all():
            at = int(np.flatnonzero(~np.isfinite(column))[0])
            raise InputError(
                f"{path}: column {name!r}, row {at}: expected a number, found none; a fit in blocks needs all of them"
            )
    return found
