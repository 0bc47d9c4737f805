"""Batches under way, in the store: what was asked in each, so that its answers find their place after any crash."""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.rows import Pair, Question
from genz_ppl.llm.store.store import AnswerStore
from genz_ppl.llm.store.tables import TEXTS, Tables

# A server has 24 hours for a batch; its questions are nobody else's to ask for that long and some more.
LEASE_SECONDS = 26 * 3600.0


@dataclass(frozen=True)
class BatchRow:
    """A batch in the store. token: the mark it carries on the server. identifier: its name there, "" until that is known.

    attempt: its entry in the journal. created: seconds since 1970. jobs: the pairs asked in each request, item by item.
    """

    token: str
    run: int
    endpoint: str
    model: str
    identifier: str
    attempt: int
    created: float
    jobs: tuple[BatchJob, ...]


@dataclass(frozen=True)
class BatchJob:
    """One request of a batch: every question about every item (content hash); without questions, for the text of each key.

    most: tokens that it can read and write.
    """

    items: tuple[bytes, ...]
    questions: tuple[Question, ...]
    most: tuple[int, int] = (0, 0)

    @property
    def pairs(self) -> list[Pair]:
        """What it asks."""
        return [(question, item) for item in self.items for question in self.questions]


class Batches(Protocol):
    """The batches of a store, in a file (`BatchLedger`) or in PostgreSQL."""

    def add(
        self, run: int, endpoint: str, model: str, jobs: Sequence[BatchJob], reserved: Spending, attempt: int | None = None
    ) -> BatchRow:
        """Journal a batch before it is sent, and lease its pairs to it, whatever becomes of this process.

        attempt: its entry in the journal, where it has one already.
        """

    def sent(self, row: BatchRow, identifier: str) -> BatchRow:
        """The server has it, under this name; returns the row with it."""

    def open(self, endpoint: str) -> list[BatchRow]:
        """The batches at that server whose results are not stored yet, the oldest first."""

    def close(self, row: BatchRow) -> None:
        """Its results are stored, or there will be none: what it left unanswered may be asked again."""


class BatchLedger:
    """See `Batches`."""

    def __init__(self, store: AnswerStore) -> None:
        self.store = store

    def add(
        self, run: int, endpoint: str, model: str, jobs: Sequence[BatchJob], reserved: Spending, attempt: int | None = None
    ) -> BatchRow:
        """See `Batches.add`."""
        token = secrets.token_hex(16)
        attempt = self.store.begin(run, "batch", model, reserved) if attempt is None else attempt
        row = BatchRow(token, run, endpoint, model, "", attempt, time.time(), tuple(jobs))
        with self.store.writing() as tables:
            tables.connection.execute(
                "INSERT INTO batches (token, run, endpoint, model, identifier, attempt, created, jobs) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (token, run, endpoint, model, "", attempt, row.created, packed(jobs)),
            )
            lease_jobs(tables, token, jobs, row.created)
        return row

    def sent(self, row: BatchRow, identifier: str) -> BatchRow:
        """See `Batches.sent`."""
        with self.store.writing() as tables:
            tables.connection.execute("UPDATE batches SET identifier = ? WHERE token = ?", (identifier, row.token))
        return replace(row, identifier=identifier)

    def open(self, endpoint: str) -> list[BatchRow]:
        """See `Batches.open`."""
        with self.store.using() as tables:
            found = tables.connection.execute(
                "SELECT token, batches.run, endpoint, batches.model, identifier, attempt, created, jobs, tokens_in, tokens_out "
                "FROM batches JOIN attempts ON id = attempt WHERE endpoint = ? ORDER BY created",
                (endpoint,),
            ).fetchall()
        return [
            BatchRow(token, run, at, model, identifier, attempt, created, unpacked(*jobs))
            for token, run, at, model, identifier, attempt, created, *jobs in found
        ]

    def close(self, row: BatchRow) -> None:
        """See `Batches.close`."""
        with self.store.writing() as tables:
            tables.connection.execute("DELETE FROM batches WHERE token = ?", (row.token,))
            tables.release_all(f"batch:{row.token}")


def lease_jobs(tables: Tables, token: str, jobs: Sequence[BatchJob], created: float) -> None:
    """Lease to a batch what its requests ask, inside a transaction."""
    keys = tables.keys(list(dict.fromkeys(pair for job in jobs for pair in job.pairs)), make=True)
    texts = [(TEXTS, key) for job in jobs if not job.questions for key in job.items]
    tables.lease([*keys, *texts], created + LEASE_SECONDS, f"batch:{token}")


def packed(jobs: Sequence[BatchJob]) -> bytes:
    """The requests of a batch for its row: what `unpacked` reads."""
    questions = {question: number for number, question in enumerate(dict.fromkeys(q for job in jobs for q in job.questions))}
    items = {item: number for number, item in enumerate(dict.fromkeys(item for job in jobs for item in job.items))}
    content = {
        "questions": [question.columns for question in questions],
        "items": [item.hex() for item in items],
        "jobs": [[[items[item] for item in job.items], [questions[q] for q in job.questions], job.most] for job in jobs],
    }
    return zlib.compress(json.dumps(content).encode())


def unpacked(packed: bytes, tokens_in: int = 0, tokens_out: int = 0) -> tuple[BatchJob, ...]:
    """The requests of a batch, as its row holds them.

    tokens_in, tokens_out: set aside for all of them; each has an equal share where the row does not tell, being an older one.
    """
    content = json.loads(zlib.decompress(packed))
    questions = [Question(*columns) for columns in content["questions"]]
    items = [bytes.fromhex(item) for item in content["items"]]
    share = [tokens // max(1, len(content["jobs"])) for tokens in (tokens_in, tokens_out)]
    return tuple(
        BatchJob(tuple(items[i] for i in rows), tuple(questions[k] for k in columns), tuple(most[0] if most else share))
        for rows, columns, *most in content["jobs"]
    )
