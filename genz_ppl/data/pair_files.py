"""Files of pairs: opened, their columns chosen, and read block by block."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from genz_ppl.data.files import read_text
from genz_ppl.data.values import listing, shorten
from genz_ppl.errors import InputError, OptionError

BLOCK_ROWS = 1 << 19  # rows looked at once, and
_BLOCK_BYTES = 1 << 24  # bytes read at once: all that a file needs in memory besides its pairs
_INDEX = "__index_level_"  # how pandas names an index without a name in parquet files
_EXPECTED = "expected columns of row ids, column ids and values (or of the two ids alone: present pairs)"

Cells = tuple[NDArray[Any], list[object]]  # one code per row, -1 where missing, and what the codes stand for


@dataclass(frozen=True)
class Block:
    """Some rows of a source: the ids of both sides, and the values as an array of arrow or pandas, None for presence."""

    row_ids: Cells
    column_ids: Cells
    values: Any
    n_rows: int


def choose_columns(header: Sequence[str], names: Sequence[str] | None, source: str) -> list[str]:
    """The two or three columns that hold the pairs."""
    known = [name for name in header if name and not name.startswith(_INDEX)]
    if names is None:
        chosen = known[:3]
        if len(chosen) < 2:
            raise InputError(f"{source}: {_EXPECTED}, found {listing(known) or 'none'}; add what is missing")
    else:
        chosen = list(names)
        if len(chosen) not in (2, 3) or len(set(chosen)) < len(chosen):
            raise OptionError(f"names of two or three different columns of pairs are needed, not {listing(chosen) or 'none'}")
        absent = [name for name in chosen if name not in known]
        if absent:
            raise InputError(f"{source}: there is no column {listing(map(shorten, absent))}; its columns are {listing(known)}")
    twice = [name for name in dict.fromkeys(chosen) if header.count(name) > 1]
    if twice:
        raise InputError(f"{source}: duplicate column names ({listing(twice)}); give each column its own name")
    return chosen


def _open_separated(separator: str) -> Callable[[Path, Sequence[str] | None], tuple[list[str], Iterator[Block]]]:
    def opener(file: Path, names: Sequence[str] | None) -> tuple[list[str], Iterator[Block]]:
        header, skip = _header(file, separator)
        chosen = choose_columns(header, names, str(file))
        return chosen, _separated(file, separator, header, chosen, skip)

    return opener


def _header(file: Path, separator: str) -> tuple[list[str], int]:
    """The column names, and how many lines to skip."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, delimiter=separator)
            cells = next((row for row in rows if row), None)
            skip = rows.line_num
    except (UnicodeDecodeError, csv.Error):
        read_text(file)  # says which byte it is
        raise InputError(f"{file}: the first line is not a header of column names; correct it") from None
    if cells is None:
        raise InputError(f"{file}: the file is empty; a header and at least one pair are needed")
    return [name.strip() for name in cells], skip


def _separated(file: Path, separator: str, header: list[str], chosen: list[str], skip: int) -> Iterator[Block]:
    places = [header.index(name) for name in chosen]
    ids = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {str(place): kind for place, kind in zip(places, (ids, ids, pyarrow.string()), strict=False)}
    broken: list[arrow_csv.InvalidRow] = []

    def invalid(row: arrow_csv.InvalidRow) -> str:
        broken.append(row)
        return "error"

    try:
        batches = arrow_csv.open_csv(
            file,
            # One thread: rows have numbers only so.
            arrow_csv.ReadOptions(
                column_names=[str(place) for place in range(len(header))],
                use_threads=False, block_size=_BLOCK_BYTES, skip_rows=skip,
            ),
            arrow_csv.ParseOptions(delimiter=separator, invalid_row_handler=invalid),
            arrow_csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[]),
        )  # fmt: skip
        for batch in batches:
            yield _arrow_block(batch)
    except pyarrow.ArrowException as error:
        if broken:
            row = broken[0].number - skip  # blank lines do not count
            found = f"row {row} has {broken[0].actual_columns} cells but the header has {len(header)}"
            raise InputError(f"{file}: {found}; put quotes around cells that hold the separator") from None
        read_text(file)  # says which byte is not UTF-8
        if "Empty CSV" in str(error):
            return
        raise InputError(f"{file}: not a readable table ({_first_line(error)}); write it again") from None


def _open_parquet(file: Path, names: Sequence[str] | None) -> tuple[list[str], Iterator[Block]]:
    try:
        opened = parquet.ParquetFile(file)
    except (pyarrow.ArrowException, ValueError) as error:
        raise InputError(f"{file}: not a readable parquet file ({_first_line(error)}); write it again") from None
    chosen = choose_columns(opened.schema_arrow.names, names, str(file))

    def blocks() -> Iterator[Block]:
        try:
            for batch in opened.iter_batches(batch_size=BLOCK_ROWS, columns=chosen, use_threads=False):
                yield _arrow_block(batch.select(chosen))
        except pyarrow.ArrowException as error:
            raise InputError(f"{file}: not a readable parquet file ({_first_line(error)}); write it again") from None
        finally:
            opened.close()

    return chosen, blocks()


OPENERS = {".csv": _open_separated(","), ".tsv": _open_separated("\t"), ".parquet": _open_parquet}


def _arrow_block(batch: pyarrow.RecordBatch) -> Block:
    values = batch.column(2) if batch.num_columns == 3 else None
    return Block(_encoded(batch.column(0)), _encoded(batch.column(1)), values, batch.num_rows)


def _encoded(cells: pyarrow.Array) -> Cells:
    found = cells if pyarrow.types.is_dictionary(cells.type) else compute.dictionary_encode(cells)
    codes = compute.fill_null(compute.cast(found.indices, pyarrow.int64()), -1).to_numpy(zero_copy_only=False)
    return codes, list(found.dictionary.to_pylist())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
