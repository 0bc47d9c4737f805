"""Processes that are killed, and processes that run side by side: what is paid for is kept, and nothing is asked twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, every, hash_truth, truthful_answerer

from genz_ppl.types import FloatArray

pytestmark = pytest.mark.slow

WORKERS = 8
PROGRAM = """
import sys
import numpy as np
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.types import Item

base_url, store, out, n_items, n_features, per_call = sys.argv[1:4] + [int(text) for text in sys.argv[4:]]
settings = ModelSettings(model="m", base_url=base_url, workers=8, items_per_call=per_call, features_per_call=1)
model = OpenAIModel(settings, store, run=store + ".run", fresh=False)
items = [Item(str(i), f"house {i}") for i in range(n_items)]
np.save(out, model.answer(items, [f"feature {k}" for k in range(n_features)]))
"""


def start(server: Any, folder: Path, out: str, n_items: int, n_features: int, per_call: int) -> subprocess.Popen[bytes]:
    sizes = [str(size) for size in (n_items, n_features, per_call)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, server.base_url, str(folder / "store"), str(folder / out), *sizes])


def right(n_items: int, n_features: int) -> FloatArray:
    return np.array([[hash_truth(f"house {i}", f"feature {k}") for k in range(n_features)] for i in range(n_items)], dtype=float)


def test_killed_at_twenty_random_moments(tmp_path: Path, asked: Any) -> None:
    """A run of 2 000 calls. A kill costs at most the calls under way at that moment."""
    chance = random.Random(0)
    moments = sorted(chance.sample(range(1, 1990), 20))
    lost = 0
    with FaultServer(truthful_answerer(hash_truth), latency=0.004) as server:
        for moment in moments:
            process = start(server, tmp_path, "out.npy", 200, 10, 1)
            while server.total < moment + lost and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            assert process.poll() is None
            process.kill()
            process.wait()
            pairs = Counter(asked(list(server.requests)))
            lost = pairs.total() - len(pairs)
        assert start(server, tmp_path, "out.npy", 200, 10, 1).wait() == 0
        pairs = Counter(asked(server.requests))
        total = server.total
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), right(200, 10))
    assert len(pairs) == 2000
    assert 0 < total - 2000 <= 20 * WORKERS
    assert max(pairs.values()) <= 4  # nothing is unlucky at every kill
    with FaultServer(truthful_answerer(hash_truth), port=server.port) as server:  # all of it is stored
        assert start(server, tmp_path, "again.npy", 200, 10, 1).wait() == 0
        assert server.total == 0
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), np.load(tmp_path / "out.npy"))


def test_spending_of_killed_processes_is_not_forgotten(tmp_path: Path) -> None:
    from genz_ppl.llm.store.store import AnswerStore

    with FaultServer(truthful_answerer(hash_truth), latency=0.01) as server:
        for kill in (60, 150):
            process = start(server, tmp_path, "out.npy", 50, 10, 1)
            while server.total < kill:
                time.sleep(0.001)
            process.kill()
            process.wait()
        assert start(server, tmp_path, "out.npy", 50, 10, 1).wait() == 0
        total = server.total
    with AnswerStore(tmp_path / "store") as store:
        spent = store.spent(store.open_run(f"{tmp_path / 'store'}.run", fresh=False))
    assert total <= spent.calls <= total + 2 * WORKERS  # some were journalled and not sent


def test_processes_side_by_side(tmp_path: Path, asked: Any) -> None:
    """Three at once over the same items, in calls of other sizes, at a server with faults: every answer is asked for once."""
    with FaultServer(truthful_answerer(hash_truth), every(7, "500"), latency=0.01) as server:
        processes = [start(server, tmp_path, f"{size}.npy", 200, 10, size) for size in (1, 3, 4)]
        assert [process.wait() for process in processes] == [0, 0, 0]
        pairs = asked([request for request in server.requests if request.fault is None])
    assert len(pairs) == len(set(pairs)) == 2000
    for size in (1, 3, 4):
        np.testing.assert_array_equal(np.load(tmp_path / f"{size}.npy"), right(200, 10))


def test_a_process_takes_over_from_one_that_was_killed(tmp_path: Path, asked: Any) -> None:
    """What a dead process held is free at once, not when its lease ends."""
    with FaultServer(truthful_answerer(hash_truth), latency=0.05) as server:
        first, second = (start(server, tmp_path, name, 100, 10, 1) for name in ("first.npy", "second.npy"))
        while server.total < 100:
            time.sleep(0.001)
        first.kill()
        first.wait()
        started = time.monotonic()
        assert second.wait() == 0
        assert time.monotonic() - started < 60
        pairs = Counter(asked(server.requests))
    np.testing.assert_array_equal(np.load(tmp_path / "second.npy"), right(100, 10))
    assert len(pairs) == 1000
    assert pairs.total() - 1000 <= WORKERS
