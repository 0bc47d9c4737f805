"""The file behind the store: made, refused, migrated, busy, moved."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from storing import RED, YES, edit, item, put

from genz_ppl.errors import StoreError
from genz_ppl.llm.store import schema as store_schema
from genz_ppl.llm.store.store import AnswerStore, default_path


def test_default_path_is_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "genz-ppl" / "answers.sqlite"
    for not_usable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_usable)
        assert default_path() == Path.home() / ".cache" / "genz-ppl" / "answers.sqlite"


def test_new_store_is_made_with_its_folders_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "answers.sqlite"
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["answers.sqlite", "answers.sqlite-shm", "answers.sqlite-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_many_connections_make_one_new_store(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(path: Path, barrier: threading.Barrier) -> None:
        try:
            barrier.wait()
            with AnswerStore(path) as store:
                store.claim([(RED, item(1))])
        except BaseException as error:
            errors.append(error)

    for attempt in range(5):
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=work, args=(tmp_path / f"{attempt}.sqlite", barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_the_switch_to_write_ahead_logging_is_tried_again_while_the_file_is_busy() -> None:
    # In the race above SQLite refuses it without waiting, about once in a hundred files.
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    outcomes: list[Exception | str] = [busy, busy, "wal"]

    class Connection:
        def execute(self, _: str) -> Connection:
            if isinstance(outcomes[0], Exception):
                raise outcomes.pop(0)  # type: ignore[misc]
            return self

        def fetchone(self) -> tuple[object]:
            return (outcomes.pop(0),)

    assert store_schema._write_ahead(Connection()) == "wal"  # type: ignore[arg-type]
    assert not outcomes


def write_text(path: Path) -> None:
    path.write_text("not a database at all " * 100)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE answers (a, b)")
    connection.close()


def make_foreign_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def make_newer(path: Path) -> None:
    AnswerStore(path).close()
    edit(path, "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (write_text, "expected a store of answers, found another kind of file; name another one with --store FILE"),
        (make_folder, "found a folder; name a file with --store FILE"),
        (make_foreign_database, "found the database of another program; name another with --store"),
        (make_foreign_version, "found the database of another program; name another with --store"),
        (
            make_newer,
            f"version 99, this genz-ppl knows {len(store_schema.MIGRATIONS)}: upgrade genz-ppl, or name another store",
        ),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(path: Path, make: Callable[[Path], None], expected: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        AnswerStore(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be opened or used .*; check its folder, or name another one with --store FILE"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_without_the_right_to_write(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    path.chmod(0o400)
    with pytest.raises(StoreError, match="must be writable and is not"), AnswerStore(path) as store:
        store.claim([(RED, item(1))])


def test_an_older_store_is_migrated_with_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = len(store_schema.MIGRATIONS)
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    later = ("ALTER TABLE runs ADD COLUMN remark TEXT", "UPDATE runs SET remark = 'kept'")
    monkeypatch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, later))
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (known + 1,)
    assert connection.execute("SELECT remark FROM runs").fetchall() == [("kept",)]
    connection.close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"schema version {known + 1}, this genz-ppl knows {known}"):
        AnswerStore(path)


def test_every_earlier_version_becomes_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schemas = []
    for version in range(1, len(store_schema.MIGRATIONS) + 1):
        path = tmp_path / f"{version}.sqlite"
        with monkeypatch.context() as patch:
            patch.setattr(store_schema, "MIGRATIONS", store_schema.MIGRATIONS[:version])
            AnswerStore(path).close()
        with AnswerStore(path) as store:
            put(store, {(RED, item(1)): YES})
            assert store.lookup([RED], [item(1)])[0] == [[1.0]]
        connection = sqlite3.connect(path)
        schemas.append(connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall())
        connection.close()
    assert all(schema == schemas[0] for schema in schemas)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    broken = ("DELETE FROM answers", "DELETE FROM no_such_table")
    monkeypatch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, broken))
    with pytest.raises(StoreError, match="no such table"):
        AnswerStore(path)
    monkeypatch.undo()
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_a_busy_store_is_waited_for_and_then_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_schema, "BUSY_SECONDS", 0.2)
    with AnswerStore(path) as store:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(StoreError, match="another process has kept the store busy for"):
            store.claim([(RED, item(1))])
        assert time.monotonic() - start > 0.15
        assert store.lookup([RED], [item(1)])[1].sum() == 0  # readers do not wait
        blocker.execute("ROLLBACK")
        blocker.close()
        assert store.claim([(RED, item(1))]).mine == [(RED, item(1))]


def test_a_store_that_was_moved_is_not_written_to(path: Path, store: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES})
    path.rename(path.with_name("elsewhere"))
    for _ in range(2):
        with pytest.raises(StoreError, match="was moved or deleted while in use"):
            store.claim([(RED, item(2))])
        path.touch()  # nor to another file of that name


def test_a_closed_store_says_so(store: AnswerStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="the store was closed; open it again"):
        store.lookup([RED], [item(1)])


def test_a_lease_must_last(path: Path) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        AnswerStore(path, lease_seconds=0)
