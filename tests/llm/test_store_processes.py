"""The store between processes that run, are killed, fork, or fill the disk."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import owner as store_owner
from genz_ppl.llm.store.store import AnswerStore, Question, StoredAnswer

RED = Question("Is it red?", "m", "e", "p", "{}")
YES = StoredAnswer(1.0)

# What every process below starts with; `path` and further arguments come from the command line.
COMMON = """
import os, random, sys, time
from hashlib import sha256
from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.store import AnswerStore, Question, StoredAnswer
RED, YES, CALL = Question("Is it red?", "m", "e", "p", "{}"), StoredAnswer(1.0), Spending(1, 10, 5, 0.5)
path = sys.argv[1]
def pair(n): return RED, sha256(str(n).encode()).digest()
"""

# Claims all pairs in small random groups until everything is known; prints what it settled.
WORKER = """
store, order = AnswerStore(path), random.Random(int(sys.argv[2]))
run, pending = store.open_run(None, True), list(range(500))
while pending:
    order.shuffle(pending)
    numbers = {pair(n): n for n in pending[:order.randint(1, 4)]}
    claim = store.claim(list(numbers))
    if claim.mine:
        attempt = store.begin(run, "extract", "m", CALL)
        store.settle(attempt, "done", CALL, {each: YES for each in claim.mine})
        print(*[numbers[each] for each in claim.mine], sep="\\n")
    known = {numbers[each] for each in [*claim.known, *claim.mine]}
    pending = [n for n in pending if n not in known]
store.close()
"""

# Settles five answers a call for ever; says so after each.
ENDLESS = """
store, n = AnswerStore(path), int(sys.argv[2])
run = store.open_run("run", False)
while True:
    pairs = [pair(n + k) for k in range(5)]
    mine = store.claim(pairs).mine
    attempt = store.begin(run, "extract", "m", CALL)
    store.settle(attempt, "done", CALL, {each: YES for each in mine})
    n += 5
    print(n, flush=True)
"""

HOLDER = """
store = AnswerStore(path)
store.claim([pair(n) for n in range(3)])
store.claim_text(b"key")
store.begin(store.open_run("run", False), "extract", "m", CALL)
print("ready", flush=True)
time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[str]"]


