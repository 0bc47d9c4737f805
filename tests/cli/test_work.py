"""`genz work` and `genz store status`: a run on one process, its calls in others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from server_process import FaultServerProcess
from storing import FAILED, RED, YES, item, put

from genz_ppl.llm.store.places import open_shared

pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")

MODEL = ("--model", "openai:m")


@pytest.fixture
def address(postgres: Any) -> str:
    return str(postgres.database(f"work_{token_hex(4)}"))


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "genz_ppl", *map(str, arguments)]
    environment = {**os.environ, "OPENAI_API_KEY": "sk-planted-0123456789"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_run_whose_calls_others_make(genz: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    with FaultServerProcess("--answerer", "numbers_answerer:answer", "--latency", "0.02") as server:
        where = ("--store", address, *MODEL, "--base-url", server.base_url)
        workers = [started("work", *where, "--idle", 6), started("work", *where, "--idle", 6), started("work", *where)]
        short = ("--cycles", 1, "--add", 2, "--cut", 0, "--no-ceiling", "--quiet")
        run = started("fit", "binary", "--out", "out", *where, "--workers", 0, "--price", "1,2", "--max-cost", 5, *short)
        time.sleep(6)
        workers[2].send_signal(signal.SIGKILL)  # in the middle, or so
        out, err = run.communicate(timeout=900)
        assert (run.returncode, err) == (0, "")
        assert "features; median absolute error" in out
        found = genz("store", "status", "--store", address, "--json")
        counted = json.loads(found.out)
        metrics = json.loads(Path("out/metrics.json").read_text())
        assert counted["spent"]["calls"] == metrics["calls"]
        assert metrics["calls"] - 16 <= server.stats()["total"] <= metrics["calls"]
        said = genz("store", "status", "--store", address)
        assert said.code == 0
        assert f"{counted['answers']} answers, {metrics['calls']} calls" in said.out
        for worker in workers[:2]:
            lines, error = worker.communicate(timeout=300)
            assert (worker.returncode, error) == (0, "")
            assert lines.startswith(f"at work for m at {server.base_url}/")
        workers[2].communicate()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--store", "answers.sqlite", *MODEL), "expected a database that hosts share"),
        (("--store", "postgresql://a:b@c/d", *MODEL), "the address holds a password"),
        (("--store", "postgresql://a@c/d", "--model", "rules"), "expected openai:NAME, got 'rules'"),
        (("--store", "postgresql://a@c/d", *MODEL, "--workers", 0), "expected at least 1, got 0"),
        (("--store", "postgresql://a@c/d", *MODEL, "--idle", -1), "expected a number of seconds of at least 0"),
        (("--store", "postgresql://genz@127.0.0.1:1/d", *MODEL), "the database cannot be reached"),
    ],
)
def test_what_a_worker_cannot_start_with(genz: Any, arguments: tuple[object, ...], expected: str) -> None:
    outcome = genz("work", *arguments)
    assert outcome.code in (2, 4)
    assert expected in outcome.message


def test_what_only_files_need_says_so(genz: Any) -> None:
    outcome = genz("store", "repair", "--store", "postgresql://a@c/d")
    assert outcome.code == 2
    assert "repair is for a store in a file, got a PostgreSQL database; damaged answers are asked again" in outcome.message


def test_info_and_prune_work_on_a_database(genz: Any, address: str) -> None:
    with open_shared(address) as store:
        put(store, {(RED, item(1)): YES, (RED, item(2)): FAILED})
    shown = genz("store", "info", "--store", address, "--check")
    assert (shown.code, shown.err) == (0, "")
    assert "2 answers about 2 items" in shown.out
    assert "no damage found" in shown.out
    assert "failed 1 times: refusal" in shown.out
    assert "would take away 1 answers" in genz("store", "prune", "--store", address, "--failed", "--dry-run").out
    assert "took away 1 answers" in genz("store", "prune", "--store", address, "--failed").out
    assert json.loads(genz("store", "info", "--store", address, "--json").out)["answers"] == 1


def test_status_is_for_a_database(genz: Any) -> None:
    assert "expected a database that hosts share" in genz("store", "status").message


def test_a_file_cannot_be_shared(genz: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    outcome = genz("fit", table, "--id", "key", "--target", "y", "--out", "out", *MODEL, "--workers", 0)
    assert outcome.code == 2
    assert "--workers 0: leaves all calls to 'genz work', which needs a store that hosts share" in outcome.message
