"""Rows of the tables in PostgreSQL: answers and leases, many in a statement, always in one order so that few deadlocks arise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import Cursor

from genz_ppl.llm.store.postgres.schema import ALIVE
from genz_ppl.llm.store.rows import Key, Pair, StoredAnswer, answer_row, read_answer, writable

Row = tuple[Any, ...]
# Keys in one statement: of a look-up of very many.
MOST_KEYS = 20_000
_WANTED = "unnest(%(questions)s::integer[], %(items)b::bytea[]) AS wanted (q, i)"
_FREE = f"""held.expires <= clock_timestamp() OR held.claim = excluded.claim OR NOT EXISTS
    (SELECT FROM genz.workers WHERE workers.id = held.worker AND {ALIVE})"""


def spelled(text: str) -> str:
    """The text as PostgreSQL can hold it: lone surrogates and NUL are spelled out."""
    return writable(text).replace("\0", "\\0")


def named(keys: Iterable[Key]) -> dict[str, list[Any]]:
    """Keys as the parameters of `_WANTED`, in order."""
    ordered = sorted(keys)
    return {"questions": [key[0] for key in ordered], "items": [key[1] for key in ordered]}


def read_answers(cursor: Cursor[Row], keys: Mapping[Key, Pair]) -> Iterator[tuple[Key, StoredAnswer | None]]:
    """The answers that are there; None for a damaged one."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), MOST_KEYS):
        cursor.execute(
            f"SELECT q, i, value, reason, probability, checksum FROM {_WANTED} JOIN genz.answers ON question = q AND item = i",
            named(ordered[start : start + MOST_KEYS]),
        )
        for question, item, *columns in cursor.fetchall():
            yield (question, item), read_answer(keys[question, item], *columns)


def add_answers(cursor: Cursor[Row], keys: Mapping[Key, Pair], answers: Mapping[Pair, StoredAnswer], attempt: int) -> set[Key]:
    """Write answers; intact ones that are there stay, damaged ones, which are returned, are replaced."""
    rows = {key: _answer_row(key, pair, answers[pair], attempt) for key, pair in sorted(keys.items())}
    columns = [list(column) for column in zip(*rows.values(), strict=True)]
    cursor.execute(
        "INSERT INTO genz.answers SELECT * FROM unnest(%s::integer[], %b::bytea[], %s::smallint[], %s::text[], %s::float8[], "
        "%s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING",
        columns,
    )
    if cursor.rowcount == len(rows):
        return set()
    damaged = {key for key, answer in read_answers(cursor, keys) if answer is None}
    for key in sorted(damaged):
        cursor.execute(
            "UPDATE genz.answers SET value = %s, reason = %s, probability = %s, attempt = %s, checksum = %s "
            "WHERE question = %s AND item = %b",
            (*rows[key][2:], *key),
        )
    return damaged


def _answer_row(key: Key, pair: Pair, answer: StoredAnswer, attempt: int) -> Row:
    if answer.reason:
        answer = StoredAnswer(answer.value, spelled(answer.reason), answer.probability)
    return answer_row(key, pair, answer, attempt)


def lease(cursor: Cursor[Row], keys: Iterable[Key], worker: int, claim: int, seconds: float) -> set[Key]:
    """Take the leases that nobody holds, or nobody who lives; which they are.

    Whoever reads the answers after this, in a statement of its own, sees those of every lease that was given up for an answer:
    a statement sees what was committed when it began, and this one may have waited. The same claim twice is one.
    """
    cursor.execute(
        "INSERT INTO genz.leases AS held (question, item, worker, claim, expires) "
        f"SELECT q, i, %(worker)s, %(claim)s, clock_timestamp() + %(seconds)s * interval '1 second' FROM {_WANTED} ORDER BY q, i "
        "ON CONFLICT (question, item) DO UPDATE SET worker = excluded.worker, claim = excluded.claim, expires = excluded.expires "
        f"WHERE {_FREE} RETURNING question, item",
        {**named(keys), "worker": worker, "claim": claim, "seconds": seconds},
    )
    return {(question, item) for question, item in cursor.fetchall()}


def held(cursor: Cursor[Row], keys: Iterable[Key], claim: int) -> set[Key]:
    """Those keys that someone who lives has a lease on, other than by this claim. Unlike `lease` this writes nothing."""
    cursor.execute(
        f"SELECT question, item FROM {_WANTED} JOIN genz.leases AS held ON question = q AND item = i "
        f"WHERE NOT ({_FREE.replace('excluded.claim', '%(claim)s')})",
        {**named(keys), "claim": claim},
    )
    return {(question, item) for question, item in cursor.fetchall()}


def renew(cursor: Cursor[Row], keys: Iterable[Key], worker: int, seconds: float) -> None:
    """Let this worker's leases last for so long from now."""
    cursor.execute(
        "UPDATE genz.leases SET expires = clock_timestamp() + %(seconds)s * interval '1 second' WHERE worker = %(worker)s "
        f"AND (question, item) IN (SELECT q, i FROM {_WANTED})",
        {**named(keys), "worker": worker, "seconds": seconds},
    )


def drop(cursor: Cursor[Row], keys: Sequence[Key] | set[Key], worker: int | None = None) -> None:
    """Drop leases, of this worker or whoever holds them: what they were for is there."""
    if not keys:
        return
    mine = "" if worker is None else "AND worker = %(worker)s "
    cursor.execute(
        "DELETE FROM genz.leases WHERE (question, item) IN (SELECT question, item FROM genz.leases "
        f"JOIN {_WANTED} ON question = q AND item = i {mine}ORDER BY question, item FOR UPDATE OF leases)",
        {**named(keys), "worker": worker},
    )
