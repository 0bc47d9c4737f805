"""A connection to PostgreSQL that outlives the server's restarts, and the beats by which others know that this worker lives."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, Cursor, errors

from genz_ppl.errors import StoreError
from genz_ppl.llm.store.postgres.schema import prepare

Result = TypeVar("Result")
Row = tuple[Any, ...]
# For so long a server may be away, as when it is restarted.
AWAY_SECONDS = 60.0
# Two transactions that wait for each other are told so, and one of them begins again: so often at most.
MOST_AGAIN = 50
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)
_FULL = (errors.DiskFull, errors.OutOfMemory)


def connected(address: str) -> Connection[Row]:
    """A new connection. Statements are not prepared on the server, where a pooler would look for them in vain.

    A host that vanishes is noticed within a minute.
    """
    return psycopg.connect(
        address,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=10,
        application_name="genz-ppl",
        keepalives_idle=20,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=60_000,
    )


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Turns the errors of PostgreSQL into StoreError with what to do next."""
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(_explain(address, error)) from error


def _explain(address: str, error: psycopg.Error) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, _FULL):
        return f"{address}: the database has no room left ({said}); free some and run 'genz resume' to go on"
    if isinstance(error, errors.InsufficientPrivilege):
        return (
            f"{address}: the user may not use the database ({said}); grant CREATE on it and all on the schema genz, or name "
            "another with --store"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return (
            f"{address}: the database cannot be reached ({said}); see that it runs and lets you in, then run 'genz resume' to go "
            "on; what it holds is kept"
        )
    return f"{address}: the database refuses ({said}); name another store with --store, or see its log"


class Database:
    """One connection, used by one thread at a time; made anew when it is lost."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.RLock()
        self._closed, self._pid = False, os.getpid()
        with store_errors(address):
            self._connection: Connection[Row] | None = connected(address)
            try:
                prepare(self._connection, address)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.close()

    def transact(self, work: Callable[[Cursor[Row], bool], Result]) -> Result:
        """What `work(cursor, again)` gives, in a transaction of its own, begun again after a deadlock or a lost connection.

        again: True where an earlier try may have been committed without our hearing of it. Raises StoreError.
        """
        if os.getpid() != self._pid:
            raise StoreError(f"{self.address}: the store was opened before this process forked; open it again in each process")
        again, tries, deadline = False, 0, time.monotonic() + AWAY_SECONDS
        with self._lock, store_errors(self.address):
            while True:
                if self._closed:
                    raise StoreError(f"{self.address}: the store was closed; open it again")
                try:
                    connection = self._present()
                    with connection.transaction(), connection.cursor(binary=True) as cursor:
                        return work(cursor, again)
                except _AGAIN:
                    tries += 1
                    if tries > MOST_AGAIN:
                        raise
                    time.sleep(random.uniform(0, 0.01) * tries)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if isinstance(error, _FULL) or not self._is_lost() or time.monotonic() > deadline:
                        raise
                    again = True
                    time.sleep(random.uniform(0.1, 0.5))

    def _present(self) -> Connection[Row]:
        if self._is_lost() or self._connection is None:
            self._connection = connected(self.address)
        return self._connection

    def _is_lost(self) -> bool:
        """Whether there is no connection any more, as after a restart, or while there is none to be had."""
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self._connection.close()
            self._connection = None
        return self._connection is None


class Heart:
    """Says every `beat` seconds that a worker lives, over a connection of its own, until `stop`."""

    def __init__(self, address: str, worker: int, beat: float) -> None:
        self._address, self._worker, self._beat = address, worker, beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="genz-heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; returns when the connection is closed."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=15.0)

    def _run(self) -> None:
        connection: Connection[Row] | None = None
        while not self._stop.wait(self._beat):
            try:
                if connection is None or connection.closed:
                    connection = connected(self._address)
                connection.execute("UPDATE genz.workers SET seen = clock_timestamp() WHERE id = %s", (self._worker,))
            except psycopg.Error:  # the next beat tries again
                connection = None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
