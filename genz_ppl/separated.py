"""Cells of a csv file as columns of text, by pyarrow, wherever it surely reads what Python's strict `csv` reads."""

from __future__ import annotations

import codecs
import csv
import io
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

# Bytes that are read at once; a longer row is left to more care.
_BLOCK = 1 << 22
# Seconds, far more than it takes.
_PATIENCE = 0.5
# What is raised on the way.
UNREADABLE = (pyarrow.ArrowException, ValueError, OverflowError)
_QUOTE, _LINE_FEED, _RETURN = ord('"'), ord("\n"), ord("\r")


def read_separated(content: bytes, separator: str) -> tuple[list[str], list[pyarrow.ChunkedArray]] | None:
    """The header and the columns (large_string, the cells as they are written, "" where empty) of UTF-8 text without a mark.

    Blank lines are passed over, as by `csv`. None for a file that has to be read with more care: single quotes inside of cells,
    rows of different lengths, other ends of lines, a separator beyond ASCII, a mark of byte order, no row at all.
    """
    found = separated_parts(content, separator)
    if found is None:
        return None
    try:
        table = pyarrow.Table.from_batches(list(found[1]))
    except UNREADABLE:
        return None
    return None if table.num_rows == 0 else (found[0], list(table.columns))


def separated_parts(content: bytes, separator: str) -> tuple[list[str], Iterator[pyarrow.RecordBatch]] | None:
    """The same part by part, for those who keep little of each; going on to the next raises one of `UNREADABLE` where the file
    turns out to be one that has to be read with more care. The parts may be without rows."""
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
    lent = np.frombuffer(content, dtype=np.uint8)
    lease, reader = weakref.ref(lent), _reader_of(pyarrow.BufferReader(lent), header, separator)
    del lent
    if reader is None:
        _wait_for(lease)
        return None
    return header, _after(header, reader, lease)


def bare_parts(path: Path, separator: str) -> tuple[list[str], Iterator[pyarrow.RecordBatch]] | None:
    """The same of a file that has no quotes, returns, zeros nor a mark of byte order, without reading it whole; else None."""
    if not separator.isascii() or separator in "\r\n":
        return None
    with path.open("rb") as file:
        beginning = part = file.read(_BLOCK)
        whole = len(beginning) < _BLOCK
        if beginning.startswith(codecs.BOM_UTF8):
            return None
        while part:
            if b'"' in part or b"\r" in part or b"\0" in part:
                return None
            part = file.read(_BLOCK)
    beginning = beginning if whole else beginning[: 1 << 20] + b" "  # longer than what is looked at
    header = _first_row(beginning, separator)
    reader = None if header is None else _reader_of(str(path), header, separator)
    return None if header is None or reader is None else (header, _after(header, reader))


def _reader_of(source: pyarrow.BufferReader | str, header: list[str], separator: str) -> pyarrow.csv.CSVStreamingReader | None:
    numbered = [str(number) for number in range(len(header))]
    try:
        return pyarrow.csv.open_csv(
            source,
            pyarrow.csv.ReadOptions(column_names=numbered, block_size=_BLOCK, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(numbered, pyarrow.large_string())),
        )
    except UNREADABLE:
        return None


def _after(
    header: list[str], reader: pyarrow.csv.CSVStreamingReader, lease: weakref.ref[NDArray[np.uint8]] | None = None
) -> Iterator[pyarrow.RecordBatch]:
    """What comes after the header. Raises ValueError where the first row is another. lease: what is lent to pyarrow's threads."""
    first = True
    try:
        for batch in reader:
            if first and batch.num_rows:
                if [column[0].as_py() for column in batch.columns] != header:
                    raise ValueError("the first row is not the header")
                batch, first = batch.slice(1), False
            yield batch
    finally:
        reader.close()
        del reader
        _wait_for(lease)


def _wait_for(lease: weakref.ref[NDArray[np.uint8]] | None) -> None:
    """Until pyarrow's threads have given back what they read from. One that does so while the interpreter ends aborts it."""
    last = time.monotonic() + _PATIENCE
    while lease is not None and lease() is not None and time.monotonic() < last:
        time.sleep(0.001)  # they need the interpreter's lock for it


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
