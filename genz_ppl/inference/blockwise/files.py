"""Blocks of items as parquet files: answers, targets and covariates by column, some ten thousand items each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
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
    """signs: (N, B) int8, 1 for the answer yes, -1 for no, 0 for none; targets: (B, D); covariates: (B, P).

    Targets and covariates are float32 where all of their columns are, else float64. The arrays are not to be changed.
    """

    signs: NDArray[np.int8]
    targets: FloatArray
    covariates: FloatArray


def write_blocks(
    folder: str | Path, answers: FloatArray, targets: FloatArray, covariates: FloatArray | None = None, rows: int = ROWS
) -> list[Path]:
    """Write items into a new folder of blocks, in order; returns its files.

    answers: (T, N) of 1, 0 and NaN. targets: (T, D). covariates: (T, P) or None. rows: of a block. Columns are named answer_0,
    target_0, covariate_0 and so on. Raises OptionError for a folder that holds blocks already.
    """
    there = Path(folder)
    if there.exists() and any(there.glob("*.parquet")):
        raise OptionError(f"{there}: holds blocks already; name a new folder")
    files = []
    for number, start in enumerate(range(0, len(answers), rows)):
        part = slice(start, start + rows)
        files.append(there / block_name(number))
        write_block(files[-1], answers[part], targets[part], None if covariates is None else covariates[part])
    return files


def block_name(number: int) -> str:
    """Of the file of a block: names are in the order of the numbers."""
    return f"block-{number:06d}.parquet"


def write_block(file: Path, answers: FloatArray, targets: FloatArray, covariates: FloatArray | None = None) -> None:
    """Write one block, whole or not at all, as `write_blocks` does: where not all items are in memory at once.

    Targets and covariates keep their type: float32 takes half the room, and what is summed is float64 all the same.
    """
    columns: dict[str, pa.Array] = {}
    for k, column in enumerate(answers.T):
        columns[f"answer_{k}"] = pa.array(np.nan_to_num(column).astype(np.int8), mask=np.isnan(column))
    for kind, values in (("target", targets), ("covariate", covariates)):
        for k, column in enumerate(() if values is None else values.T):
            columns[f"{kind}_{k}"] = pa.array(np.ascontiguousarray(column))
    write_table(file, pa.table(columns))


def write_table(file: Path, table: pa.Table) -> None:
    """Write a table whole, or not at all; its folder is made where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    pq.write_table(table, partial, compression="lz4")
    partial.replace(file)


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


def marks_of(files: Sequence[Path]) -> list[list[str | int]]:
    """By which files are known to be as they were: name, size and time of the last change."""
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def digest_of(values: object) -> str:
    """Of plain values: the same for the same values."""
    return sha256(json.dumps(values).encode()).hexdigest()


def write_whole(file: Path, text: str) -> None:
    """Write a text whole, or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)


def read_block(path: str, features: tuple[int, ...] | None = None) -> Block:
    """The block in a file; of its columns of answers these only, in this order.

    Raises InputError where a target or covariate is missing, or an answer is neither 1, 0 nor missing.
    """
    return _read(path, features, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=KEPT)
def _read(path: str, features: tuple[int, ...] | None, _changed: int) -> Block:
    named = _columns(Path(path))
    if features is not None:
        named["answer"] = [named["answer"][k] for k in features]
    table = pq.read_table(path, columns=[name for kind in KINDS for name in named[kind]], use_threads=False)
    signs = np.empty((len(named["answer"]), len(table)), dtype=np.int8)
    for row, name in zip(signs, named["answer"], strict=True):
        column = table.column(name)
        values = column.fill_null(0).to_numpy()
        there = ~np.isnan(values) & column.is_valid().to_numpy()
        wrong = there & (values != 0) & (values != 1)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{path}: column {name!r}, row {at}: expected 1, 0 or nothing, got {values[at]:g}")
        np.multiply(np.where(values == 1, 1, -1), there, out=row, casting="unsafe")
    numbers = [_numbers(path, table, named[kind]) for kind in KINDS[1:]]
    return Block(signs, *numbers)


def _numbers(path: str, table: pa.Table, names: Sequence[str]) -> FloatArray:
    single = len(names) > 0 and all(table.schema.field(name).type == pa.float32() for name in names)
    found = np.empty((len(names), len(table)), dtype=np.float32 if single else np.float64).T
    for column, name in zip(found.T, names, strict=True):
        column[:] = table.column(name).to_numpy()
        if not np.isfinite(column).all():
            at = int(np.flatnonzero(~np.isfinite(column))[0])
            raise InputError(
                f"{path}: column {name!r}, row {at}: expected a number, found none; a fit in blocks needs all of them"
            )
    return found
