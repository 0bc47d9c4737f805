"""The store of answers: one SQLite file that all runs and processes share, so that every answer is paid for once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.owner import new_owner, retire
from genz_ppl.llm.store.rows import Claim, Key, Pair, Question, StoredAnswer, distinct, portions, writable
from genz_ppl.llm.store.schema import open_store, roll_back, store_errors
from genz_ppl.llm.store.tables import TEXTS, Tables
from genz_ppl.types import FloatArray

__all__ = ["AnswerStore", "BoolArray", "Claim", "Pair", "Question", "StoredAnswer", "default_path"]

BoolArray = NDArray[np.bool_]


def default_path() -> Path:
    """Where answers are kept unless told otherwise: genz-ppl/answers.sqlite in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "genz-ppl" / "answers.sqlite"


class AnswerStore:
    """Answers by question and item, leases on what is being asked, and a journal of every attempt.

    Any number of processes may share one file and any thread may use one object. Every write is one transaction: a kill at
    any moment loses what was not settled and nothing else. A row whose checksum is wrong counts as unknown, is asked again
    and replaced. All methods raise StoreError, with what to do next, when the file cannot be read or written.

    path: made with its folders if need be, readable by its owner only. lease_seconds: after that long a claim that was
    neither settled nor renewed is void; the claims of a process of this host that has ended are void at once.
    """

    def __init__(self, path: str | Path, lease_seconds: float = 900.0) -> None:
        if not lease_seconds > 0:
            raise ValueError(f"a lease lasts more than 0 seconds, not {lease_seconds!r}")
        self.path = Path(os.path.abspath(path))
        self._lease_seconds = lease_seconds
        self._lock = threading.RLock()
        self._owner = new_owner(self)
        self._tables = Tables(open_store(self.path), self._owner)
        self._closed = False
        self._pid, self._file = os.getpid(), self._present_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is claimed, and the file. Never raises; a second time does nothing."""
        with self._lock:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
            retire(self._owner)
            with suppress(sqlite3.Error):
                self._tables.release_all()
            with suppress(sqlite3.Error):
                self._tables.connection.close()

    # ---- answers

    def lookup(self, questions: Sequence[Question], items: Sequence[bytes]) -> tuple[FloatArray, BoolArray]:
        """What is known about I items and Q questions, asking nobody and claiming nothing.

        Returns values (I, Q) of 1., 0. and nan (unknown, or known to have no valid answer) and known (I, Q).
        """
        rows: dict[bytes, int] = {}
        columns: dict[Question, int] = {}
        row_of = [rows.setdefault(item, len(rows)) for item in items]
        column_of = [columns.setdefault(question, len(columns)) for question in questions]
        values = np.full((len(rows), len(columns)), np.nan)
        known = np.zeros(values.shape, dtype=np.bool_)
        with self.using() as tables:
            numbers = tables.items(rows)
        for question, column in columns.items():
            at, found = [], []
            with self.using() as tables:  # a question at a time, so that other threads get their turn
                number = tables.question(question)
                if number is None:
                    continue
                keys: dict[Key, Pair] = {(number, each): (question, item) for item, each in numbers.items()}
                for key, answer in tables.answers(keys):
                    if answer is not None:
                        at.append(rows[keys[key][1]])
                        found.append(answer.value)
            values[at, column] = found
            known[at, column] = True
        return values[np.ix_(row_of, column_of)], known[np.ix_(row_of, column_of)]

    def claim(self, pairs: Sequence[Pair]) -> Claim:
        """Divide pairs into what is known, what the caller is to ask now, and what someone else is asking; one transaction.

        What is claimed stays claimed, for other claims of this object too, until it is settled, released or expired.
        Damaged rows count as unknown. Raises ValueError for an item that is no 32-byte hash.
        """
        claim, wanted = Claim(), distinct(pairs)
        with self.writing() as tables:
            now = time.time()
            keys = tables.keys(wanted, make=True)
            stored = dict(tables.answers(keys))
            open_keys = [key for key in keys if stored.get(key) is None]
            held = tables.held(open_keys, now)
            mine = [key for key in open_keys if key not in held]
            tables.lease(mine, now + self._lease_seconds)
        claim.known.update((keys[key], answer) for key, answer in stored.items() if answer is not None)
        claim.mine.extend(keys[key] for key in mine)
        claim.theirs.extend(keys[key] for key in open_keys if key in held)
        return claim

    def renew(self, pairs: Sequence[Pair]) -> None:
        """Let what this object has claimed of these pairs last for another full lease."""
        wanted = distinct(pairs)
        with self.writing() as tables:
            tables.renew(tables.keys(wanted), time.time() + self._lease_seconds)

    def release(self, pairs: Sequence[Pair]) -> None:
        """Give up what this object has claimed of these pairs: anyone may claim them again."""
        wanted = distinct(pairs)
        with self.writing() as tables:
            tables.release(tables.keys(wanted))

    # ---- attempts

    def begin(self, run: int, kind: str, model: str, reserved: Spending) -> int:
        """Write down an attempt before it is made, with the most it can use up; returns its id."""
        with self.writing() as tables:
            made = tables.connection.execute(
                "INSERT INTO attempts (run, owner, kind, model, begun, calls, tokens_in, tokens_out, cost) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (run, tables.made_owner(), writable(kind), writable(model), time.time(), *_numbers(reserved)),
            )
            return int(made.fetchone()[0])

    def settle(
        self,
        attempt: int,
        outcome: str,
        spent: Spending,
        answers: Mapping[Pair, StoredAnswer] | None = None,
        texts: Mapping[bytes, str] | None = None,
    ) -> None:
        """Close an attempt: what it used up in place of what was reserved, its answers and texts, their leases dropped.

        One transaction. What is answered already stays as it is: the first answer counts. Raises ValueError for an attempt
        that is closed or unknown, an item that is no 32-byte hash, or a value that is no answer; then nothing is written.
        """
        answers, texts = answers or {}, texts or {}
        wanted = distinct(answers)
        with self.writing() as tables:
            closed = tables.connection.execute(
                "UPDATE attempts SET settled = ?, outcome = ?, calls = ?, tokens_in = ?, tokens_out = ?, cost = ? "
                "WHERE id = ? AND settled IS NULL",
                (time.time(), writable(outcome), *_numbers(spent), attempt),
            )
            if closed.rowcount != 1:
                raise ValueError(f"attempt {attempt} is not open: it was settled before, or never begun in this store")
            keys = tables.keys(wanted, make=True)
            tables.add_answers(keys, answers, attempt)
            tables.drop(keys)
            for key, text in texts.items():
                tables.add_text(key, text, attempt)
            tables.drop([(TEXTS, key) for key in texts])

    # ---- texts

    def text(self, key: bytes) -> str | None:
        """The text stored under the key; None if there is none, or a damaged one."""
        with self.using() as tables:
            return tables.text(key)

    def texts(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The intact texts of those keys that have one."""
        found: dict[bytes, str] = {}
        for portion in portions(list(dict.fromkeys(keys))):  # some at a time, so that other threads get their turn
            with self.using() as tables:
                found |= tables.texts(portion)
        return found

    def claim_text(self, key: bytes) -> bool:
        """True if the caller is to make the text of that key now; False if it is stored, or being made by someone else."""
        return bool(self.claim_texts([key]))

    def claim_texts(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys whose texts the caller is to make now; the others are stored, or being made by someone else."""
        with self.writing() as tables:
            now = time.time()
            known = tables.texts(keys)
            unknown = [(TEXTS, key) for key in dict.fromkeys(keys) if key not in known]
            held = tables.held(unknown, now)
            mine = [key for key in unknown if key not in held]
            tables.lease(mine, now + self._lease_seconds)
        return [key for _, key in mine]

    def renew_texts(self, keys: Sequence[bytes]) -> None:
        """Let the claims on these texts last for another full lease."""
        with self.writing() as tables:
            tables.renew([(TEXTS, key) for key in keys], time.time() + self._lease_seconds)

    def release_text(self, *keys: bytes) -> None:
        """Give up the claims on texts."""
        with self.writing() as tables:
            tables.release([(TEXTS, key) for key in keys])

    # ---- runs

    def open_run(self, name: str | None, fresh: bool, folder: str | Path | None = None) -> int:
        """The ledger of a run: the newest one of that name; a new one if `fresh`, if there is none, or for no name at all.

        folder: of a run that may be older than names: the ledger that was kept under its path then goes by the name from now on.
        """
        path = None if folder is None else os.fsencode(os.path.abspath(folder)).decode("utf-8", "backslashreplace")
        with self.writing() as tables:
            for known in () if fresh or name is None else (name, path):
                newest = tables.connection.execute("SELECT max(id) FROM runs WHERE path = ?", (known,)).fetchone()[0]
                if newest is not None:
                    tables.connection.execute("UPDATE runs SET path = ? WHERE id = ?", (name, newest))
                    return int(newest)
            made = tables.connection.execute("INSERT INTO runs (path, started) VALUES (?, ?) RETURNING id", (name, time.time()))
            return int(made.fetchone()[0])

    def spent(self, run: int) -> Spending:
        """What the attempts of a run used up; one that was never settled counts with all it had reserved."""
        with self.using() as tables:
            calls, tokens_in, tokens_out, cost = tables.connection.execute(
                "SELECT coalesce(sum(calls), 0), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), total(cost) "
                "FROM attempts WHERE run = ?",
                (run,),
            ).fetchone()
            return Spending(int(calls), int(tokens_in), int(tokens_out), float(cost))

    def damaged(self) -> int:
        """How many damaged rows this object has met so far."""
        return len(self._tables.damaged)

    # ---- the connection

    @contextmanager
    def using(self) -> Iterator[Tables]:
        """The tables, for one thread at a time."""
        with self._lock, store_errors(self.path):
            if self._closed:
                raise StoreError(f"{self.path}: the store was closed; open it again")
            if os.getpid() != self._pid:
                raise StoreError(f"{self.path}: the store was opened before this process forked; open it again in each process")
            yield self._tables

    @contextmanager
    def writing(self) -> Iterator[Tables]:
        """The tables amid a transaction of its own, which other writers wait for; undone if anything raises."""
        with self.using() as tables:
            if self._present_file() != self._file:
                # Writing on would go to a file that no longer has a name, and be lost.
                raise StoreError(f"{self.path}: the store was moved or deleted while in use; run 'genz resume' to go on")
            tables.connection.execute("BEGIN IMMEDIATE")
            try:
                yield tables
                tables.connection.execute("COMMIT")
            except BaseException:
                roll_back(tables.connection)
                tables.forget()
                raise

    def _present_file(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _numbers(spending: Spending) -> tuple[int, int, int, float]:
    return spending.calls, spending.tokens_in, spending.tokens_out, spending.cost
