"""From files to tables, with every fault of a file told in one line."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow

from genz_ppl.data.files import PACKED, SourceFile, Written, decoded, first_line, located, read_bytes, read_text
from genz_ppl.data.table import Table, check_columns, table_from_frame
from genz_ppl.data.typed_files import read_parquet, read_parts, read_workbook
from genz_ppl.data.values import MISSING_NUMBER, PLAIN_NUMBER, shorten
from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.separated import read_separated

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Numbers with a comma before decimals.
_COMMA_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]*)?|-?,[0-9]+")
# Bytes of a file in which its header must end, for it to be read fast.
_BEGINNING = 1 << 16
_cell_limit_lock = threading.Lock()


def read_table(source: str | Path, written: Written | None = None, kind: str = "") -> Table:
    """Reads a file by its suffix, or by the one given as `kind`: see `READERS`; of text also compressed: .csv.gz, .csv.zip, ...

    source: a path, "-" for standard input, an address such as https://... or s3://..., or a folder of parquet files.
    written: how a text is written; only .csv and .tsv have separators and marks before decimals.
    Raises InputError for any fault of the file, OptionError for what does not go with it.
    """
    written = written or Written()
    with located(source) as file:
        if file.path.is_dir():
            return replace(read_parts(file), room=written.room)
        form = kind or file.suffix
        reader, typed = READERS.get(form), TYPED.get(form)
        if reader is None and (typed is None or file.packed):
            known = f"{', '.join([*READERS, *TYPED])}, and those of text with {', '.join(PACKED)} behind"
            raise InputError(f"{file}: unknown suffix {file.path.suffix!r}; known are {known}: save it as one of these")
        for name, of in (("sep", (".csv", ".tsv")), ("decimal", (".csv", ".tsv")), ("encoding", tuple(READERS))):
            if getattr(written, name) is not None and form not in of:
                raise OptionError(f"{name}: only for {', '.join(of)}, and {file} is {form}; leave it out")
        table = typed(file, written.room) if typed is not None else READERS[form](file, written)
        return replace(table, room=written.room)


def read_csv(file: SourceFile, written: Written) -> Table:
    """Reads cells separated by commas, one header row. Raises InputError for any fault of the file.

    A header that has more semicolons, tabs or bars than commas tells another separator, which a GenzWarning names.
    """
    return _read_separated(file, ",;\t|", written)


def read_tsv(file: SourceFile, written: Written) -> Table:
    """Reads cells separated by tabs, one header row. Raises InputError for any fault of the file."""
    return _read_separated(file, "\t", written)


def read_jsonl(file: SourceFile, written: Written) -> Table:
    """Reads one JSON object per line; a key that a line lacks is missing there. Raises InputError naming the broken line."""
    rows: list[dict[str, object]] = []
    # Not splitlines(): JSON strings may hold line separators other than the line feed.
    for line_number, line in enumerate(read_text(file, written.encoding).split("\n"), start=1):
        if line.strip():
            rows.append(_json_object(line, f"{file}: line {line_number}"))
    if not rows:
        raise InputError(f"{file}: the file is empty; one JSON object per line is needed")
    return _table_of_rows(rows, file)


def read_json(file: SourceFile, written: Written) -> Table:
    """Reads a JSON list of objects, one an item. Raises InputError for any fault of the file."""
    rows = _json(read_text(file, written.encoding), str(file), "a list of objects is needed")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{file}: expected a list of JSON objects, one an item; one object per line goes into a .jsonl file")
    return _table_of_rows(rows, file)


def _table_of_rows(rows: Sequence[Mapping[str, object]], file: SourceFile) -> Table:
    """A table of objects with maybe different keys, in the order in which these first come; what a row lacks is missing."""
    columns = dict.fromkeys(column for row in rows for column in row)
    cells = {column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns}
    return table_from_frame(pd.DataFrame(cells), file.name, file.folder)


READERS: dict[str, Callable[[SourceFile, Written], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".json": read_json,
}
TYPED: dict[str, Callable[[SourceFile, int | None], Table]] = {".parquet": read_parquet, ".xlsx": read_workbook}


def _read_separated(file: SourceFile, separators: str, written: Written) -> Table:
    """separators: the usual one first; what else there may be after it."""
    content = read_bytes(file)
    found = _plain_columns(content, separators, written)
    if found is None:
        found = _careful_columns(decoded(content, file, written.encoding), separators, written, file)
    separator, names, columns = found
    del content, found
    if written.sep is None and separator != separators[0]:
        shown = f"{file}: cells are separated by {separator!r}, as in the header, not by {separators[0]!r}"
        warnings.warn(shown, GenzWarning, stacklevel=2)
    header = [name.strip() for name in names]
    if all(PLAIN_NUMBER.fullmatch(name) for name in header):
        warnings.warn(
            f"{file}: the header is numbers only; if it is a row of data, put a header above it", GenzWarning, stacklevel=2
        )
    unnamed = {position: f"Unnamed: {position}" for position, name in enumerate(header) if not name}  # as pandas names them
    labels = [unnamed.get(position, name) for position, name in enumerate(header)]
    check_columns(labels, str(file))
    if not columns:
        raise InputError(f"{file}: there is a header but no row of data; at least one is needed")
    read = _with_points if written.decimal == "," else list
    if isinstance(columns[0], pyarrow.ChunkedArray) and written.decimal != ",":
        for place, column in enumerate(columns):  # each in one piece, and only one of them twice at a time
            columns[place] = column.combine_chunks()
        frame = pyarrow.table(columns, names=labels).to_pandas()
    else:
        cells = [column.to_pylist() if isinstance(column, pyarrow.ChunkedArray) else column for column in columns]
        frame = pd.DataFrame({label: pd.Series(read(each), dtype=object) for label, each in zip(labels, cells, strict=True)})
    commas = separator == ";" if written.decimal is None else written.decimal == ","
    return Table(frame, file.name, file.folder, written=True, unread=frozenset(unnamed.values()), commas=commas)


_Columns = tuple[str, list[str], list[Any]]  # the separator, the header, the cells of each column


def _plain_columns(content: bytes, separators: str, written: Written) -> _Columns | None:
    """The file as it is read fast, None where that might not be what `csv` reads, or where it has to be told what is wrong."""
    if written.encoding is not None:
        return None
    content = content.removeprefix(codecs.BOM_UTF8)
    beginning = content[:_BEGINNING].decode(errors="ignore").lstrip()
    if "\n" not in beginning:
        return None
    separator = written.sep or max(separators, key=beginning.split("\n", 1)[0].count)
    found = read_separated(content, separator)
    return None if found is None else (separator, *found)


def _careful_columns(text: str, separators: str, written: Written, file: SourceFile) -> _Columns:
    """The same, row by row. Raises InputError for the first one that is wrong."""
    if not text.strip():
        raise InputError(f"{file}: the file is empty; a header row and at least one row of data are needed")
    separator = written.sep or max(separators, key=text.lstrip().split("\n", 1)[0].count)
    with _unlimited_cells(len(text)):
        rows = list(_checked_rows(text, separator, file))
    return separator, rows[0], list(zip(*rows[1:], strict=True))


def _with_points(cells: Sequence[str]) -> list[str]:
    """A column with a comma before decimals, "1.234,5", as "1234.5"; as it is unless all of it is written so."""
    if not all(_COMMA_NUMBER.fullmatch(cell.strip()) or cell.strip().lower() in MISSING_NUMBER for cell in cells):
        return list(cells)
    return [cell.replace(".", "").replace(",", ".") for cell in cells]


def _checked_rows(text: str, separator: str, file: SourceFile) -> Iterator[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    width, start = 0, 1
    try:
        for row in rows:
            if row and len(row) != (width or len(row)):
                raise InputError(
                    f"{file}: line {start} has {len(row)} cells but the header has {width}, separated by {separator!r}; "
                    "put quotes around cells that hold the separator, or name another one with --sep (sep=)"
                )
            if row:  # else a blank line
                width = len(row)
                yield row
            start = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}: line {start}: {error}; check the quotes in the row that starts there") from None


@contextmanager
def _unlimited_cells(longest: int) -> Iterator[None]:
    """Lets a cell be as long as the file. The limit belongs to the whole process, so it is put back, one reader at a time."""
    with _cell_limit_lock:
        before = csv.field_size_limit(max(min(longest + 1, 2**31 - 1), csv.field_size_limit()))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _json_object(line: str, place: str) -> dict[str, object]:
    row = _json(line, place, "one JSON object per line is needed")
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected a JSON object, found {shorten(row)}; one object per line is needed")
    return row


def _json(text: str, place: str, needed: str) -> object:
    """What a text says in JSON. Raises InputError, also for a key that is there twice and for half a character."""

    def pairs(entries: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(entries)
        if len(found) < len(entries):
            twice = next(key for position, (key, _) in enumerate(entries) if key in dict(entries[:position]))
            raise InputError(f"{place}: the key {shorten(twice)} is there twice; keep one of them")
        return found

    try:
        found = json.loads(text, object_pairs_hook=pairs)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not valid JSON ({first_line(error)}); {needed}") from None
    return found
