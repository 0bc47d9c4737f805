"""The caps and limits of a run as a row of the database, so that they hold for all who work on it together."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from psycopg import Cursor
from psycopg.rows import dict_row

from genz_ppl.llm.served.budget import Caps, Limits
from genz_ppl.llm.served.pacing import bucket_and_leak
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.postgres.attempts import add_attempt
from genz_ppl.llm.store.postgres.rows import Row
from genz_ppl.llm.store.postgres.schema import ALIVE
from genz_ppl.llm.store.postgres.store import PostgresStore

_CAPS = {"cost": "max_cost", "calls": "max_calls", "tokens": "max_tokens"}
_LIMITS = {"requests": "requests_per_minute", "tokens": "tokens_per_minute", "cost": "cost_per_minute"}
_ONE = {"requests": 1.0, "tokens": 1.0, "cost": 0.0}


@dataclass(frozen=True)
class Room:
    """Whether there is room for a call.

    attempt: its entry in the journal, made; None where there is no room. wait: seconds before it may be sent. caps: of the run;
    spent: what is used up or set aside by others. under_way: where there is no room, whether some may be given back.
    """

    caps: Caps
    spent: Spending
    attempt: int | None = None
    wait: float = 0.0
    under_way: bool = False


def set_limits(store: PostgresStore, run: int, caps: Caps, limits: Limits, least: Spending) -> None:
    """Give a run its caps and limits, from now on and for all; and count at least so much as spent."""
    values: dict[str, Any] = {column: getattr(caps, name) for name, column in _CAPS.items()}
    values |= {column: getattr(limits, name) for name, column in _LIMITS.items()}
    assigned = ", ".join(f"{name} = %({name})s" for name in values)
    counted = {each.name: getattr(least, each.name) for each in fields(Spending)}
    assigned += "".join(f", {name} = greatest({name}, %({name})s)" for name in counted)
    query = f"UPDATE genz.runs SET {assigned} WHERE id = %(run)s"
    store.database.transact(lambda cursor, _: cursor.execute(query.encode(), {**values, **counted, "run": run}))


def caps_of(store: PostgresStore, run: int) -> Caps:
    """The caps of a run."""
    found = store.database.transact(
        lambda cursor, _: cursor.execute("SELECT max_cost, max_calls, max_tokens FROM genz.runs WHERE id = %s", (run,)).fetchone()
    )
    return Caps() if found is None else Caps(*found)


def room(store: PostgresStore, run: int, kind: str, model: str, most: Spending, likely: Mapping[str, float]) -> Room:
    """Set aside what a call may use at most, and its place in the limits a minute; one transaction.

    likely: by name of a limit, about how much of it the call takes. Those who ask at once get places one after the other, so
    that none waits for ever and no minute has more calls than its limit; all by the database's clock.
    """
    attempt, worker = secrets.randbits(62), store.worker

    def work(cursor: Cursor[Row], again: bool) -> Room:
        if again and cursor.execute("SELECT 1 FROM genz.attempts WHERE id = %s", (attempt,)).fetchone():
            return Room(Caps(), Spending(), attempt)
        cursor.execute("SELECT 1 FROM genz.runs WHERE id = %s FOR UPDATE", (run,))
        # In a statement of its own: what waited for the row would see the clock of when it began to.
        with cursor.connection.cursor(row_factory=dict_row) as named:
            found = named.execute(
                "SELECT *, extract(epoch FROM requests_at - clock_timestamp())::float8 AS requests_ahead, "
                "extract(epoch FROM tokens_at - clock_timestamp())::float8 AS tokens_ahead, "
                "extract(epoch FROM cost_at - clock_timestamp())::float8 AS cost_ahead FROM genz.runs WHERE id = %s",
                (run,),
            ).fetchone()
        assert found is not None
        caps = Caps(**{name: found[column] for name, column in _CAPS.items()})
        spent = Spending(*(found[each.name] for each in fields(Spending)))
        if caps.passed(spent + most) is not None:
            return Room(caps, spent, under_way=_under_way(cursor, run))
        wait = 0.0
        for name, column in _LIMITS.items():
            if found[column] is not None:
                waits, ahead = place(found[column], likely[name], found[f"{name}_ahead"], _ONE[name])
                wait = max(wait, waits)
                query = f"UPDATE genz.runs SET {name}_at = clock_timestamp() + %s * interval '1 second' WHERE id = %s"
                cursor.execute(query.encode(), (ahead, run))
        add_attempt(cursor, attempt, run, worker, kind, model, most)
        return Room(caps, spent, attempt, wait)

    return store.database.transact(work)


def place(per_minute: float, amount: float, ahead: float, one: float = 1.0) -> tuple[float, float]:
    """Seconds to wait for so much of a limit, and how far ahead of now the limit is taken after that.

    ahead: how far it is now; not above 0 where it is all free. A leaky bucket: what is taken leaks out of it at a steady
    rate, and what does not fit waits; more than a bucket waits until it is empty. one: see `bucket_and_leak`.
    """
    bucket, leak = bucket_and_leak(per_minute, one)
    filled = max(0.0, ahead)
    return max(0.0, filled - max(0.0, bucket - amount) / leak), filled + amount / leak


def _under_way(cursor: Cursor[Row], run: int) -> bool:
    query = (
        "SELECT EXISTS (SELECT FROM genz.attempts JOIN genz.workers ON workers.id = worker "
        f"WHERE run = %s AND settled IS NULL AND {ALIVE})"
    )
    found = cursor.execute(query.encode(), (run,)).fetchone()
    assert found is not None
    return bool(found[0])
