"""From files to tables, with every fault of a file told in one line."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow

from genz_ppl.data.values import PLAIN_NUMBER, listing, plain_column, shorten, typed_column
from genz_ppl.errors import GenzWarning, InputError
from genz_ppl.types import FieldValue

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_cell_limit_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a source before their columns have roles.

    frame: one row per item. name: for messages. folder: what relative image paths start from.
    written: the cells are text as written in a file, still without types.
    unread: columns that a model does not read unless told to: an index, a column without a name.
    commas: commas before decimals are likely, since they do not separate cells.
    values: columns whose cells were read as a whole (see `readings`). styled: those of them that are numbers written as text.
    """

    frame: pd.DataFrame
    name: str
    folder: Path
    written: bool = False
    unread: frozenset[str] = frozenset()
    commas: bool = False
    values: Mapping[str, Sequence[FieldValue]] = field(default_factory=dict)
    styled: frozenset[str] = frozenset()

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return [str(name) for name in self.frame.columns]

    def cells(self, column: str) -> list[object]:
        """The column's cells as the source holds them, numbers written as text as numbers once they have been read."""
        return list(self.values[column] if column in self.styled else self.frame[column].tolist())

    def plain_cells(self, column: str) -> list[FieldValue]:
        """The column's cells as plain values, text where they are written. Raises InputError for binary data."""
        if self.written:
            return list(self.frame[column].tolist())
        try:
            return plain_column(self.frame[column])
        except TypeError:
            raise InputError(f"{self.name}: column {shorten(column)} holds binary data: name others with --text") from None

    def fields(self, column: str) -> list[FieldValue]:
        """The column's cells as typed plain values. Raises InputError for binary data."""
        if column in self.values:
            return list(self.values[column])
        return typed_column(self.frame[column].tolist()) if self.written else self.plain_cells(column)

    def is_binary(self, column: str) -> bool:
        """Whether the column holds binary data."""
        try:
            self.plain_cells(column)
        except InputError:
            return True
        return False

    def numeric_columns(self) -> list[str]:
        """Columns that hold numbers, true/false not counted."""
        return [column for column in self.columns if self._is_numeric(column)]

    def _is_numeric(self, column: str) -> bool:
        present = [] if self.is_binary(column) else [value for value in self.fields(column) if value is not None]
        return bool(present) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present)


def table_from_frame(frame: pd.DataFrame, name: str = "the DataFrame", folder: Path | None = None) -> Table:
    """A table of a DataFrame's cells; named index levels become columns that are not read unless named.

    Raises InputError for duplicate column names and for a DataFrame without rows.
    """
    named = [str(level) for level in frame.index.names if level is not None and level not in frame.columns]
    table = frame.reset_index(level=[level for level in frame.index.names if str(level) in named]) if named else frame
    columns = [str(column) for column in table.columns]
    _check_columns(columns, name)
    if not len(table):
        raise InputError(f"{name}: there are no rows; at least one is needed")
    return Table(table.set_axis(columns, axis=1), name, folder or Path(), unread=frozenset(named))


def read_table(path: str | Path) -> Table:
    """Reads a .csv, .tsv, .parquet, .jsonl or .json file, by its suffix; of text also compressed: .csv.gz, .csv.zip, ...

    Raises InputError for any fault of the file.
    """
    file = _existing_file(path)
    packed = file.suffix.lower() in PACKED
    reader = READERS.get((file.with_suffix("") if packed else file).suffix.lower())
    if reader is None or (packed and reader is read_parquet):
        known = f"{', '.join(READERS)}, and those of text with {', '.join(PACKED)} behind"
        raise InputError(f"{file}: unknown suffix {file.suffix!r}; known are {known}: save it as one of these")
    return reader(file)


def read_csv(path: str | Path) -> Table:
    """Reads cells separated by commas, UTF-8, one header row. Raises InputError for any fault of the file.

    A header that has more semicolons, tabs or bars than commas tells another separator, which a GenzWarning names.
    """
    return _read_separated(path, ",;\t|")


def read_tsv(path: str | Path) -> Table:
    """Reads cells separated by tabs, UTF-8, one header row. Raises InputError for any fault of the file."""
    return _read_separated(path, "\t")


def read_parquet(path: str | Path) -> Table:
    """Reads a parquet file. Raises InputError if it is broken."""
    file = _existing_file(path)
    try:
        # Nullable types: an integer column with gaps stays one.
        frame = pd.read_parquet(file, dtype_backend="numpy_nullable")
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{file}: not a readable parquet file ({_first_line(error)}); write it again") from None
    return table_from_frame(frame, str(file), file.parent)


