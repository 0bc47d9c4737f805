"""The shared store when its server, its workers or their network fail; and what is refused before anything is opened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from storing import BIG, FAILED, NO, ONE_CALL, RED, YES, item, put

from genz_ppl.errors import OptionError, StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import tools
from genz_ppl.llm.store.importing import import_answers
from genz_ppl.llm.store.places import located, only_file, open_shared
from genz_ppl.llm.store.store import AnswerStore

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")
connecting = pytest.importorskip("genz_ppl.llm.store.postgres.connection")
schema = pytest.importorskip("genz_ppl.llm.store.postgres.schema")
PostgresBatches = pytest.importorskip("genz_ppl.llm.store.postgres.batches").PostgresBatches

# Claims five pairs a call for ever, settles them a moment later, and says so.
ENDLESS = """
import sys, time
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.postgres.store import PostgresStore
from storing import ONE_CALL, RED, YES, item
store, n = PostgresStore(sys.argv[1], beat=0.1), int(sys.argv[2])
run = store.open_run("run", False)
while True:
    claim = store.claim([(RED, item(k)) for k in range(n, n + 5)])
    mine = claim.mine
    if claim.theirs:  # those of one that was killed, for a moment
        store.release(mine)
        time.sleep(0.05)
        continue
    attempt = store.begin(run, "extract", "m", ONE_CALL)
    store.settle(attempt, "done", ONE_CALL, {pair: YES for pair in mine})
    n += 5
    print(n, flush=True)
"""
# Opens a store twenty times at the same moments as others that run this: whatever they meet, none may fail.
OPENS = """
import sys, time
from genz_ppl.llm.store.places import open_shared
import genz_ppl.llm.store.postgres.store
time.sleep(2.0 - time.time() % 2.0)
for _ in range(20):
    open_shared(sys.argv[1]).close()
