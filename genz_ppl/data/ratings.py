"""Files of ratings, one a line: streamed as columns of numbers, and every fault told with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray
from pyarrow import csv

from genz_ppl.data.embeddings import check_embedding, item_embeddings
from genz_ppl.data.files import read_text
from genz_ppl.data.spooled import Batch, SpooledMatrix
from genz_ppl.data.values import shorten
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray, IntArray

LARGEST_ID = 2**31 - 1
_WHOLE = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
_BLOCK = 1 << 24  # bytes read at once: all that a file needs in memory besides its columns


@dataclass(frozen=True)
class Column:
    """Numbers from `least` to `most`, whole ones as int32, others as float32."""

    least: float
    most: float
    whole: bool = True

    def holds(self, values: NDArray[Any]) -> bool:
        """Whether all values are in range; NaN is not."""
        return not values.size or bool(values.min() >= self.least and values.max() <= self.most)

    def reads(self, cell: str) -> bool:
        """Whether a cell, as written, is a value of this column."""
        pattern = _WHOLE if self.whole else _NUMBER
        return pattern.fullmatch(cell) is not None and self.least <= float(cell) <= self.most


@dataclass(frozen=True)
class Layout:
    """What a line looks like.

    separator: one character. cells: the name of each cell of a line; only those in `columns` are read.
    expected: a line in words, for messages. headings: what other lines may look like. skip: lines before the first rating.
    """

    separator: str
    cells: tuple[str, ...]
    columns: Mapping[str, Column]
    expected: str
    headings: re.Pattern[str] | None = None
    skip: int = 0

    def reads(self, line: str) -> bool:
        """Whether a line, as written, is one of this layout."""
        if self.headings is not None and self.headings.fullmatch(line):
            return True
        cells = line.split(self.separator)
        return len(cells) == len(self.cells) and all(
            self.columns[name].reads(cell) for name, cell in zip(self.cells, cells, strict=True) if name in self.columns
        )


def stream_ratings(file: Path, layout: Layout, headings: list[tuple[int, str]] | None = None) -> Iterator[Batch]:
    """The columns of a file by name, some 10^6 lines at a time.

    headings: gets each heading, and before it how many ratings come before it.
    Raises InputError with the line for the first one that the layout does not read, and for an empty file.
    """
    found_headings = [] if headings is None else headings
    unreadable = False

    def other(row: csv.InvalidRow) -> str:
        nonlocal unreadable
        if layout.headings is not None and layout.headings.fullmatch(row.text):
            found_headings.append((row.number - 1 - len(found_headings), row.text))
        else:
            unreadable = True
        return "skip"

    n_lines = 0
    try:
        for batch in _open(file, layout, other):
            found = {name: batch.column(name).to_numpy() for name in layout.columns}
            if unreadable or not all(layout.columns[name].holds(values) for name, values in found.items()):
                raise _first_fault(file, layout)
            n_lines += batch.num_rows
            yield found
    except pyarrow.ArrowException:
        raise _first_fault(file, layout) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path and its permissions") from None
    if unreadable or not n_lines:
        raise _first_fault(file, layout)


def _open(file: Path, layout: Layout, other: Callable[[csv.InvalidRow], str]) -> csv.CSVStreamingReader:
    types = {name: pyarrow.int32() if column.whole else pyarrow.float32() for name, column in layout.columns.items()}
    return csv.open_csv(
        file,
        # One thread: rows have numbers only so.
        csv.ReadOptions(column_names=list(layout.cells), use_threads=False, block_size=_BLOCK, skip_rows=layout.skip),
        csv.ParseOptions(
            delimiter=layout.separator, quote_char=False, double_quote=False, escape_char=False, invalid_row_handler=other
        ),
        csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[], check_utf8=False),
    )


def _first_fault(file: Path, layout: Layout) -> InputError:
    """Looks for the line that could not be read: a second pass, which only a faulty file pays for."""
    with file.open(encoding="latin-1", newline=None) as lines:
        for number, line in enumerate(lines, start=1):
            written = line.strip("\r\n").removeprefix("ï»¿") if number == 1 else line.strip("\r\n")
            if number > layout.skip and written and not layout.reads(written):
                return InputError(
                    f"{file}: line {number}: expected {layout.expected}, found {shorten(written)}; restore the line"
                )
    return InputError(f"{file}: expected lines {layout.expected}, found none; take the file from the data set again")


def read_names(file: Path) -> list[str]:
    """The lines of a list of films: UTF-8, or Latin-1 as older data sets have it. Raises InputError for an empty file."""
    try:
        text = read_text(file)
    except InputError:
        try:
            text = file.read_bytes().decode("latin-1")
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    if not text.strip():
        raise InputError(f"{file}: the file is empty; one line per film is needed")
    return text.replace("\r\n", "\n").split("\n")


@dataclass(frozen=True)
class Rated:
    """Films with their ratings, and nothing of who gave them.

    ids: (N,) the films' numbers. counts: (N,) how many ratings each has. embeddings: (N, D).
    """

    ids: IntArray
    counts: IntArray
    embeddings: FloatArray

    @classmethod
    def of(cls, ids: IntArray, ratings: Any, dimensions: int, alpha: float) -> Rated:
        """The films of a sparse (N, M) matrix, in memory or on disk. Raises OptionError as `item_embeddings`."""
        counts = ratings.counts if isinstance(ratings, SpooledMatrix) else np.diff(ratings.indptr).astype(np.int64)
        return cls(ids, counts, item_embeddings(ratings, dimensions, alpha))

    def most_rated(self, n_items: int) -> IntArray:
        """The positions of the n films with most ratings (all, if there are fewer), equals by number."""
        return np.lexsort((self.ids, -self.counts))[:n_items]

    def frame(self, chosen: IntArray, columns: Mapping[str, list[Any]]) -> pd.DataFrame:
        """One row per chosen film: its number as `movie`, the columns given, and `dimension_1` … `dimension_D`."""
        cells: dict[str, Any] = {"movie": [str(number) for number in self.ids[chosen]]}
        # Cells keep the type each has: a year that is missing does not make the others floats.
        cells |= {name: pd.Series(list(values), dtype=object) for name, values in columns.items()}
        names = dimension_names(self.embeddings.shape[1])
        return pd.DataFrame(cells | dict(zip(names, self.embeddings[chosen].T, strict=True)))


def check_numbers(n_items: int, dimensions: int, alpha: float) -> None:
    """Before anything is read: raises OptionError for fewer than 2 items and as `check_embedding`."""
    if n_items < 2:
        raise OptionError(f"at least 2 items are needed, not {n_items}")
    check_embedding(dimensions, alpha)


def dimension_names(dimensions: int) -> tuple[str, ...]:
    """dimension_1 … dimension_D."""
    return tuple(f"dimension_{number}" for number in range(1, dimensions + 1))
