"""The tables of a store in PostgreSQL, in a schema of their own that poolers need no setting to find."""

from __future__ import annotations

from psycopg import Connection

from genz_ppl.errors import StoreError

VERSION = 1
_LOCK = 0x67656E7A  # of those who make the tables, or open a run

# Answers go by the item's hash itself: no table of numbers that all writers would meet in. Times are the database's own.
# Ids of attempts are made by those who begin them, so that a commit whose echo was lost can be told from one that never was.
_TABLES = (
    "CREATE SCHEMA IF NOT EXISTS genz",
    "CREATE TABLE genz.version (version integer NOT NULL)",
    f"INSERT INTO genz.version VALUES ({VERSION})",
    """CREATE TABLE genz.questions (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, digest bytea NOT NULL UNIQUE,
        feature text NOT NULL, model text NOT NULL, endpoint text NOT NULL, prompt text NOT NULL, sampling text NOT NULL,
        draw integer NOT NULL)""",
    """CREATE TABLE genz.answers (question integer NOT NULL, item bytea NOT NULL, value smallint, reason text NOT NULL,
        probability float8, attempt bigint NOT NULL, checksum bigint NOT NULL, PRIMARY KEY (question, item))""",
    """CREATE TABLE genz.leases (question integer NOT NULL, item bytea NOT NULL, worker bigint NOT NULL, claim bigint NOT NULL,
        expires timestamptz NOT NULL, PRIMARY KEY (question, item))""",
    "CREATE INDEX leases_of_worker ON genz.leases (worker)",
    """CREATE TABLE genz.workers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
        model text NOT NULL, beat float8 NOT NULL, started timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen timestamptz NOT NULL DEFAULT clock_timestamp(), ended boolean NOT NULL DEFAULT false, said text NOT NULL DEFAULT '')
        WITH (fillfactor = 50)""",
    """CREATE TABLE genz.attempts (id bigint PRIMARY KEY, run bigint NOT NULL, worker bigint NOT NULL, kind text NOT NULL,
        model text NOT NULL, begun timestamptz NOT NULL DEFAULT clock_timestamp(), settled timestamptz, outcome text,
        calls bigint NOT NULL, tokens_in bigint NOT NULL, tokens_out bigint NOT NULL, cost float8 NOT NULL,
        answers bigint NOT NULL DEFAULT 0)""",
    "CREATE INDEX attempts_open ON genz.attempts (run) WHERE settled IS NULL",
    "CREATE INDEX attempts_settled ON genz.attempts (settled)",
    "CREATE TABLE genz.texts (key bytea PRIMARY KEY, text bytea NOT NULL, attempt bigint NOT NULL, checksum bigint NOT NULL)",
    """CREATE TABLE genz.runs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, path text,
        started timestamptz NOT NULL DEFAULT clock_timestamp(), calls bigint NOT NULL DEFAULT 0,
        tokens_in bigint NOT NULL DEFAULT 0, tokens_out bigint NOT NULL DEFAULT 0, cost float8 NOT NULL DEFAULT 0,
        max_cost float8, max_calls bigint, max_tokens bigint,
        requests_per_minute float8, tokens_per_minute float8, cost_per_minute float8,
        requests_at timestamptz NOT NULL DEFAULT clock_timestamp(), tokens_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        cost_at timestamptz NOT NULL DEFAULT clock_timestamp()) WITH (fillfactor = 50)""",
    "CREATE INDEX runs_of_path ON genz.runs (path)",
    "CREATE TABLE genz.contents (item bytea PRIMARY KEY, content bytea NOT NULL)",
    """CREATE TABLE genz.postings (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run bigint NOT NULL, method text NOT NULL,
        model text NOT NULL, endpoint text NOT NULL, settings text NOT NULL, arguments bytea NOT NULL, wanted bigint NOT NULL,
        posted timestamptz NOT NULL DEFAULT clock_timestamp(), done timestamptz, failed text)""",
    "CREATE INDEX postings_open ON genz.postings (model, endpoint) WHERE done IS NULL",
)
#: A worker that was not seen for so many of its own beats counts as dead, on whatever host it was.
BEATS = 6
ALIVE = f"NOT workers.ended AND workers.seen > clock_timestamp() - {BEATS} * workers.beat * interval '1 second'"


def prepare(connection: Connection[tuple[object, ...]], address: str) -> None:
    """Make the tables where there are none. Raises StoreError for those of a newer version."""
    with connection.transaction():
        lock(connection)  # several may come at once
        there = connection.execute("SELECT to_regclass('genz.version') IS NOT NULL").fetchone()
        assert there is not None
        if not there[0]:
            for statement in _TABLES:
                connection.execute(statement.encode())
        found = connection.execute("SELECT version FROM genz.version").fetchone()
        if found != (VERSION,):
            version = found[0] if found else "none"
            raise StoreError(
                f"{address}: the store has schema version {version}, this genz-ppl knows {VERSION}: upgrade genz-ppl, "
                "or name another store with --store"
            )


def lock(connection: Connection[tuple[object, ...]]) -> None:
    """Let nobody else do what is done once, to the end of this transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
