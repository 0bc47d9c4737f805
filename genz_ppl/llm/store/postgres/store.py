"""The store of answers in PostgreSQL: what `AnswerStore` promises, for the processes of any number of hosts."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from psycopg import Cursor

from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import BoolArray
from genz_ppl.llm.store.owner import new_owner, retire
from genz_ppl.llm.store.postgres import rows
from genz_ppl.llm.store.postgres.attempts import add_attempt, count, numbers_of
from genz_ppl.llm.store.postgres.connection import Database, Heart
from genz_ppl.llm.store.postgres.rows import Row, spelled
from genz_ppl.llm.store.postgres.schema import lock
from genz_ppl.llm.store.rows import Claim, Key, Pair, Question, StoredAnswer, distinct, read_text, text_row
from genz_ppl.llm.store.tables import TEXTS
from genz_ppl.types import FloatArray

# Seconds between the signs of life of a worker.
BEAT = 10.0


class PostgresStore:
    """A `Store` in the schema genz of a database, which is made when it is not there.

    address: postgresql://USER@HOST:PORT/DATABASE. lease_seconds: after that long a claim that was neither settled nor renewed
    is void; before that if its process, on whatever host, gives no sign of life for six times `beat` seconds. All times are the
    database's. A server that is away for less than a minute, as when it is restarted, is waited for, and a deadlock
    begun again. Raises StoreError for a database that cannot be reached or used.
    """

    def __init__(self, address: str, lease_seconds: float = 900.0, beat: float = BEAT) -> None:
        if not lease_seconds > 0:
            raise ValueError(f"a lease lasts more than 0 seconds, not {lease_seconds!r}")
        self.address, self._lease_seconds, self._beat = address, lease_seconds, beat
        self.model = ""  # what this worker asks, for those who look at the store
        self._name = new_owner(self)
        self.database = Database(address)
        self._worker: int | None = None
        self._heart: Heart | None = None
        self._questions: dict[Question, int] = {}
        self._damaged: set[Key] = set()
        self._closed, self._pid = False, os.getpid()
        self._finalizer: weakref.finalize[..., Any] = weakref.finalize(self, self.database.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """See `Store.close`."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        retire(self._name)
        if self._heart is not None:
            self._heart.stop()
        with suppress(StoreError):
            if self._worker is not None:
                self.database.transact(self._end)
        self._finalizer()

    def _end(self, cursor: Cursor[Row], _: bool) -> None:
        cursor.execute("DELETE FROM genz.leases WHERE worker = %s", (self._worker,))
        cursor.execute("UPDATE genz.workers SET ended = true, seen = clock_timestamp() WHERE id = %s", (self._worker,))

    # ---- answers

    def lookup(self, questions: Sequence[Question], items: Sequence[bytes]) -> tuple[FloatArray, BoolArray]:
        """See `Store.lookup`."""
        row_of: dict[bytes, list[int]] = {}
        for row, item in enumerate(items):
            row_of.setdefault(item, []).append(row)
        values = np.full((len(items), len(questions)), np.nan)
        known = np.zeros(values.shape, dtype=np.bool_)
        numbers = self._numbers(questions)
        for question, number in numbers.items():
            keys: dict[Key, Pair] = {(number, item): (question, item) for item in row_of}
            columns = [column for column, each in enumerate(questions) if each == question]
            for key, answer in self.database.transact(partial(self._read, keys=keys)).items():
                if answer is not None:
                    places = np.ix_(row_of[keys[key][1]], columns)
                    values[places], known[places] = answer.value, True
        return values, known

    def _read(self, cursor: Cursor[Row], _: bool = False, *, keys: Mapping[Key, Pair]) -> dict[Key, StoredAnswer | None]:
        found = dict(rows.read_answers(cursor, keys))
        self._damaged.update(key for key, answer in found.items() if answer is None)
        return found

    def claim(self, pairs: Sequence[Pair]) -> Claim:
        """See `Store.claim`. Only what is not answered is leased, and only what is not answered even then is asked."""
        wanted = distinct(pairs)
        keys = self.keys(wanted)
        worker, mark = self.worker, secrets.randbits(62)

        def work(cursor: Cursor[Row], _: bool) -> tuple[dict[Key, StoredAnswer], set[Key]]:
            known = {key: answer for key, answer in self._read(cursor, keys=keys).items() if answer is not None}
            unknown = [key for key in keys if key not in known]
            held = rows.held(cursor, unknown, mark) if unknown else set()
            unknown = [key for key in unknown if key not in held]
            if not unknown:
                return known, set()
            mine = rows.lease(cursor, unknown, worker, mark, self._lease_seconds)
            # One that was settled while the lease was waited for is seen by this statement and not by the first.
            late = {key: answer for key, answer in self._read(cursor, keys={key: keys[key] for key in mine}).items() if answer}
            rows.drop(cursor, set(late), worker)
            return known | late, mine - set(late)

        known, mine = self.database.transact(work)
        return Claim(
            {keys[key]: answer for key, answer in known.items()},
            [pair for key, pair in keys.items() if key in mine],
            [pair for key, pair in keys.items() if key not in mine and key not in known],
        )

    def renew(self, pairs: Sequence[Pair]) -> None:
        """See `Store.renew`."""
        self._renew(list(self.keys(distinct(pairs))))

    def _renew(self, keys: Sequence[Key]) -> None:
        self.database.transact(lambda cursor, _: rows.renew(cursor, keys, self.worker, self._lease_seconds))

    def release(self, pairs: Sequence[Pair]) -> None:
        """See `Store.release`."""
        self._release(list(self.keys(distinct(pairs))))

    def _release(self, keys: Sequence[Key]) -> None:
        self.database.transact(lambda cursor, _: rows.drop(cursor, keys, self.worker))

    # ---- attempts

    def begin(self, run: int, kind: str, model: str, reserved: Spending) -> int:
        """See `Store.begin`; counted in the run at once."""
        attempt, worker = secrets.randbits(62), self.worker
        self.database.transact(lambda cursor, _: add_attempt(cursor, attempt, run, worker, kind, model, reserved))
        return attempt

    def settle(
        self,
        attempt: int,
        outcome: str,
        spent: Spending,
        answers: Mapping[Pair, StoredAnswer] | None = None,
        texts: Mapping[bytes, str] | None = None,
    ) -> None:
        """See `Store.settle`."""
        answers, texts = answers or {}, texts or {}
        keys = self.keys(distinct(answers))

        def work(cursor: Cursor[Row], again: bool) -> None:
            cursor.execute(
                "SELECT settled IS NOT NULL, run, calls, tokens_in, tokens_out, cost FROM genz.attempts WHERE id = %s FOR UPDATE",
                (attempt,),
            )
            found = cursor.fetchone()
            if found is not None and found[0] and again:
                return  # by the try whose commit we did not hear of
            if found is None or found[0]:
                raise ValueError(f"attempt {attempt} is not open: it was settled before, or never begun in this store")
            cursor.execute(
                "UPDATE genz.attempts SET settled = clock_timestamp(), outcome = %s, calls = %s, tokens_in = %s, "
                "tokens_out = %s, cost = %s, answers = %s WHERE id = %s",
                (spelled(outcome), *numbers_of(spent), len(keys), attempt),
            )
            if keys:
                self._damaged |= rows.add_answers(cursor, keys, answers, attempt)
            for key in sorted(texts):
                self._add_text(cursor, key, texts[key], attempt)
            rows.drop(cursor, {*keys, *((TEXTS, key) for key in texts)})
            before = Spending(*found[2:])
            difference = [new - old for new, old in zip(numbers_of(spent), numbers_of(before), strict=True)]
            count(cursor, found[1], difference)  # last: all workers of a run meet in this row

        self.database.transact(work)

    # ---- texts

    def text(self, key: bytes) -> str | None:
        """See `Store.text`."""
        return self.texts([key]).get(key)

    def texts(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """See `Store.texts`."""
        wanted = list(dict.fromkeys(keys))
        return self.database.transact(lambda cursor, _: self._texts(cursor, wanted)) if wanted else {}

    def _texts(self, cursor: Cursor[Row], keys: Sequence[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for start in range(0, len(keys), rows.MOST_KEYS):
            portion = list(keys[start : start + rows.MOST_KEYS])
            cursor.execute("SELECT key, text, checksum FROM genz.texts WHERE key = ANY(%b)", (portion,))
            for key, content, mark in cursor.fetchall():
                text = read_text(key, content, mark)
                if text is None:
                    self._damaged.add((TEXTS, key))
                else:
                    found[key] = text
        return found

    def _add_text(self, cursor: Cursor[Row], key: bytes, text: str, attempt: int) -> None:
        row = text_row(key, text, attempt)
        cursor.execute("INSERT INTO genz.texts VALUES (%b, %b, %s, %s) ON CONFLICT DO NOTHING", row)
        if cursor.rowcount == 0 and not self._texts(cursor, [key]):
            cursor.execute("UPDATE genz.texts SET text = %b, attempt = %s, checksum = %s WHERE key = %b", (*row[1:], key))

    def claim_text(self, key: bytes) -> bool:
        """See `Store.claim_text`."""
        return bool(self.claim_texts([key]))

    def claim_texts(self, keys: Sequence[bytes]) -> list[bytes]:
        """See `Store.claim_texts`."""
        worker, mark = self.worker, secrets.randbits(62)

        def work(cursor: Cursor[Row], _: bool) -> set[bytes]:
            known = self._texts(cursor, list(dict.fromkeys(keys)))
            unknown: list[Key] = [(TEXTS, key) for key in dict.fromkeys(keys) if key not in known]
            held = rows.held(cursor, unknown, mark) if unknown else set()
            unknown = [key for key in unknown if key not in held]
            if not unknown:
                return set()
            mine = rows.lease(cursor, unknown, worker, mark, self._lease_seconds)
            late = self._texts(cursor, [bytes(key) for _, key in mine])
            rows.drop(cursor, {(TEXTS, key) for key in late}, worker)
            return {bytes(key) for _, key in mine} - set(late)

        mine = self.database.transact(work)
        return [key for key in dict.fromkeys(keys) if key in mine]

    def renew_texts(self, keys: Sequence[bytes]) -> None:
        """See `Store.renew_texts`."""
        self._renew([(TEXTS, key) for key in keys])

    def release_text(self, *keys: bytes) -> None:
        """See `Store.release_text`."""
        self._release([(TEXTS, key) for key in keys])

    # ---- runs

    def open_run(self, name: str | None, fresh: bool, folder: str | Path | None = None) -> int:
        """See `Store.open_run`; no run here is older than names."""

        def work(cursor: Cursor[Row], _: bool) -> int:
            lock(cursor.connection)
            found: Row | None = None
            if name is not None and not fresh:
                found = cursor.execute("SELECT max(id) FROM genz.runs WHERE path = %s", (spelled(name),)).fetchone()
            if found is None or found[0] is None:
                path = None if name is None else spelled(name)
                found = cursor.execute("INSERT INTO genz.runs (path) VALUES (%s) RETURNING id", (path,)).fetchone()
            assert found is not None
            return int(found[0])

        return self.database.transact(work)

    def spent(self, run: int) -> Spending:
        """See `Store.spent`."""

        def work(cursor: Cursor[Row], _: bool) -> Spending:
            cursor.execute("SELECT calls, tokens_in, tokens_out, cost FROM genz.runs WHERE id = %s", (run,))
            found = cursor.fetchone()
            return Spending() if found is None else Spending(*found)

        return self.database.transact(work)

    def damaged(self) -> int:
        """See `Store.damaged`."""
        return len(self._damaged)

    # ---- this worker, and numbers of questions

    @property
    def worker(self) -> int:
        """The number of this worker, who is known and gives signs of life from the first time it is asked for."""
        if self._closed:
            raise StoreError(f"{self.address}: the store was closed; open it again")
        if self._worker is None:

            def work(cursor: Cursor[Row], _: bool) -> int:
                made = cursor.execute(
                    "INSERT INTO genz.workers (name, model, beat) VALUES (%s, %s, %s) "
                    "ON CONFLICT (name) DO UPDATE SET seen = clock_timestamp() RETURNING id",
                    (self._name, spelled(self.model), self._beat),
                ).fetchone()
                assert made is not None
                return int(made[0])

            self._worker = self.database.transact(work)
            self._heart = Heart(self.address, self._worker, self._beat)
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _let_go, self.database, self._heart)
        return self._worker

    def keys(self, pairs: Sequence[Pair]) -> dict[Key, Pair]:
        """The pairs by number of question and hash of item; new questions get a number."""
        numbers = self._numbers([question for question, _ in pairs], make=True)
        return {(numbers[question], item): (question, item) for question, item in pairs}

    def _numbers(self, questions: Sequence[Question], make: bool = False) -> dict[Question, int]:
        """The numbers of questions; of those that nobody asked yet only with `make`. Written before what needs them."""
        every = list(dict.fromkeys(questions))
        unknown = {question.digest: question for question in every if question not in self._questions}

        def work(cursor: Cursor[Row], _: bool) -> list[Row]:
            for digest, question in sorted(unknown.items()) if make else ():
                texts = [spelled(text) for text in question.columns[:5]]
                cursor.execute(
                    "INSERT INTO genz.questions (digest, feature, model, endpoint, prompt, sampling, draw) "
                    "VALUES (%b, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (digest, *texts, question.draw),
                )
            return cursor.execute("SELECT digest, id FROM genz.questions WHERE digest = ANY(%b)", (list(unknown),)).fetchall()

        if unknown:
            for digest, number in self.database.transact(work):
                self._questions[unknown[digest]] = number
        return {question: self._questions[question] for question in every if question in self._questions}


def _let_go(database: Database, heart: Heart) -> Any:
    heart.stop()
    database.close()
