"""A damaged store made anew from every row that can still be read and is what was written."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from genz_ppl.errors import StoreError
from genz_ppl.llm.store.batches import lease_jobs, unpacked
from genz_ppl.llm.store.export import asked
from genz_ppl.llm.store.pages import Pages
from genz_ppl.llm.store.rows import ITEM_BYTES, Pair, Question, StoredAnswer, damage, named, read_answer, read_text
from genz_ppl.llm.store.schema import as_text, check_ours, prepare_file, store_errors
from genz_ppl.llm.store.store import AnswerStore
from genz_ppl.llm.store.tables import Tables
from genz_ppl.llm.store.tools import count_damaged

_KINDS: dict[str, type | tuple[type, ...]] = {"INTEGER": int, "REAL": (int, float), "TEXT": str, "BLOB": bytes}
_TABLES = ("questions", "items", "owners", "attempts", "texts", "runs", "batches", "answers")
# The columns of attempts and batches that are filled late: of two states of a row, the one that has it is the last.
_LATE = {"attempts": 6, "batches": 4}
_SMALLEST = 20  # bytes of an attempt; as they count 1, 2, …, a number beyond what the file can hold is none
_PORTION = 20_000
_MEANS = "max(model), avg(begun), avg(calls), avg(tokens_in), avg(tokens_out), avg(cost) FROM attempts"
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)


@dataclass(frozen=True)
class Repaired:
    """What a repair kept: answers, texts, attempts (the ledger), batches that are waited for; and lost.

    lost_rows: not what was written there, or about an item that is lost. lost_pages: pages that cannot be read, or not whole.
    lost_attempts: each counts with the mean of its run from now on. damaged: where the damaged file is.
    """

    answers: int
    texts: int
    attempts: int
    batches: int
    lost_rows: int
    lost_pages: int
    lost_attempts: int
    damaged: Path


def repair(path: str | Path) -> Repaired | None:
    """Make the store anew from its readable, intact rows; the damaged file stays beside it as FILE.damaged. None: no damage.

    The old file stays in place until the new one is whole and takes it in one step. Raises StoreError if there is no store
    at `path`, a process has it open, nothing of a store can be read in it, or the disk is full.
    """
    file = Path(os.path.realpath(path))
    with store_errors(file):
        prepare_file(file, create=False)
        connection = _locked(file)
        # Closing a file gives up all locks that this process has on it, so this one is opened last and closed last.
        with file.open("rb") as opened, closing(connection):
            with suppress(*_DAMAGED):
                if count_damaged(connection) == 0:
                    return None
            with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
                log, new = Path(f"{file}-wal"), Path(folder) / "new.sqlite"
                with AnswerStore(new) as store:
                    counts = _Rescue(Pages(opened, log, Path(folder))).into(store)
                if not (counts["answers"] or counts["texts"] or counts["attempts"]):
                    raise StoreError(
                        f"{file}: nothing of a store of answers can be read in it; name another one with --store FILE"
                    )
                shutil.copymode(file, new)
                names = (Path(f"{file}.damaged{-number or ''}") for number in count())
                damaged = next(name for name in names if not name.exists())
                os.link(file, damaged)
                if log.exists():  # it would be taken for the new file's
                    log.rename(f"{damaged}-wal")
                new.replace(file)
                return Repaired(**counts, damaged=damaged)


def _locked(file: Path) -> sqlite3.Connection:
    """The store with its log written into it and nobody else let in; closed again if SQLite cannot open it at all."""
    connection = sqlite3.connect(file, timeout=0, isolation_level=None)
    connection.text_factory = as_text
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        check_ours(connection, file)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreError(f"{file}: a process has the store open; stop it, and repair the store then") from None
        if not isinstance(error, _DAMAGED):
            raise
    return connection


class _Rescue:
    """Carries rows from pages into a new store.

    Which table a row belongs to is told by its values, which item and question an answer is about by its checksum. Where
    the row that names an item, a question, a run or the run of an attempt is lost, the index that names it again stands in.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._counts = dict.fromkeys(("batches", "lost_rows", "lost_attempts"), 0)
        self._shapes: dict[str, list[tuple[type | tuple[type, ...], bool]]] = {}  # what each column holds, whether it must
        self._digests: dict[int, set[bytes]] = defaultdict(set)  # of the item and of the question with that number
        self._questions: dict[bytes, Question] = {}
        self._names: dict[int, set[str]] = defaultdict(set)  # of the run, the owner and the batch with that number
        self._runs: dict[int, int] = {}  # by attempt

    def into(self, store: AnswerStore) -> dict[str, int]:
        """Everything, in one transaction; returns how many rows of what."""
        with store.writing() as tables:
            query = tables.connection.execute
            for table in _TABLES:
                columns = query(f"PRAGMA table_info({table})")
                self._shapes[table] = [(_KINDS[kind], bool(needed)) for _, _, kind, needed, *_ in columns]
            for number, values in self._pages.rows():
                if number is not None:
                    self._take(tables.connection, number, values)
                elif len(values) == 2 and isinstance(values[1], int):
                    self._take_name(values[0], values[1])
            self._take_answers(tables)
            for table in ("answers", "texts", "attempts"):
                self._counts[table] = query(f"SELECT count(*) FROM {table}").fetchone()[0]
            self._fill_ledger(tables.connection)
            self._lease_batches(tables)
            if query("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise damage("the new file is damaged as well")
        return {**self._counts, "lost_pages": self._pages.unreadable}

    def _take(self, connection: sqlite3.Connection, number: int, values: list[Any]) -> None:
        """A row of a table with numbers."""
        table = next((table for table in _TABLES if self._fits(table, number, values)), None)
        if table in ("questions", "items"):
            self._take_name(values[1], number)
            question = asked(values[1], values[2:]) if table == "questions" else None
            if question is not None:
                self._questions[question.digest] = question
        elif table == "texts" and read_text(values[0], values[1], values[3]) is None:
            self._counts["lost_rows"] += 1
        elif table is not None:
            row = [number if values[0] is None else values[0], *values[1:]]
            row += [None] * (len(self._shapes[table]) - len(row))
            verb = "REPLACE" if table in _LATE and row[_LATE[table]] else "IGNORE"
            connection.execute(f"INSERT OR {verb} INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _fits(self, table: str, number: int, values: Sequence[Any]) -> bool:
        """Whether a row can be one of that table; columns that were added later are missing in older rows."""
        shape = self._shapes[table]
        filled = [*values, *[None] * (len(shape) - len(values))]
        if len(filled) != len(shape) or (table == "attempts" and not self._counts_as_attempt(number, values)):
            return False
        return all(
            needed is False if each is None else isinstance(each, kind)
            for each, (kind, needed) in zip(filled, shape, strict=True)
        )

    def _take_name(self, name: Any, number: int) -> None:
        if isinstance(name, bytes) and len(name) == ITEM_BYTES:
            self._digests[number].add(name)
        elif isinstance(name, str):
            self._names[number].add(name)
        elif isinstance(name, int) and self._counts_as_attempt(number, ()):
            self._runs[number] = name

    def _counts_as_attempt(self, number: int, values: Sequence[Any]) -> bool:
        numbers = [value for value in values if isinstance(value, int | float)]
        return 0 < number <= self._pages.bytes // _SMALLEST and all(0 <= value < math.inf for value in numbers)

    def _take_answers(self, tables: Tables) -> None:
        found: dict[int, dict[Pair, StoredAnswer]] = defaultdict(dict)
        waiting = 0
        for number, values in self._pages.rows():
            if number is not None or len(values) != len(self._shapes["answers"]):
                continue
            question, item, value, reason, probability, attempt, mark = values
            probability = float(probability) if isinstance(probability, int) else probability  # SQLite keeps 1.0 as 1
            for pair in self._pairs(question, item):
                answer = read_answer(pair, value, reason, probability, mark)
                if answer is not None and isinstance(attempt, int):
                    found[attempt][pair] = answer
                    waiting += 1
                    break
            else:
                self._counts["lost_rows"] += 1
            if waiting == _PORTION:
                _write(tables, found)
                waiting = 0
        _write(tables, found)

    def _pairs(self, question: int, item: int) -> Iterator[Pair]:
        """What the numbers of an answer may stand for."""
        for digest in self._digests.get(question, ()):
            if digest not in self._questions:
                self._questions[digest] = named(digest, (digest.hex(), "", "", "", "", 0))
            yield from ((self._questions[digest], each) for each in self._digests.get(item, ()))

    def _fill_ledger(self, connection: sqlite3.Connection) -> None:
        """A lost attempt counts with the mean of its run from now on, so that caps hold; a run keeps its number and path."""
        kept = dict(connection.execute("SELECT id, run FROM attempts ORDER BY id").fetchall())
        query = f"SELECT run, {_MEANS} GROUP BY run UNION ALL SELECT NULL, {_MEANS}"
        means = {run: mean for run, *mean in connection.execute(query)}
        waiting = {attempt for (attempt,) in connection.execute("SELECT attempt FROM batches")}
        run = next(iter(kept.values()), 1)
        for attempt in range(1, max([*kept, *self._runs], default=0) + 1):
            run = kept.get(attempt, self._runs.get(attempt, run))
            if attempt not in kept:
                model, begun, *tokens, cost = (part or 0 for part in means.get(run, means[None]))
                settled = None if attempt in waiting else begun
                row = (attempt, run, 0, "lost", model or "", begun, settled, "lost", *map(round, tokens), cost)
                connection.execute(f"INSERT INTO attempts VALUES ({', '.join('?' * len(row))})", row)
                self._counts["lost_attempts"] += 1
        others = {name for (name,) in connection.execute("SELECT name FROM owners UNION ALL SELECT token FROM batches")}
        for (run,) in connection.execute("SELECT DISTINCT run FROM attempts WHERE run > 0 AND run NOT IN (SELECT id FROM runs)"):
            path = max(self._names.get(run, set()) - others, key=os.path.isabs, default=None)
            connection.execute("INSERT INTO runs (id, path, started) VALUES (?, ?, 0)", (run, path))

    def _lease_batches(self, tables: Tables) -> None:
        """The batches that nobody collected yet, and what they ask."""
        query = tables.connection.execute
        query("DELETE FROM batches WHERE attempt IN (SELECT id FROM attempts WHERE settled IS NOT NULL)")
        for token, created, jobs in query("SELECT token, created, jobs FROM batches").fetchall():
            try:
                lease_jobs(tables, token, unpacked(jobs), created)
                self._counts["batches"] += 1
            except (zlib.error, ValueError):
                query("DELETE FROM batches WHERE token = ?", (token,))
                self._counts["lost_rows"] += 1


def _write(tables: Tables, found: dict[int, dict[Pair, StoredAnswer]]) -> None:
    """The answers of each attempt, and begin anew."""
    for attempt, answers in found.items():
        tables.add_answers(tables.keys(list(answers), make=True), answers, attempt)
    found.clear()
