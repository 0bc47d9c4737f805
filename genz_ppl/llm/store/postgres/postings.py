"""What a run wants to know, posted for workers on other hosts, who answer into the store: no queue, few rows, leases as ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import Cursor

from genz_ppl.llm.store.postgres.rows import MOST_KEYS, Row, spelled
from genz_ppl.llm.store.postgres.schema import ALIVE
from genz_ppl.llm.store.postgres.store import PostgresStore


@dataclass(frozen=True)
class Posting:
    """A method of a served model with its arguments (bytes of the poster's own), to be called by anyone who has that model."""

    id: int
    run: int
    method: str
    settings: str
    arguments: bytes
    posted: float


def post(
    store: PostgresStore, run: int, model: str, endpoint: str, method: str, settings: str, arguments: bytes, wanted: int
) -> int:
    """Post what is wanted; returns its id. wanted: how many answers that is."""

    def work(cursor: Cursor[Row], _: bool) -> int:
        made = cursor.execute(
            "INSERT INTO genz.postings (run, method, model, endpoint, settings, arguments, wanted) "
            "VALUES (%s, %s, %s, %s, %s, %b, %s) RETURNING id",
            (run, method, spelled(model), spelled(endpoint), settings, arguments, wanted),
        ).fetchone()
        assert made is not None
        return int(made[0])

    return store.database.transact(work)


def open_postings(store: PostgresStore, model: str, endpoint: str) -> list[Posting]:
    """What is posted for a model at an endpoint and not done, the oldest first; 100 at most."""
    return store.database.transact(
        lambda cursor, _: [
            Posting(*row)
            for row in cursor.execute(
                "SELECT id, run, method, settings, arguments, extract(epoch FROM posted)::float8 FROM genz.postings "
                "WHERE done IS NULL AND model = %s AND endpoint = %s ORDER BY id LIMIT 100",
                (spelled(model), spelled(endpoint)),
            ).fetchall()
        ]
    )


def finish(store: PostgresStore, ids: Sequence[int], failed: str | None = None) -> None:
    """Those are done, or failed for the reason given; the first word counts."""
    store.database.transact(
        lambda cursor, _: cursor.execute(
            "UPDATE genz.postings SET done = clock_timestamp(), failed = %s WHERE id = ANY(%s) AND done IS NULL",
            (None if failed is None else spelled(failed), list(ids)),
        )
    )


def ended(store: PostgresStore, ids: Sequence[int]) -> dict[int, str | None]:
    """Of those that are done, why they failed; None where they did not."""
    return store.database.transact(
        lambda cursor, _: dict(
            cursor.execute(
                "SELECT id, failed FROM genz.postings WHERE id = ANY(%s) AND done IS NOT NULL", (list(ids),)
            ).fetchall()
        )
    )


def add_contents(store: PostgresStore, contents: Mapping[bytes, bytes]) -> None:
    """Keep what workers are to read of items, by hash."""
    ordered = sorted(contents)
    for start in range(0, len(ordered), MOST_KEYS):
        keys = ordered[start : start + MOST_KEYS]
        values = [contents[key] for key in keys]
        store.database.transact(
            lambda cursor, _, keys=keys, values=values: cursor.execute(  # type: ignore[misc]
                "INSERT INTO genz.contents SELECT * FROM unnest(%b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING", (keys, values)
            )
        )


def contents(store: PostgresStore, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """What is kept of those items."""
    return store.database.transact(
        lambda cursor, _: dict(
            cursor.execute("SELECT item, content FROM genz.contents WHERE item = ANY(%b)", (list(keys),)).fetchall()
        )
    )


def say(store: PostgresStore, words: str) -> None:
    """The last words of this worker, for those who wait."""
    store.database.transact(
        lambda cursor, _: cursor.execute("UPDATE genz.workers SET said = %s WHERE id = %s", (spelled(words), store.worker))
    )


def workers_of(store: PostgresStore, model: str, posting: int) -> tuple[int, str]:
    """How many workers of a model live, and the last words, "" for none, of those who ended since that posting."""

    def work(cursor: Cursor[Row], _: bool) -> tuple[int, str]:
        late = "ended AND said <> '' AND seen > (SELECT posted FROM genz.postings WHERE id = %s)"
        query = (
            f"SELECT count(*) FILTER (WHERE {ALIVE}), "
            f"coalesce((array_agg(said ORDER BY seen DESC) FILTER (WHERE {late}))[1], '') FROM genz.workers WHERE model = %s"
        )
        found = cursor.execute(query.encode(), (posting, spelled(model))).fetchone()
        assert found is not None
        return int(found[0]), str(found[1])

    return store.database.transact(work)