"""
SUPPORT = Path(__file__).resolve().parent.parent / "support"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def address(postgres: Any) -> str:
    return str(postgres.database(f"own_{token_hex(4)}"))


@pytest.fixture
def start(address: str) -> Iterator[Start]:
    """Starts a Python process with a script, the address and further arguments; all are ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def call(script: str, *arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])}
        command = [sys.executable, "-c", script, address, *map(str, arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return processes[-1]

    yield call
    for process in processes:
        process.kill()
        process.communicate()


def rows(address: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(address) as connection:
        return list(connection.execute(query).fetchall())


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("postgresql://me:secret@host/db", "holds a password"),
        ("postgresql://host/db?password=secret", "holds a password"),
        ("postgresql://host:port/db", "cannot be read"),
    ],
)
def test_an_address_that_would_show_a_password_is_refused(place: str, expected: str) -> None:
    with pytest.raises(OptionError, match=expected) as raised:
        located(place)
    assert "secret" not in str(raised.value)


def test_places_have_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("answers.sqlite") == str(tmp_path / "answers.sqlite")
    assert located(Path("postgresql://host/db")) == "postgresql://host/db"
    assert located("postgres://host/db") == "postgresql://host/db"
    with pytest.raises(OptionError, match="prune is for a store in a file, got a PostgreSQL database; use psql"):
        only_file("postgresql://host/db", "prune", "use psql")


def test_no_server_is_a_line_and_not_a_minute() -> None:
    started = time.monotonic()
    with pytest.raises(StoreError, match="the database cannot be reached"):
        open_shared("postgresql://genz@127.0.0.1:1/postgres")
    assert time.monotonic() - started < 20


def test_tables_of_a_newer_version_are_refused(address: str) -> None:
    open_shared(address).close()
    with psycopg.connect(address) as connection:
        connection.execute("UPDATE genz.version SET version = 99")
    with pytest.raises(StoreError, match="schema version 99, this genz-ppl knows 1 to 2: upgrade"):
        open_shared(address)
    with psycopg.connect(address) as connection:
        connection.execute("DELETE FROM genz.version")
    with pytest.raises(StoreError, match="no schema version"):
        open_shared(address)


def older(address: str) -> None:
    """The tables as version 1 of them made them."""
    with psycopg.connect(address) as connection:
        for statement in schema._TABLES:
            connection.execute(statement.encode())


def test_tables_of_an_older_version_are_brought_up_to_date(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    older(address)
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT version, to_regclass('genz.batches') FROM genz.version").fetchone() == (1, None)
    # One of that version, which goes on with its work meanwhile.
    monkeypatch.setattr(connecting, "prepare", lambda *_: None)
    with open_shared(address) as before:
        put(before, {(RED, item(1)): YES})
        claim = before.claim([(RED, item(2))])
        monkeypatch.undo()
        threads = [threading.Thread(target=lambda: open_shared(address).close()) for _ in range(8)]  # several at once
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        put(before, {claim.mine[0]: NO})
    with open_shared(address) as store:
        assert store.lookup([RED], [item(1), item(2)])[0].tolist() == [[1.0], [0.0]]
        assert PostgresBatches(store).open("http://localhost/v1") == []
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT version FROM genz.version").fetchall() == [(schema.VERSION,)]


def test_tables_are_made_once_by_many_who_come_at_once(address: str) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", OPENS, address], stderr=subprocess.PIPE) for _ in range(6)]
    for process in processes:
        assert process.communicate(timeout=120)[1] == b""
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT version FROM genz.version").fetchall() == [(schema.VERSION,)]


def test_old_and_new_tables_are_the_same(address: str, postgres: Any) -> None:
    """Whoever makes the tables goes through all versions, so what is tested is what an old store becomes."""
    other = str(postgres.database(f"own_{token_hex(4)}"))
    older(other)
    described = []
    for place in (address, other):
        open_shared(place).close()
        with psycopg.connect(place) as connection:
            columns = "table_name, column_name, data_type, is_nullable, column_default"
            query = f"SELECT {columns} FROM information_schema.columns WHERE table_schema = 'genz' ORDER BY 1, 2"
            described.append(connection.execute(query.encode()).fetchall())
    assert described[0] == described[1]


def test_a_migration_that_fails_changes_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    older(address)
    monkeypatch.setattr(schema, "_MIGRATIONS", ((schema._MIGRATIONS[0][0], "CREATE TABLE genz.answers (broken integer)"),))
    with pytest.raises(StoreError, match="already exists"):
        open_shared(address)
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT version, to_regclass('genz.batches') FROM genz.version").fetchone() == (1, None)


def test_a_user_who_may_not_migrate_is_told(address: str, postgres: Any) -> None:
    older(address)
    with psycopg.connect(address) as connection:
        connection.execute(b"CREATE ROLE reader_of_%d LOGIN" % os.getpid())
        connection.execute(b"GRANT USAGE ON SCHEMA genz TO reader_of_%d" % os.getpid())
        connection.execute(b"GRANT ALL ON ALL TABLES IN SCHEMA genz TO reader_of_%d" % os.getpid())
    with pytest.raises(StoreError, match="grant CREATE on it and all on the schema genz"):
        open_shared(address.replace("genz@", f"reader_of_{os.getpid()}@"))


def test_what_is_in_a_shared_store_is_counted(address: str) -> None:
    with open_shared(address) as store:
        attempt = store.begin(store.open_run("run", fresh=False), "extract", "m", ONE_CALL)
        store.settle(attempt, "done", ONE_CALL, {(RED, item(1)): YES, (RED, item(2)): NO, (BIG, item(1)): FAILED}, {item(9): "x"})
        store.begin(store.open_run("run", fresh=False), "extract", "m", ONE_CALL)
        store.claim([(RED, item(3))])
        found = tools.info(address, check=True)
        assert [(one.questions, one.yes, one.no, one.failed) for one in found.models] == [(2, 1, 1, 1)]
        assert (found.items, found.texts, found.runs, found.answers, found.damaged) == (2, 1, 1, 3, 0)
        assert (found.attempts, found.unsettled, found.leases, found.orphans) == (2, 1, 1, 0)
        assert found.spent == ONE_CALL + ONE_CALL
        assert found.failed == {"refusal": 1}
        assert found.size > 0
        with pytest.raises(StoreError, match="1 questions are being asked now"):
            tools.prune(address, failed=True)
    with psycopg.connect(address) as connection:
        connection.execute("UPDATE genz.answers SET value = 1 - value WHERE item = %s AND value = 0", (item(2),))
        connection.execute("UPDATE genz.texts SET checksum = 0")
    assert tools.info(address, check=True).damaged == 2


def test_answers_are_taken_out_of_a_shared_store(address: str) -> None:
    def fill() -> None:
        with open_shared(address) as store:
            put(store, {(RED, item(1)): YES, (BIG, item(1)): FAILED})
            attempt = store.begin(store.open_run("run", fresh=False), "describe", "other", ONE_CALL)
            store.settle(attempt, "done", ONE_CALL, {}, {item(9): "x"})

    def taken(**conditions: Any) -> tuple[int, int]:
        gone = tools.prune(address, **conditions)
        return gone.answers, gone.texts

    fill()
    assert taken() == (0, 0)
    assert taken(failed=True, dry_run=True) == taken(failed=True) == (1, 0)
    assert taken(model="nobody") == taken(prompt="nothing 1") == taken(older_than=1) == (0, 0)
    assert taken(model="m", prompt=RED.prompt) == (1, 0)
    fill()
    with psycopg.connect(address) as connection:
        connection.execute("UPDATE genz.attempts SET begun = begun - interval '3 days'")
        connection.execute(
            "INSERT INTO genz.leases SELECT question, sha256('gone'), 77, 1, clock_timestamp() + interval '1 day' "
            "FROM genz.answers LIMIT 1"
        )
    gone = tools.prune(address, older_than=2, model="other")
    assert (gone.answers, gone.texts, gone.leases) == (0, 1, 1)
    assert taken(older_than=2) == (2, 0)
    assert tools.info(address).spent.calls == 4  # the journal stays


def test_a_damaged_row_is_asked_again(address: str) -> None:
    with open_shared(address) as store:
        put(store, {(RED, item(1)): YES, (RED, item(2)): NO})
        with psycopg.connect(address) as connection:
            connection.execute("UPDATE genz.answers SET value = 1 - value WHERE item = %s", (item(1),))
        assert store.lookup([RED], [item(1), item(2)])[1].tolist() == [[False], [True]]
        assert store.claim([(RED, item(1))]).mine
        put(store, {(RED, item(1)): YES})
        assert store.lookup([RED], [item(1)])[0].tolist() == [[1.0]]
        assert store.damaged() == 1


def test_answers_go_out_and_in_again(address: str, tmp_path: Path) -> None:
    with open_shared(address) as store:
        put(store, {(RED, item(1)): YES, (RED, item(2)): NO})
    assert tools.export(address, tmp_path / "out.csv") == tools.Exported(rows=2, damaged=0)
    assert import_answers(tmp_path / "out.csv", tmp_path / "file.sqlite").new == 2
    with AnswerStore(tmp_path / "file.sqlite") as file:
        put(file, {(RED, item(3)): YES})
    found = import_answers(tmp_path / "file.sqlite", address)
    assert (found.new, found.known) == (1, 2)


def test_leases_of_a_killed_worker_are_free_without_a_look_at_its_host(address: str, start: Start) -> None:
    process = start(ENDLESS, 0)
    assert process.stdout is not None
    process.stdout.readline()
    with open_shared(address) as store:
        with psycopg.connect(address) as connection:  # what it would have had in hand
            connection.execute(
                "INSERT INTO genz.leases SELECT id, %s, (SELECT max(workers.id) FROM genz.workers), 1, clock_timestamp() + "
                "interval '1 hour' FROM genz.questions",
                (item("held"),),
            )
        assert store.claim([(RED, item("held"))]).theirs
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while not store.claim([(RED, item("held"))]).mine:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_store_is_not_used_across_a_fork(address: str) -> None:
    with open_shared(address) as store:
        store.claim([(RED, item(1))])
        child = os.fork()
        if child == 0:  # pragma: no cover
            try:
                store.lookup([RED], [item(1)])
            except StoreError as error:
                os._exit(0 if "before this process forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.claim([(RED, item(1))]).theirs


def kills(address: str, start: Start, times: int) -> None:
    """Kill a worker again and again: what it said is settled is there, and what was paid twice was in flight."""
    told = 0
    for number in range(times):
        process = start(ENDLESS, told)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(0.003 * (number % 10))
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        told = max(int(line) for line in lines if line.endswith("\n"))
    with open_shared(address) as store:
        assert store.lookup([RED], [item(n) for n in range(told)])[1].all()
        spent, answered = (
            store.spent(store.open_run("run", fresh=False)),
            rows(address, "SELECT count(*) FROM genz.answers")[0][0],
        )
    assert answered <= 5 * spent.calls <= answered + 2 * 5 * times  # a call in flight, and its repetition, for each kill


def test_kills_lose_nothing_that_was_settled(address: str, start: Start) -> None:
    kills(address, start, 3)


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing_that_was_settled(address: str, start: Start) -> None:
    kills(address, start, 100)


@pytest.mark.parametrize("kill", [True, False])
def test_a_server_that_is_restarted_is_waited_for(kill: bool) -> None:
    import postgres_server

    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.PostgresServer() as server, open_shared(server.address) as store:
        run = store.open_run("run", fresh=True)
        settled: list[bytes] = []
        ended = threading.Event()

        def work() -> None:
            n = 0
            while not ended.is_set():
                pair = (RED, item(n))
                assert store.claim([pair]).mine == [pair]
                store.settle(store.begin(run, "extract", "m", ONE_CALL), "done", ONE_CALL, {pair: YES})
                settled.append(pair[1])
                n += 1

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(2):
            time.sleep(0.3)
            server.stop(kill=kill)
            before = len(settled)
            server.start()
            deadline = time.monotonic() + 30
            while len(settled) < before + 20:
                assert time.monotonic() < deadline
                assert thread.is_alive()
                time.sleep(0.02)
        ended.set()
        thread.join()
        assert store.lookup([RED], settled)[1].all()
        assert store.spent(run) == Spending(len(settled), 10 * len(settled), 5 * len(settled), 0.5 * len(settled))
        assert rows(server.address, "SELECT count(*) FROM genz.attempts WHERE settled IS NULL") == [(0,)]
        assert rows(server.address, "SELECT count(*) FROM genz.leases") == [(0,)]


@pytest.mark.slow
def test_processes_that_contend_for_the_same_pairs_pay_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what benchmarks/fleet.py measures."""
    monkeypatch.syspath_prepend(str(SUPPORT.parent.parent / "benchmarks"))
    import fleet

    paid, _, _ = fleet.contend(address, pairs=2000, processes=4, threads=16, seed=0)
    assert paid == 2000
