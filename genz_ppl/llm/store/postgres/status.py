"""Who is at work on a shared store, how fast, what was spent of what, and how long it will take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from psycopg import Cursor

from genz_ppl.llm.served.budget import Caps
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.postgres.rows import Row
from genz_ppl.llm.store.postgres.schema import ALIVE, BATCH
from genz_ppl.llm.store.postgres.store import PostgresStore

# The last minute is what a rate is taken of.
_LATELY = "settled > clock_timestamp() - interval '1 minute'"


@dataclass(frozen=True)
class WorkerStatus:
    """name: host, process and more. seen: seconds since its last sign of life. asking: pairs in hand. calls: of a minute."""

    name: str
    model: str
    seen: float
    asking: int
    calls: int


@dataclass(frozen=True)
class RunStatus:
    """A run that something is posted for. wanted: answers posted and not done; answered: of those, as far as answers were
    stored since; seconds_left: at the last minute's rate of the run; None where nothing was answered."""

    run: int
    spent: Spending
    caps: Caps
    wanted: int
    answered: int
    answers_a_minute: int
    seconds_left: float | None


@dataclass(frozen=True)
class FleetStatus:
    """a_minute: what calls used up in the last minute; answers_a_minute: what they brought."""

    address: str
    answers: int
    workers: tuple[WorkerStatus, ...]
    a_minute: Spending
    answers_a_minute: int
    spent: Spending
    runs: tuple[RunStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def status(store: PostgresStore) -> FleetStatus:
    """How a store stands; nothing is written. The number of answers is PostgreSQL's estimate where there are many."""
    return store.database.transact(lambda cursor, _: _status(cursor, store.address))


def _status(cursor: Cursor[Row], address: str) -> FleetStatus:
    def rows(query: str) -> list[Row]:
        return cursor.execute(query.encode()).fetchall()

    workers = rows(
        "SELECT name, model, extract(epoch FROM clock_timestamp() - seen)::float8, "
        "(SELECT count(*) FROM genz.leases WHERE leases.worker = workers.id), "
        f"(SELECT coalesce(sum(calls), 0)::bigint FROM genz.attempts WHERE attempts.worker = workers.id AND {_LATELY}) "
        f"FROM genz.workers WHERE {ALIVE} AND NOT starts_with(name, '{BATCH}') ORDER BY workers.id"
    )
    sums = "coalesce(sum(calls), 0)::bigint, coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint, "
    sums += "coalesce(sum(cost), 0)::float8"
    *lately, answers = rows(f"SELECT {sums}, coalesce(sum(answers), 0)::bigint FROM genz.attempts WHERE {_LATELY}")[0]
    about = int(rows("SELECT reltuples::bigint FROM pg_class WHERE oid = 'genz.answers'::regclass")[0][0])
    many = about if about > 1_000_000 else int(rows("SELECT count(*) FROM genz.answers")[0][0])
    runs = rows(
        "SELECT runs.id, calls, tokens_in, tokens_out, cost, max_cost, max_calls, max_tokens, wanted, "
        "(SELECT coalesce(sum(answers), 0)::bigint FROM genz.attempts WHERE run = runs.id AND settled >= first), "
        f"(SELECT coalesce(sum(answers), 0)::bigint FROM genz.attempts WHERE run = runs.id AND {_LATELY}) "
        "FROM genz.runs JOIN (SELECT run, sum(wanted)::bigint AS wanted, min(posted) AS first FROM genz.postings "
        "WHERE done IS NULL GROUP BY run) AS posted ON posted.run = runs.id ORDER BY runs.id"
    )
    return FleetStatus(
        address,
        many,
        tuple(WorkerStatus(*row) for row in workers),
        Spending(*lately),
        int(answers),
        Spending(*rows(f"SELECT {sums} FROM genz.runs")[0]),
        tuple(_run_status(*row) for row in runs),
    )


def _run_status(run: int, *row: Any) -> RunStatus:
    spent, caps, wanted, answered, rate = Spending(*row[:4]), Caps(*row[4:7]), *row[7:]
    answered = min(answered, wanted)
    left = (wanted - answered) / rate * 60.0 if rate else None
    return RunStatus(run, spent, caps, wanted, answered, rate, left)
