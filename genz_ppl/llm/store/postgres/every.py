"""All answers of a store in PostgreSQL, for an export."""

from __future__ import annotations

from collections.abc import Iterator

from genz_ppl.llm.store.postgres.connection import connected, store_errors
from genz_ppl.llm.store.postgres.rows import Row
from genz_ppl.llm.store.postgres.store import PostgresStore

_PORTION = 50_000


def every_answer(store: PostgresStore) -> Iterator[Row]:
    """All answers as of one moment, in order of questions: digest and columns of the question, item, answer, checksum."""
    with (
        store_errors(store.address),
        connected(store.address) as connection,
        connection.transaction(),
        connection.cursor("every_answer", binary=True) as cursor,  # with a name the server keeps what is not read yet
    ):
        cursor.itersize = _PORTION
        cursor.execute(
            "SELECT digest, feature, model, endpoint, prompt, sampling, draw, item, value, reason, probability, checksum "
            "FROM genz.answers JOIN genz.questions ON id = question ORDER BY question, item"
        )
        yield from cursor
