"""All answers of a store in PostgreSQL, for an export."""

from __future__ import annotations

from collections.abc import Iterator

from genz_ppl.llm.store.export import Row, asked, row_of
from genz_ppl.llm.store.postgres.connection import connected, store_errors
from genz_ppl.llm.store.postgres.store import PostgresStore
from genz_ppl.llm.store.rows import Question

_PORTION = 50_000


def every_answer(store: PostgresStore) -> Iterator[Row | None]:
    """All answers as rows of `COLUMNS`, in order of questions; None for each that is damaged. As of one moment."""
    question: Question | None = None
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
        for row in cursor:
            if question is None or question.digest != row[0]:
                question = asked(row[0], row[1:7])
            yield None if question is None else row_of(question, row[1:7], *row[7:])