def item(n: int) -> bytes:
    return sha256(str(n).encode()).digest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts a Python process with one of the scripts; all are ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def call(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMON + script, str(path), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield call
    for process in processes:
        process.kill()
        process.communicate()


def output(process: subprocess.Popen[str]) -> str:
    """What a process that ended well has printed."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


def test_four_processes_settle_every_pair_exactly_once(path: Path, start: Start) -> None:
    workers = [start(WORKER, seed) for seed in range(4)]  # they make the file together, too
    settled = [[int(line) for line in output(worker).split()] for worker in workers]
    assert sorted(n for numbers in settled for n in numbers) == list(range(500))
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(n) for n in range(500)])[1].all()
        assert store._tables.connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)
        assert store._tables.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_claims_of_a_running_process_hold_and_those_of_a_killed_one_are_void(path: Path, start: Start) -> None:
    holder = start(HOLDER)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    pairs = [(RED, item(n)) for n in range(4)]
    with AnswerStore(path) as store:
        run = store.open_run("run", fresh=False)
        claim = store.claim(pairs)
        assert (claim.theirs, claim.mine) == (pairs[:3], pairs[3:])
        assert not store.claim_text(b"key")
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the table of processes: a zombie
        assert store.claim(pairs).mine == pairs[:3]
        assert store.claim_text(b"key")
        assert store.spent(run) == Spending(1, 10, 5, 0.5)  # it may have been paid


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_loses_nothing_that_was_settled(path: Path, start: Start, seed: int) -> None:
    wait = random.Random(seed)
    told = 0
    for _ in range(3):
        process = start(ENDLESS, told)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(wait.uniform(0, 0.05))
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()  # its files are closed a moment before it counts as ended
        told = max(int(line) for line in lines if line.endswith("\n"))
        with AnswerStore(path) as store:
            assert store.lookup([RED], [item(n) for n in range(told)])[1].all()
            assert store._tables.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            # Of the one call that was amid something all is settled, or all is to be asked again.
            last = store.claim([(RED, item(n)) for n in range(told, told + 5)])
            assert (len(last.known), len(last.mine)) in ((0, 5), (5, 0))
            assert store.damaged() == 0
            settled, open_ = store._tables.connection.execute(
                "SELECT count(settled), sum(settled IS NULL) FROM attempts"
            ).fetchone()
            assert settled * 5 == told + len(last.known)
            assert open_ <= 3
            assert store.spent(store.open_run("run", fresh=False)).calls == settled + open_
            told += len(last.known)


def test_eight_processes_make_one_new_store(path: Path, start: Start) -> None:
    script = "store = AnswerStore(path); store.claim([pair(int(sys.argv[2]))]); store.open_run(None, True)"
    for process in [start(script, n) for n in range(8)]:
        assert output(process) == ""
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (8,)
    connection.close()


def test_a_forked_process_must_open_the_store_itself(path: Path, start: Start) -> None:
    forking = """
store = AnswerStore(path)
store.claim([pair(0)])
if os.fork() == 0:
    try:
        store.claim([pair(0)])
    except StoreError as error:
        print(error, flush=True)
    store.close()
    print(len(AnswerStore(path).claim([pair(0)]).theirs), flush=True)
    os._exit(0)
os.wait()
print(len(store.claim([pair(0)]).theirs))
"""
    lines = output(start(forking)).splitlines()
    assert lines == [f"{path}: the store was opened before this process forked; open it again in each process", "1", "1"]


def test_a_disk_that_fills_up_is_a_clear_error_and_nothing_settled_is_lost(path: Path, start: Start) -> None:
    filling = """
import resource
store, n = AnswerStore(path), 0
run = store.open_run("run", False)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    while True:
        pairs = [pair(n + k) for k in range(50)]
        attempt = store.begin(run, "extract", "m", CALL)
        store.settle(attempt, "done", CALL, {each: YES for each in pairs})
        n += 50
except StoreError as error:
    print(n, error, flush=True)
values, known = store.lookup([RED], [pair(k)[1] for k in range(n)])
print(known.all(), flush=True)
store.close()
"""
    told, readable = output(start(filling)).splitlines()
    count, message = told.split(" ", 1)
    assert int(count) > 100
    assert message.startswith(f"{path}: the disk is full")
    assert "free some space and run 'genz resume' to go on" in message
    assert readable == "True"
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(n) for n in range(int(count))])[1].all()
        claim = store.claim([(RED, item(n)) for n in range(int(count) + 50)])
        assert (len(claim.known), len(claim.mine)) == (int(count), 50)
        attempt = store.begin(store.open_run("run", fresh=False), "extract", "m", Spending(1))
        store.settle(attempt, "done", Spending(1), dict.fromkeys(claim.mine, YES))
        assert store._tables.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_who_is_dead() -> None:
    class Holder:
        pass

    holder = Holder()
    me = store_owner.new_owner(holder)
    host, pid, begun, token = me.rsplit(":", 3)
    assert not store_owner.is_dead(me)
    assert not store_owner.is_dead(f"elsewhere/0000:{pid}:{begun}:{token}")  # nothing is known about another host
    assert not store_owner.is_dead("nonsense")
    assert not store_owner.is_dead(f"{host}:1::{token}")  # the first process lives
    assert store_owner.is_dead(f"{host}:{pid}:{begun}:another")  # a store of this process that was dropped
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert store_owner.is_dead(f"{host}:{ended.pid}:{begun}:{token}")
    store_owner.retire(me)
    assert store_owner.is_dead(me)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process was started")
def test_a_reused_process_number_is_another_process() -> None:
    host, pid, begun, token = store_owner.new_owner(object_of_its_own := lambda: None).rsplit(":", 3)
    assert begun.isdigit()
    assert store_owner.is_dead(f"{host}:{pid}:{int(begun) - 1}:{token}")
    parent = store_owner._state_and_start(os.getppid())[1]
    assert not store_owner.is_dead(f"{host}:{os.getppid()}:{parent}:{token}")
    assert store_owner.is_dead(f"{host}:{os.getppid()}:{int(parent) - 1}:{token}")
    del object_of_its_own
