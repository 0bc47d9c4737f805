"""The file behind the store of answers: how it is opened, made, migrated, and what SQLite's errors mean to a user."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genz_ppl.errors import StoreError

BUSY_SECONDS = 60.0
# The statements are right, so a table or column that is missing, or a row in the way, means damage too.
_SIGNS_OF_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
APPLICATION = 0x67656E7A  # "genz", in the header of the file

# One entry a schema version; the first makes a new file, each later one changes a file of the version before.
# Items and questions go by small numbers in order of appearance: a call then writes few pages, however large the store.
# A lease's item is the item's number, or under question 0 the key of a text. Times are seconds since 1970.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE questions (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, feature TEXT NOT NULL,
            model TEXT NOT NULL, endpoint TEXT NOT NULL, prompt TEXT NOT NULL, sampling TEXT NOT NULL, draw INTEGER NOT NULL)""",
        "CREATE TABLE items (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE)",
        """CREATE TABLE answers (question INTEGER NOT NULL, item INTEGER NOT NULL, value INTEGER, reason TEXT NOT NULL,
            probability REAL, attempt INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (question, item)) WITHOUT ROWID""",
        """CREATE TABLE leases (question INTEGER NOT NULL, item BLOB NOT NULL, owner INTEGER NOT NULL, expires REAL NOT NULL,
            PRIMARY KEY (question, item)) WITHOUT ROWID""",
        "CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        """CREATE TABLE attempts (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, owner INTEGER NOT NULL, kind TEXT NOT NULL,
            model TEXT NOT NULL, begun REAL NOT NULL, settled REAL, outcome TEXT, calls INTEGER NOT NULL,
            tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL)""",
        "CREATE INDEX attempts_of_run ON attempts (run)",
        "CREATE TABLE texts (key BLOB PRIMARY KEY, text BLOB NOT NULL, attempt INTEGER NOT NULL, checksum INTEGER NOT NULL)",
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, path TEXT, started REAL NOT NULL)",
        "CREATE INDEX runs_of_path ON runs (path)",
        """CREATE TABLE batches (token TEXT PRIMARY KEY, run INTEGER NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL,
            identifier TEXT NOT NULL, attempt INTEGER NOT NULL, created REAL NOT NULL, jobs BLOB NOT NULL)""",
    ),
)


def open_store(path: Path, create: bool = True) -> sqlite3.Connection:
    """A connection to the store at `path`, made (readable by its owner only) or migrated if need be.

    Transactions are begun by hand; texts that are no UTF-8 come back with surrogates. Raises StoreError for what cannot be
    opened, is no store, or was written by a newer version.
    """
    with store_errors(path):
        prepare_file(path, create)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.text_factory = as_text
            check_ours(connection, path)
            _set_up(connection, path)
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def as_text(content: bytes) -> str:
    """A text of the file; what is no UTF-8 in it becomes surrogates, so that damaged rows can be read and told."""
    return content.decode("utf-8", "surrogateescape")


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns the errors of SQLite and of the file system into StoreError with what to do next.

    A message of SQLite that quotes a damaged schema is no UTF-8, and then raises UnicodeDecodeError in place of its error.
    """
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise StoreError(explain(path, error)) from error


def explain(path: Path, error: Exception) -> str:
    """One line: which store, what happened, what to do next."""
    exact = getattr(error, "sqlite_errorcode", None) or 0
    code = exact & 0xFF
    said = " ".join(str(error).split())
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full; free some space and run 'genz resume' to go on; what the store holds is kept"
    if code in _SIGNS_OF_DAMAGE or exact in _UNREADABLE or isinstance(error, UnicodeDecodeError):
        return (
            f"{path}: the store is damaged ({said}); run 'genz store repair --store {path}', which keeps what can be read, "
            "and 'genz resume' to ask the rest again"
        )
    if code == sqlite3.SQLITE_IOERR:
        return (
            f"{path}: the disk is full or cannot be written ({said}); free some space and run 'genz resume' to go on; "
            "what the store holds is kept"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"{path}: expected a store of answers, found another kind of file; name another one with --store FILE, or, if it was "
            f"a store, run 'genz store repair --store {path}'"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"{path}: another process has kept the store busy for {BUSY_SECONDS:g} seconds; wait until it has ended and run "
            "'genz resume' to go on"
        )
    if code == sqlite3.SQLITE_READONLY:
        return f"{path}: the store must be writable and is not; give yourself the right to write, or name another with --store"
    return f"{path}: the store cannot be opened or used ({said}); check its folder, or name another one with --store FILE"


def prepare_file(path: Path, create: bool) -> None:
    """Make the file, or raise StoreError if there is none."""
    if path.is_dir():
        raise StoreError(f"{path}: expected a file for the store of answers, found a folder; name a file with --store FILE")
    if path.exists():
        return
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives the files beside it the same permissions. Questions can be confidential, so they are narrow.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    else:
        raise StoreError(f"{path}: found no store of answers there; name another one with --store FILE")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for another program's database, and for a store of a newer version."""
    # One statement, so one state of the file: another process may be making it at this moment.
    version, application, tables = connection.execute(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if application != APPLICATION and (version or tables):
        raise StoreError(f"{path}: expected a store of answers, found the database of another program; name another with --store")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: the store has schema version {version}, this genz-ppl knows {len(MIGRATIONS)}: "
            "upgrade genz-ppl, or name another store with --store FILE"
        )


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    mode = _write_ahead(connection)
    if mode != "wal":
        raise StoreError(
            f"{path}: this file system cannot hold a store that processes share (journal mode {mode}); "
            "put it on a local disk with --store FILE"
        )
    for pragma in ("synchronous = NORMAL", "cache_size = -32768", "cell_size_check = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")  # pages, 32 MB: writing the log into the file holds up every call
    connection.execute("PRAGMA journal_size_limit = 67108864")  # a log that grew once is cut back to 64 MB


def _write_ahead(connection: sqlite3.Connection) -> str:
    """Switch to write-ahead logging. SQLite does not wait here when several processes open a new file at once; this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema in one transaction."""
    if _number(connection, "PRAGMA user_version") == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        check_ours(connection, path)  # another process may have been faster
        version = _number(connection, "PRAGMA user_version")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction without effect. SQLite has done so itself after some errors."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
