"""Rows of an SQLite file page by page: none depends on the file's head, its schema, its indexes or the pages above its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

_SIZE = 4096  # bytes of a page; what every store is made with
_INDEX, _TABLE, _INDEX_LEAF, _TABLE_LEAF = 2, 5, 10, 13  # the first byte of a page; a table's rows are on its leaves only
_COLUMNS = ", ".join(f"c{n}" for n in range(15))  # more than any table of ours has


class Pages:
    """A copy of an SQLite file with a schema of two tables; one page after the other becomes all there is of one of them.

    file: opened for reading. log: the log beside it, written into the copy if it exists. folder: for the copy.
    bytes: the length of the file. unreadable: how many of its pages could not be read whole, known after `rows`.
    """

    def __init__(self, file: BinaryIO, log: Path, folder: Path) -> None:
        self.bytes = os.fstat(file.fileno()).st_size
        self.unreadable = 0
        self._path = folder / "copy.sqlite"
        with self._path.open("xb") as copy:
            for start in range(0, self.bytes, _SIZE):
                page = b""
                with suppress(OSError):  # a place on the disk that cannot be read
                    page = os.pread(file.fileno(), _SIZE, start)
                copy.write(page.ljust(_SIZE, b"\0"))
        if log.exists():
            self._put(1, _head(1))
            shutil.copyfile(log, f"{self._path}-wal")
            with closing(sqlite3.connect(self._path)) as connection, suppress(sqlite3.DatabaseError):
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # closing writes the log then
        self._last = self._path.stat().st_size // _SIZE
        self._put(1, _head(self._last))

    def rows(self) -> Iterator[tuple[int | None, list[Any]]]:
        """Every row: its number (None in an index and in a table without numbers), and its values up to the last that is given.

        Pages that are no longer in use are read as well: what was deleted may come, and an earlier state of a row.
        """
        self.unreadable = 0
        for number in range(2, self._last + 1):
            with self._path.open("rb") as copy:
                page = os.pread(copy.fileno(), _SIZE, (number - 1) * _SIZE)
            if page[0] in (_INDEX, _INDEX_LEAF, _TABLE_LEAF):
                yield from self._rows_of(_as_leaf(page) if page[0] == _INDEX else page, page[0] == _TABLE_LEAF)
            elif page[0] != _TABLE and (page[0] or not any(page)):  # the pages of long values begin with a 0
                self.unreadable += 1

    def _rows_of(self, page: bytes, numbered: bool) -> Iterator[tuple[int | None, list[Any]]]:
        self._put(self._last + 1, page + bytes(_SIZE) if numbered else bytes(_SIZE) + page)
        query = "SELECT rowid, * FROM numbered ORDER BY rowid" if numbered else "SELECT NULL, * FROM ordered ORDER BY c0"
        with closing(sqlite3.connect(f"{self._path.as_uri()}?immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA cell_size_check = ON")
            connection.text_factory = _text
            for direction in ("ASC", "DESC"):  # to what is damaged, and back to it from the other end
                try:
                    for number, *values in connection.execute(f"{query} {direction}"):
                        while values and values[-1] is None:
                            values.pop()
                        yield number, values
                    return
                except sqlite3.DatabaseError:
                    self.unreadable += direction == "ASC"

    def _put(self, number: int, content: bytes) -> None:
        with self._path.open("r+b") as copy:
            copy.seek((number - 1) * _SIZE)
            copy.write(content)


def _head(last: int) -> bytes:
    """A first page by which the two tables lie behind the last page."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(
            f"CREATE TABLE numbered ({_COLUMNS}); CREATE TABLE ordered ({_COLUMNS}, PRIMARY KEY (c0)) WITHOUT ROWID; "
            f"PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = {last} + iif(name = 'numbered', 1, 2)"
        )
        head = connection.serialize()
    return head[:28] + bytes(4) + head[32:_SIZE]  # however long the file is


def _as_leaf(page: bytes) -> bytes:
    """A page of an index that has pages below it, without them: each of its cells begins with the number of one."""
    count = min(int.from_bytes(page[3:5], "big"), (_SIZE - 12) // 2)
    cells = [min(cell + 4, _SIZE) for cell in struct.unpack_from(f">{count}H", page, 12)]
    return bytes((_INDEX_LEAF,)) + page[1:8] + struct.pack(f">{count}H", *cells) + page[8 + 2 * count :]


def _text(content: bytes) -> str | bytes:
    """A text that is no UTF-8 is none, and fits no column of texts."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
