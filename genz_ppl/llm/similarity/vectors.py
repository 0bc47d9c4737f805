"""Vectors of items from a file of profiles: read, and checked so that none that is wrong is compared with others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from genz_ppl.errors import InputError

SIMILARITY = "similarity"
Vector = NDArray[np.float32]
# How far the length of a vector may be from 1.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """ids: of T items. vectors: (T, D) float32 of length 1, rows of NaN where an item has none. encoder: what made them.

    digest: of all that, 16 hexadecimal digits.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    encoder: str

    @property
    def digest(self) -> str:
        """Of ids, vectors and encoder."""
        parts = "\0".join((self.encoder, *self.ids)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(parts + self.vectors.tobytes()).hexdigest()[:16]

    @property
    def by_id(self) -> dict[str, Vector]:
        """The vectors of the items that have one."""
        return {name: one for name, one in zip(self.ids, self.vectors, strict=True) if not np.isnan(one).any()}


def read_columns(path: str | Path, columns: Sequence[str]) -> pyarrow.Table:
    """These columns of a file of profiles. Raises InputError for a file that cannot be read or lacks one of them."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; make it with 'genz profile ITEMS -o {file}', or correct the path")
    try:
        table = parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise InputError(f"{file}: not a readable parquet file of profiles ({reason}); make it again") from None
    absent = next((name for name in columns if name not in table.column_names), None)
    if absent is not None:
        raise InputError(f"{file}: expected the column {absent!r} of a file of profiles, found none; see 'genz profile --help'")
    return table


def read_vectors(path: str | Path) -> ItemVectors:
    """The vectors in a file of profiles. Raises InputError for duplicate ids, more than one encoder, and vectors that are wrong.

    Wrong is a vector of another length than the first, with a number that is not finite, of zeros, or not of length 1.
    """
    table = read_columns(path, ("id", "vector", "encoder"))
    ids = [str(name) for name in table["id"].to_pylist()]
    check_ids(ids, str(path))
    encoder = check_one("encoder", table["encoder"].to_pylist(), str(path))
    try:
        listed = table["vector"].to_numpy(zero_copy_only=False)
        vectors = stacked([None if one is None else np.asarray(one, dtype=np.float32) for one in listed], ids, str(path))
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the column 'vector' does not hold lists of numbers; make the file again") from None
    return ItemVectors(tuple(ids), vectors, encoder)


def check_ids(ids: Sequence[str], source: str) -> None:
    """Raise InputError for an id that is there twice."""
    seen: dict[str, int] = {}
    for row, name in enumerate(ids, start=1):
        if name in seen:
            raise InputError(f"{source}: the id {name[:40]!r} is in rows {seen[name]} and {row}; keep one of the two")
        seen[name] = row


def check_one(column: str, values: Sequence[object], source: str) -> str:
    """The only value of a column. Raises InputError where there are several, which cannot be compared."""
    found = list(dict.fromkeys(str(value) for value in values))
    if len(found) > 1:
        shown = " and ".join(repr(value[:60]) for value in found[:2])
        raise InputError(f"{source}: the column {column!r} holds {shown}, which cannot be mixed in one file; make it again")
    return found[0] if found else ""


def stacked(vectors: Sequence[Vector | None], ids: Sequence[str], source: str) -> NDArray[np.float32]:
    """(T, D) float32 of vectors of length 1, rows of NaN for None. Raises InputError, naming the item, for one that is wrong."""
    width = next((len(one) for one in vectors if one is not None), 0)
    found = np.full((len(vectors), width), np.nan, dtype=np.float32)
    for row, (name, one) in enumerate(zip(ids, vectors, strict=True)):
        if one is None:
            continue
        fault = _fault(one, width)
        if fault:
            raise InputError(f"{source}: the vector of {name[:40]!r} {fault}; make it again")
        found[row] = one
    return found


def _fault(vector: Vector, width: int) -> str:
    """What is wrong with a vector; "" for nothing."""
    if vector.ndim != 1 or len(vector) != width:
        return f"has {vector.size} numbers, and that of the first item {width}"
    if not np.isfinite(vector).all():
        return "holds a number that is not finite"
    if not vector.any():
        return "is zero"
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return "" if abs(length - 1) <= _ROUNDING else f"has length {length:.4g}, not 1"