def read_jsonl(path: str | Path) -> Table:
    """Reads one JSON object per line; a key that a line lacks is missing there. Raises InputError naming the broken line."""
    file = _existing_file(path)
    rows: list[dict[str, object]] = []
    # Not splitlines(): JSON strings may hold line separators other than the line feed.
    for line_number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            rows.append(_json_object(line, f"{file}: line {line_number}"))
    if not rows:
        raise InputError(f"{file}: the file is empty; one JSON object per line is needed")
    return _table_of_rows(rows, file)


def read_json(path: str | Path) -> Table:
    """Reads a JSON list of objects, one an item. Raises InputError for any fault of the file."""
    file = _existing_file(path)
    rows = _json(read_text(file), str(file), "a list of objects is needed")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{file}: expected a list of JSON objects, one an item; one object per line goes into a .jsonl file")
    return _table_of_rows(rows, file)


def _table_of_rows(rows: Sequence[Mapping[str, object]], file: Path) -> Table:
    """A table of objects with maybe different keys, in the order in which these first come; what a row lacks is missing."""
    columns = dict.fromkeys(column for row in rows for column in row)
    cells = {column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns}
    return table_from_frame(pd.DataFrame(cells), str(file), file.parent)


READERS: dict[str, Callable[[str | Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".json": read_json,
}
PACKED = (".gz", ".bz2", ".zst", ".zip")


def read_text(path: Path) -> str:
    """A UTF-8 file as text, without a byte order mark. Raises InputError with the place of the first byte that is not UTF-8."""
    try:
        content = _unpacked(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or _first_line(error)}); check the file") from None
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f"byte 0x{content[error.start]:02x} at position {error.start} (line {line})"
        raise InputError(f"{path}: not UTF-8, {place}; re-save the file as UTF-8") from None


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, those inside it where its last suffix says that it is compressed. Raises OSError, InputError."""
    kind = path.suffix.lower()
    if kind not in PACKED:
        return path.read_bytes()
    if kind != ".zip":
        with pyarrow.input_stream(str(path), compression="detect") as stream:
            return bytes(stream.read())
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
            if len(names) != 1:
                raise InputError(f"{path}: expected one file in the archive, found {len(names)}: {listing(names)}; keep one")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # damaged, or behind a password
        raise OSError(str(error)) from None


def _existing_file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if file.is_dir():
        raise InputError(f"{file}: this is a directory; name a file ({', '.join(READERS)})")
    if not file.exists():
        raise InputError(f"{file}: there is no such file; check the path")
    return file


def _read_separated(path: str | Path, separators: str) -> Table:
    """separators: the usual one first; what else there may be after it."""
    file = _existing_file(path)
    text = read_text(file)
    if not text.strip():
        raise InputError(f"{file}: the file is empty; a header row and at least one row of data are needed")
    separator = max(separators, key=text.lstrip().split("\n", 1)[0].count)
    if separator != separators[0]:
        shown = f"{file}: cells are separated by {separator!r}, as in the header, not by {separators[0]!r}"
        warnings.warn(shown, GenzWarning, stacklevel=2)
    with _unlimited_cells(len(text)):
        rows = list(_checked_rows(text, separator, file))
    header = [name.strip() for name in rows[0]]
    if all(PLAIN_NUMBER.fullmatch(name) for name in header):
        warnings.warn(
            f"{file}: the header is numbers only; if it is a row of data, put a header above it", GenzWarning, stacklevel=2
        )
    unnamed = {position: f"Unnamed: {position}" for position, name in enumerate(header) if not name}  # as pandas names them
    columns = [unnamed.get(position, name) for position, name in enumerate(header)]
    _check_columns(columns, str(file))
    if len(rows) == 1:
        raise InputError(f"{file}: there is a header but no row of data; at least one is needed")
    cells = dict(zip(columns, zip(*rows[1:], strict=True), strict=True))
    frame = pd.DataFrame({column: pd.Series(list(values), dtype=object) for column, values in cells.items()})
    unread = frozenset(unnamed.values())
    return Table(frame, str(file), file.parent, written=True, unread=unread, commas=separator == ";")


def _checked_rows(text: str, separator: str, file: Path) -> Iterator[list[str]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    width, start = 0, 1
    try:
        for row in rows:
            if row and len(row) != (width or len(row)):
                raise InputError(
                    f"{file}: line {start} has {len(row)} cells but the header has {width}; "
                    "put quotes around cells that hold the separator"
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
        raise InputError(f"{place}: not valid JSON ({_first_line(error)}); {needed}") from None
    return found


def _check_columns(columns: Sequence[str], name: str) -> None:
    twice = [column for column in dict.fromkeys(columns) if columns.count(column) > 1]
    if twice:
        raise InputError(f"{name}: duplicate column names ({listing(twice)}); give each column its own name")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
