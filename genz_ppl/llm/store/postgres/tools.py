"""What is in a shared store, and how to make it smaller; see `genz_ppl.llm.store.tools`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Cursor

from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.counts import ModelCount, Pruned, StoreInfo
from genz_ppl.llm.store.export import intact
from genz_ppl.llm.store.postgres.connection import connected, store_errors
from genz_ppl.llm.store.postgres.every import every_answer
from genz_ppl.llm.store.postgres.rows import Row, spelled
from genz_ppl.llm.store.postgres.schema import ALIVE, VERSION
from genz_ppl.llm.store.postgres.store import PostgresStore
from genz_ppl.llm.store.rows import read_text

_SIZE = """SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = 'genz' AND relkind = 'r'"""
# A lease that nobody who lives holds any more, or that has expired.
_VOID = f"""leases.expires <= clock_timestamp() OR NOT EXISTS
    (SELECT FROM genz.workers WHERE workers.id = leases.worker AND {ALIVE})"""
# An answer is as old as the attempt that brought it; of prune, by option: for answers, and for texts.
_OF = {
    "model": "question IN (SELECT id FROM genz.questions WHERE model = %(model)s)",
    "prompt": "question IN (SELECT id FROM genz.questions WHERE prompt = %(prompt)s)",
    "text_model": "attempt IN (SELECT id FROM genz.attempts WHERE model = %(model)s)",
    "older_than": "attempt IN (SELECT id FROM genz.attempts WHERE begun < clock_timestamp() - %(older_than)s * interval '1 day')",
}


def info(store: PostgresStore, check: bool) -> StoreInfo:
    """Count what the store holds, as of one moment; with `check` read every row."""
    damaged = _damaged(store) if check else None
    return store.database.transact(lambda cursor, _: _info(cursor, store.address, damaged))


def _info(cursor: Cursor[Row], address: str, damaged: int | None) -> StoreInfo:
    def rows(query: str) -> list[Row]:
        return cursor.execute(query.encode()).fetchall()

    (size,) = rows(_SIZE)[0]
    items, texts, runs = rows(
        "SELECT (SELECT count(*) FROM (SELECT DISTINCT item FROM genz.answers) AS items), (SELECT count(*) FROM genz.texts), "
        "(SELECT count(*) FROM genz.runs)"
    )[0]
    attempts, unsettled, *spent = rows(
        "SELECT count(*), count(*) FILTER (WHERE settled IS NULL), coalesce(sum(calls), 0)::bigint, "
        "coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint, coalesce(sum(cost), 0)::float8 "
        "FROM genz.attempts"
    )[0]
    models = rows(
        "WITH counts AS (SELECT question, count(*) AS n, count(*) FILTER (WHERE value = 1) AS yes, "
        "count(*) FILTER (WHERE value IS NULL) AS failed FROM genz.answers GROUP BY question) "
        "SELECT model, endpoint, prompt, count(*), sum(yes)::bigint, sum(n - yes - failed)::bigint, sum(failed)::bigint "
        "FROM counts JOIN genz.questions ON id = question GROUP BY model, endpoint, prompt ORDER BY sum(n) DESC"
    )
    failed = rows("SELECT reason, count(*) FROM genz.answers WHERE value IS NULL GROUP BY reason ORDER BY 2 DESC")
    leases, void = rows(f"SELECT count(*), count(*) FILTER (WHERE {_VOID}) FROM genz.leases")[0]
    return StoreInfo(
        path=address,
        size=size,
        schema=VERSION,
        items=items,
        models=tuple(ModelCount(*row) for row in models),
        failed=dict(failed),
        texts=texts,
        runs=runs,
        attempts=attempts,
        unsettled=unsettled,
        spent=Spending(*spent),
        leases=leases - void,
        orphans=void,
        damaged=damaged,
    )


def _damaged(store: PostgresStore) -> int:
    """Rows of answers and texts that are not what was written there; PostgreSQL's own pages are pg_amcheck's to look at."""
    answers = sum(row is None for row in intact(every_answer(store)))
    with (
        store_errors(store.address),
        connected(store.address) as connection,
        connection.transaction(),
        connection.cursor("every_text", binary=True) as cursor,
    ):
        cursor.execute("SELECT key, text, checksum FROM genz.texts")
        return answers + sum(read_text(*row) is None for row in cursor)


def prune(
    store: PostgresStore, model: str | None, prompt: str | None, older_than: float | None, failed: bool, dry_run: bool
) -> Pruned:
    """See `genz_ppl.llm.store.tools.prune`; here the room is used for later rows, and only VACUUM FULL gives it to the disk."""
    values: dict[str, Any] = {
        "model": None if model is None else spelled(model),
        "prompt": None if prompt is None else spelled(prompt),
        "older_than": older_than,
    }
    given = [name for name, value in values.items() if value is not None]
    answers = [_OF[name] for name in given] + (["value IS NULL"] if failed else [])
    texts = [_OF["text_model" if name == "model" else name] for name in given if name != "prompt"]
    texts = [] if prompt is not None else [*texts, "length(text) = 0"] if failed else texts

    def work(cursor: Cursor[Row], _: bool) -> tuple[int, int, int, int]:
        (size,) = cursor.execute(_SIZE.encode()).fetchone() or (0,)
        live = _count(cursor, "leases", [f"NOT ({_VOID})"], values)
        if live and not dry_run:
            raise StoreError(
                f"{store.address}: {live} questions are being asked now, by a run, a worker or a batch; "
                "prune the store when it has ended"
            )
        take = _count if dry_run else _taken
        counts = [take(cursor, table, conditions, values) for table, conditions in (("answers", answers), ("texts", texts))]
        return size, counts[0], counts[1], take(cursor, "leases", [_VOID], values)

    before, *counts = store.database.transact(work)
    if not dry_run:
        with store_errors(store.address), connected(store.address) as connection:
            connection.execute("VACUUM (ANALYZE) genz.answers, genz.texts, genz.leases, genz.workers")
    after = store.database.transact(lambda cursor, _: (cursor.execute(_SIZE.encode()).fetchone() or (0,))[0])
    return Pruned(counts[0], counts[1], counts[2], before, after)


def _count(cursor: Cursor[Row], table: str, conditions: Sequence[str], values: dict[str, Any]) -> int:
    if not conditions:
        return 0
    query = f"SELECT count(*) FROM genz.{table} WHERE {' AND '.join(conditions)}"
    found = cursor.execute(query.encode(), values).fetchone()
    assert found is not None
    return int(found[0])


def _taken(cursor: Cursor[Row], table: str, conditions: Sequence[str], values: dict[str, Any]) -> int:
    if not conditions:
        return 0
    return cursor.execute(f"DELETE FROM genz.{table} WHERE {' AND '.join(conditions)}".encode(), values).rowcount
