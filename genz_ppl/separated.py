"""Cells of a csv file as columns of text, by pyarrow, wherever it surely reads what Python's strict `csv` reads."""

from __future__ import annotations

import codecs
import csv
import io

import numpy as np
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

# Bytes that are read at once; a longer row is left to more care.
_BLOCK = 1 << 22
_QUOTE, _LINE_FEED, _RETURN = ord('"'), ord("\n"), ord("\r")


def read_separated(content: bytes, separator: str) -> tuple[list[str], list[pyarrow.ChunkedArray]] | None:
    """The header and the columns (large_string, the cells as they are written, "" where empty) of UTF-8 text without a mark.

    Blank lines are passed over, as by `csv`. None for a file that has to be read with more care: single quotes inside of cells,
    rows of different lengths, other ends of lines, a separator beyond ASCII, a mark of byte order, no row at all.
    """
    if (
        not separator.isascii()
        or content.startswith(codecs.BOM_UTF8)
        or separator in "\r\n"
        or not _has_plain_lines(content)
        or not _has_plain_quotes(content, separator)
    ):
        return None
    header = _first_row(content, separator)
    if header is None:
        return None
    numbered = [str(number) for number in range(len(header))]
    try:
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(content),
            pyarrow.csv.ReadOptions(column_names=numbered, block_size=_BLOCK, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(numbered, pyarrow.large_string())),
        )
    except (pyarrow.ArrowException, ValueError, OverflowError):
        return None
    if table.num_rows < 2 or [column[0].as_py() for column in table.columns] != header:
        return None
    return header, [column.slice(1) for column in table.columns]


def _first_row(content: bytes, separator: str) -> list[str] | None:
    """The first row that is not blank, None where there is none in the first part of a file."""
    part = content[: 1 << 20]
    try:
        text = part.decode(errors="strict" if len(part) == len(content) else "ignore")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        row = next((row for row in rows if row), None)
    except (csv.Error, UnicodeDecodeError):
        return None
    return row


def _has_plain_lines(content: bytes) -> bool:
    """Whether lines end as they do on one of the usual systems, and nothing in them ends a text in C."""
    returns = content.count(b"\r")
    return b"\0" not in content and (returns == 0 or returns == content.count(b"\r\n"))


def _has_plain_quotes(content: bytes, separator: str) -> bool:
    """Whether each quote begins a cell, ends one, or is one of two in a row inside of such a cell."""
    found = _places(content, _QUOTE)
    if len(found) % 2:
        return False
    opening, closing = found[0::2], found[1::2]
    joined = opening[1:] == closing[:-1] + 1  # two in a row
    begins = opening[np.append(True, ~joined)] if len(opening) else opening
    ends = closing[np.append(~joined, True)] if len(closing) else closing
    data = np.frombuffer(content, dtype=np.uint8)
    before, after = data[begins[begins > 0] - 1], data[ends[ends < len(data) - 1] + 1]
    around = [ord(separator), _LINE_FEED, _RETURN]
    return bool(np.isin(before, around).all() and np.isin(after, around).all())


def _places(content: bytes, character: int) -> NDArray[np.int64]:
    data = np.frombuffer(content, dtype=np.uint8)
    parts = [np.flatnonzero(data[start : start + _BLOCK] == character) + start for start in range(0, len(data), _BLOCK)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
