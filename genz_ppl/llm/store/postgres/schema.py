"""The tables of a store in PostgreSQL, in a schema of their own that poolers need no setting to find."""

from __future__ import annotations

from psycopg import Connection

from genz_ppl.errors import StoreError

VERSION = 2
_LOCK = 0x67656E7A  # of those who make the tables, or open a run

# Version 1, as it was: whoever makes the tables goes through all versions.
# Answers go by the item's hash itself: no table of numbers that all writers would meet in. Times are the database's own.
# Ids of attempts are made by those who begin them, so that a commit whose echo was lost can be told from one that never was.
_TABLES = (
    "CREATE SCHEMA IF NOT EXISTS genz",
    "CREATE TABLE genz.version (version integer NOT NULL)",
    "INSERT INTO genz.version VALUES (1)",
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
# What makes version n + 2 of version n + 1. Only tables, columns with a default and indices are added, so that those who are at
# work with an older version go on; they are told to upgrade when they open the store the next time.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE genz.batches (token text PRIMARY KEY, run bigint NOT NULL, endpoint text NOT NULL, model text NOT NULL,
            identifier text NOT NULL, attempt bigint NOT NULL, worker bigint NOT NULL,
            created timestamptz NOT NULL DEFAULT clock_timestamp(), jobs bytea NOT NULL)""",
        "CREATE INDEX batches_at ON genz.batches (endpoint)",
    ),
)
#: A worker that was not seen for so many of its own beats counts as dead, on whatever host it was.
BEATS = 6
#: How the name of a batch begins, which is a worker that lives as long as its leases.
BATCH = "batch:"
ALIVE = f"NOT workers.ended AND workers.seen > clock_timestamp() - {BEATS} * workers.beat * interval '1 second'"


def prepare(connection: Connection[tuple[object, ...]], address: str) -> None:
    """Make the tables where there are none, and those of an older version what they are now; nothing is lost on the way.

    Raises StoreError for those of a newer version, or of none that is known.
    """
    with connection.transaction():
        # Several may come at once; and what a session has looked for in vain it may not see before its next transaction.
        lock(connection)
        there = connection.execute("SELECT to_regclass('genz.version') IS NOT NULL").fetchone()
        assert there is not None
        for statement in () if there[0] else _TABLES:
            connection.execute(statement.encode())
        version = _version(connection)
        if not isinstance(version, int) or not 1 <= version <= VERSION:
            found = "no schema version" if version is None else f"schema version {version}"
            raise StoreError(
                f"{address}: the store has {found}, this genz-ppl knows 1 to {VERSION}: upgrade genz-ppl, "
                "or name another store with --store"
            )
        for statements in _MIGRATIONS[version - 1 :]:
            for statement in statements:
                connection.execute(statement.encode())
        if version < VERSION:
            connection.execute("UPDATE genz.version SET version = %s", (VERSION,))


def _version(connection: Connection[tuple[object, ...]]) -> object:
    found = connection.execute("SELECT version FROM genz.version").fetchone()
    return None if found is None else found[0]


def lock(connection: Connection[tuple[object, ...]]) -> None:
    """Let nobody else do what is done once, to the end of this transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
