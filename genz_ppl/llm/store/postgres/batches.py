"""Batches under way in a shared store: what was asked in each, so that any process of any host can bring its answers in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from psycopg import Cursor

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.batches import LEASE_SECONDS, BatchJob, BatchRow, packed, unpacked
from genz_ppl.llm.store.postgres import rows
from genz_ppl.llm.store.postgres.rows import Row, spelled
from genz_ppl.llm.store.postgres.schema import BATCH, BEATS
from genz_ppl.llm.store.postgres.store import PostgresStore
from genz_ppl.llm.store.rows import Key, distinct
from genz_ppl.llm.store.tables import TEXTS


class PostgresBatches:
    """See `BatchLedger`. A batch is a worker of its own, who lives for as long as its leases, whatever becomes of its sender."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store

    def add(
        self, run: int, endpoint: str, model: str, jobs: Sequence[BatchJob], reserved: Spending, attempt: int | None = None
    ) -> BatchRow:
        """See `BatchLedger.add`."""
        token, mark = secrets.token_hex(16), secrets.randbits(62)
        attempt = self.store.begin(run, "batch", model, reserved) if attempt is None else attempt
        keys: list[Key] = list(self.store.keys(distinct([pair for job in jobs for pair in job.pairs])))
        keys += dict.fromkeys((TEXTS, key) for job in jobs if not job.questions for key in job.items)
        sender = self.store.worker

        def work(cursor: Cursor[Row], again: bool) -> float:
            found = cursor.execute("SELECT extract(epoch FROM created)::float8 FROM genz.batches WHERE token = %s", (token,))
            if again and (done := found.fetchone()) is not None:
                return float(done[0])
            made = cursor.execute(
                "INSERT INTO genz.workers (name, model, beat) VALUES (%s, '', %s) RETURNING id",
                (BATCH + token, LEASE_SECONDS / BEATS),
            ).fetchone()
            assert made is not None
            for start in range(0, len(keys), rows.MOST_KEYS):
                portion = keys[start : start + rows.MOST_KEYS]
                rows.drop(cursor, portion, sender)
                rows.lease(cursor, portion, made[0], mark, LEASE_SECONDS)
            created = cursor.execute(
                "INSERT INTO genz.batches (token, run, endpoint, model, identifier, attempt, worker, jobs) "
                "VALUES (%s, %s, %s, %s, '', %s, %s, %b) RETURNING extract(epoch FROM created)::float8",
                (token, run, spelled(endpoint), spelled(model), attempt, made[0], packed(jobs)),
            ).fetchone()
            assert created is not None
            return float(created[0])

        created = self.store.database.transact(work)
        return BatchRow(token, run, endpoint, model, "", attempt, created, tuple(jobs))

    def sent(self, row: BatchRow, identifier: str) -> BatchRow:
        """See `BatchLedger.sent`."""
        query = "UPDATE genz.batches SET identifier = %s WHERE token = %s"
        self.store.database.transact(lambda cursor, _: cursor.execute(query, (spelled(identifier), row.token)))
        return replace(row, identifier=identifier)

    def open(self, endpoint: str) -> list[BatchRow]:
        """See `BatchLedger.open`."""

        def work(cursor: Cursor[Row], _: bool) -> list[Row]:
            return cursor.execute(
                "SELECT token, run, endpoint, model, identifier, attempt, extract(epoch FROM created)::float8, jobs "
                "FROM genz.batches WHERE endpoint = %s ORDER BY created",
                (spelled(endpoint),),
            ).fetchall()

        found = self.store.database.transact(work)
        return [
            BatchRow(token, run, at, model, identifier, attempt, created, unpacked(jobs))
            for token, run, at, model, identifier, attempt, created, jobs in found
        ]

    def close(self, row: BatchRow) -> None:
        """See `BatchLedger.close`."""

        def work(cursor: Cursor[Row], _: bool) -> None:
            cursor.execute("DELETE FROM genz.batches WHERE token = %s", (row.token,))
            of_batch = "(SELECT id FROM genz.workers WHERE name = %s)"
            cursor.execute(f"DELETE FROM genz.leases WHERE worker IN {of_batch}".encode(), (BATCH + row.token,))
            cursor.execute("DELETE FROM genz.workers WHERE name = %s", (BATCH + row.token,))

        self.store.database.transact(work)
