"""Refreshes that are killed, and two at a time: what is paid for is kept, and only what is in flight is paid for twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from answerers import numbered_lines
from fault_server import FaultServer
from profile_answers import profile_answerer, profile_of

from genz_ppl.profiles import read_profiles

pytestmark = pytest.mark.slow

WORKERS, ITEMS = 8, 1500
PROGRAM = """
import sys
from genz_ppl.profiles import make_profiles
from genz_ppl.types import Item

url, folder, out = sys.argv[1:]
sys.path.insert(0, folder)
items = [Item(f"i{n}", f"story number {n} of rain") for n in range(1500)]
make_profiles(
    items, f"{folder}/{out}", model="openai:m", encoder="own_encoders:Shortest", store=f"{folder}/answers.sqlite",
    model_settings={"base_url": url, "workers": 8},
)
"""


def start(server: FaultServer, folder: Path, out: str = "out.parquet") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, server.base_url, str(folder), out])


def asked(server: FaultServer) -> Counter[str]:
    return Counter(text for request in list(server.requests) for text in numbered_lines(request.body)[0].values())


def check(path: Path) -> None:
    found = read_profiles(path)
    assert found.missing == ()
    assert all(row.profile == profile_of(f"story number {row.id[1:]} of rain")["profile"] for row in found.rows)


def test_killed_at_ten_moments(tmp_path: Path, own_encoder: str) -> None:
    chance = random.Random(0)
    moments = sorted(chance.sample(range(1, ITEMS - 50), 10))
    lost = 0
    with FaultServer(profile_answerer, latency=0.004) as server:
        for moment in moments:
            process = start(server, tmp_path)
            while server.total < moment + lost and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (tmp_path / "out.parquet").exists()
            texts = asked(server)
            lost = texts.total() - len(texts)
        assert start(server, tmp_path).wait() == 0
        texts, total = asked(server), server.total
        assert len(texts) == ITEMS
        assert total - ITEMS <= 10 * WORKERS
        check(tmp_path / "out.parquet")
        assert total <= read_profiles(tmp_path / "out.parquet").about.spent.calls <= total + 10 * WORKERS
        assert start(server, tmp_path, "again.parquet").wait() == 0
        assert server.total == total  # all of it is stored


def test_two_at_a_time_ask_nothing_twice(tmp_path: Path, own_encoder: str) -> None:
    with FaultServer(profile_answerer, latency=0.004) as server:
        processes = [start(server, tmp_path, f"out{n}.parquet") for n in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        texts = asked(server)
    assert set(texts.values()) == {1}
    assert len(texts) == ITEMS
    for n in range(2):
        check(tmp_path / f"out{n}.parquet")
