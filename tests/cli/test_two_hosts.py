"""Two hosts that share nothing but a database: network namespaces, with a cable between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")
second_host = pytest.importorskip("second_host")

pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).resolve().parent.parent / "support"
MODEL = ("--model", "openai:m")


@pytest.fixture
def host() -> Iterator[Any]:
    if why := second_host.missing():
        pytest.skip(why)
    with second_host.SecondHost() as running:
        yield running


@pytest.fixture
def server(host: Any) -> Iterator[Any]:
    """The database, on the first host, which listens for the second."""
    import postgres_server

    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.PostgresServer("-c", f"listen_addresses=127.0.0.1,{host.first}") as running:
        second_host.let_in(running.data)
        with psycopg.connect(running.address, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield running


def test_calls_are_made_on_another_host_whose_cable_is_pulled(host: Any, server: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "OPENAI_API_KEY": "sk-planted-0123456789"}
    here = server.database(f"hosts_{token_hex(4)}")
    there = here.replace("127.0.0.1", host.first)
    script = [sys.executable, SUPPORT / "fault_server.py", "--answerer", "numbers_answerer:answer", "--latency", "0.1"]
    model = host.start([*script, "--until-eof"], stdin=subprocess.PIPE)
    url = f"http://127.0.0.1:{int(model.stdout.readline())}/v1"  # on the second host alone: the first reaches no such server
    worker = [sys.executable, "-m", "genz_ppl", "work", "--store", there, *MODEL, "--base-url", url]
    workers = [host.start(worker, env=environment) for _ in range(2)]
    short = ("--cycles", "1", "--add", "2", "--cut", "0", "--no-ceiling", "--quiet")
    fit = [sys.executable, "-m", "genz_ppl", "fit", "binary", "--out", str(tmp_path / "out"), "--store", here, *MODEL, *short]
    fit += ["--base-url", url, "--workers", "0", "--price", "1,2", "--max-cost", "5"]
    run = subprocess.Popen(fit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    with psycopg.connect(here, autocommit=True) as connection:

        def answers() -> int:
            return int(connection.execute("SELECT count(*) FROM genz.answers").fetchone()[0])

        wait_for(lambda: connection.execute("SELECT to_regclass('genz.answers')").fetchone()[0] is not None)
        wait_for(lambda: answers() > 0)
        host.pulled(True)
        time.sleep(1.0)
        before = answers()
        time.sleep(4.0)
        assert answers() == before  # nothing goes another way
        assert run.poll() is None
        host.pulled(False)
        wait_for(lambda: answers() > before)
        workers[0].kill()  # a host's process that ends without a word
        out, error = run.communicate(timeout=400)
        assert (run.returncode, error) == (0, "")
        assert "features; median absolute error" in out
        names = [name for (name,) in connection.execute("SELECT name FROM genz.workers WHERE model = 'm'")]
        assert sum(name.startswith("second/") for name in names) == 2
        spent = connection.execute("SELECT calls FROM genz.runs").fetchone()[0]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["calls"] == spent


def wait_for(said: Any) -> None:
    deadline = time.monotonic() + 180
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.1)
