"""The journal of attempts, and what a run has used up by them."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Cursor

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.postgres.rows import Row, spelled


def numbers_of(spending: Spending) -> tuple[int, int, int, float]:
    """Calls, tokens read and written, and dollars."""
    return spending.calls, spending.tokens_in, spending.tokens_out, float(spending.cost)


def add_attempt(cursor: Cursor[Row], attempt: int, run: int, worker: int, kind: str, model: str, reserved: Spending) -> None:
    """Write an attempt down and count what it may use up; a second time does nothing."""
    cursor.execute(
        "INSERT INTO genz.attempts (id, run, worker, kind, model, calls, tokens_in, tokens_out, cost) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (attempt, run, worker, spelled(kind), spelled(model), *numbers_of(reserved)),
    )
    if cursor.rowcount:
        count(cursor, run, numbers_of(reserved))


def count(cursor: Cursor[Row], run: int, difference: Sequence[float]) -> None:
    """Add to what a run has used up, with what its calls under way may yet."""
    if any(difference):
        cursor.execute(
            "UPDATE genz.runs SET calls = calls + %s, tokens_in = tokens_in + %s, tokens_out = tokens_out + %s, "
            "cost = cost + %s WHERE id = %s",
            (*difference, run),
        )
