"""What is in a store of answers, and how to make it smaller."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError, StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.counts import ModelCount, Pruned, StoreInfo
from genz_ppl.llm.store.export import Exported, export, intact_rows
from genz_ppl.llm.store.owner import is_dead
from genz_ppl.llm.store.places import is_shared, open_shared
from genz_ppl.llm.store.rows import read_text
from genz_ppl.llm.store.schema import MIGRATIONS, open_store, roll_back, store_errors

__all__ = ["Exported", "ModelCount", "Pruned", "StoreInfo", "export", "info", "prune"]

_DAY = 86_400.0
# Of prune: the tables and conditions by option. An answer is as old as the attempt that brought it.
_OF_MODEL = "question IN (SELECT id FROM questions WHERE model = ?)"
_OF_PROMPT = "question IN (SELECT id FROM questions WHERE prompt = ?)"
_BEFORE = "attempt IN (SELECT id FROM attempts WHERE begun < ?)"
_BY_MODEL = "attempt IN (SELECT id FROM attempts WHERE model = ?)"


def info(path: str | Path, check: bool = False) -> StoreInfo:
    """Count what the store in a file, or at the address of a database, holds; with `check` read every row (5 s for a million
    answers).

    Raises StoreError if there is no store at `path` or pages of it cannot be read.
    """
    if is_shared(path):
        with open_shared(path) as shared:
            from genz_ppl.llm.store.postgres import tools as of_database  # with psycopg, an extra

            return of_database.info(shared, check)
    file = Path(os.path.abspath(path))
    with closing(open_store(file, create=False)) as connection, store_errors(file):
        items, texts, runs, attempts, unsettled, calls, tokens_in, tokens_out, cost = connection.execute(
            "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM texts), (SELECT count(*) FROM runs), count(*), "
            "total(settled IS NULL), total(calls), total(tokens_in), total(tokens_out), total(cost) FROM attempts"
        ).fetchone()
        live, void = _leases(connection)
        return StoreInfo(
            path=str(file),
            size=_size(file),
            schema=len(MIGRATIONS),
            items=items,
            models=_models(connection),
            failed=dict(
                connection.execute("SELECT reason, count(*) FROM answers WHERE value IS NULL GROUP BY reason ORDER BY 2 DESC")
            ),
            texts=texts,
            runs=runs,
            attempts=attempts,
            unsettled=int(unsettled),
            spent=Spending(int(calls), int(tokens_in), int(tokens_out), cost),
            leases=live,
            orphans=len(void),
            damaged=count_damaged(connection) if check else None,
        )


def prune(
    path: str | Path,
    model: str | None = None,
    prompt: str | None = None,
    older_than: float | None = None,
    failed: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Take answers away that meet all of the conditions given, and void leases; then give the space back to the disk.

    model, prompt: of the question, exactly. older_than: days. failed: only those without a valid answer, which are then
    asked again. Without any condition no answer goes. Texts (image descriptions, proposals) go by `model` and `older_than`,
    not when `prompt` or `failed` is given. dry_run: count, and change nothing. The journal of attempts and runs always stays.
    A database keeps the space for later rows.

    Raises StoreError if there is no store at `path`, it cannot be written, or a run is asking questions now; OptionError for
    a negative `older_than`.
    """
    if older_than is not None and not older_than >= 0:
        raise OptionError(f"--older-than: expected a number of days of at least 0, got {older_than:g}")
    if is_shared(path):
        with open_shared(path) as shared:
            from genz_ppl.llm.store.postgres import tools as of_database  # with psycopg, an extra

            return of_database.prune(shared, model, prompt, older_than, failed, dry_run)
    before = None if older_than is None else time.time() - older_than * _DAY
    answers = _conditions([(_OF_MODEL, model), (_OF_PROMPT, prompt), (_BEFORE, before)], "value IS NULL" if failed else "")
    texts = _conditions(
        [(_BY_MODEL, model), (_BEFORE, before)], "0" if prompt is not None else "length(text) = 0" if failed else ""
    )
    file = Path(os.path.abspath(path))
    with closing(open_store(file, create=False)) as connection, store_errors(file):
        size = _size(file)
        connection.execute("BEGIN IMMEDIATE")
        try:
            live, void = _leases(connection)
            if live and not dry_run:
                raise StoreError(
                    f"{file}: {live} questions are being asked now, by a run or a batch; prune the store when it has ended"
                )
            counts = [_take(connection, table, *which, dry_run) for table, which in (("answers", answers), ("texts", texts))]
            if not dry_run:
                connection.executemany("DELETE FROM leases WHERE question = ? AND item = ?", void)
            connection.execute("ROLLBACK" if dry_run else "COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        if not dry_run:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Pruned(counts[0], counts[1], len(void), size, _size(file))


def _size(file: Path) -> int:
    """Bytes of the file and of the log beside it."""
    parts = (file, file.with_name(f"{file.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _models(connection: sqlite3.Connection) -> tuple[ModelCount, ...]:
    """Counted by question first, which is the order of the table, so that millions of answers need no sorting."""
    rows = connection.execute(
        "WITH counts AS (SELECT question, count(*) AS n, total(value) AS yes, total(value IS NULL) AS failed "
        "FROM answers GROUP BY question) "
        "SELECT model, endpoint, prompt, count(*), sum(yes), sum(n - yes - failed), sum(failed) "
        "FROM counts JOIN questions ON id = question GROUP BY model, endpoint, prompt ORDER BY sum(n) DESC"
    )
    return tuple(ModelCount(*row[:3], *(int(number) for number in row[3:])) for row in rows)


def _leases(connection: sqlite3.Connection) -> tuple[int, list[tuple[Any, Any]]]:
    """How many leases are valid, and the void ones."""
    now = time.time()
    dead = {number for number, name in connection.execute("SELECT id, name FROM owners") if is_dead(str(name))}
    rows = connection.execute("SELECT question, item, owner, expires FROM leases").fetchall()
    void = [row[:2] for row in rows if row[2] in dead or not isinstance(row[3], float) or row[3] <= now]
    return len(rows) - len(void), void


def count_damaged(connection: sqlite3.Connection) -> int:
    """Lines of SQLite's own check, and rows of answers and texts that are not what was written there."""
    lines = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    wrong = 0 if lines == ["ok"] else len(lines)
    texts = connection.execute("SELECT key, text, checksum FROM texts")
    return wrong + sum(row is None for row in intact_rows(connection)) + sum(read_text(*row) is None for row in texts)


def _conditions(parts: list[tuple[str, object]], fixed: str) -> tuple[str, list[object]]:
    """A WHERE of all conditions that have a value; one that nothing meets if there are none."""
    given = [(text, value) for text, value in parts if value is not None]
    texts = [text for text, _ in given] + ([fixed] if fixed else [])
    return " AND ".join(texts) or "0", [value for _, value in given]


def _take(connection: sqlite3.Connection, table: str, condition: str, values: list[object], dry_run: bool) -> int:
    if dry_run:
        return int(connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values).fetchone()[0])
    return connection.execute(f"DELETE FROM {table} WHERE {condition}", values).rowcount
