"""`genz fit` killed at random moments, and `genz resume` after each: at most the calls under way are paid for twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from answerers import Body, kind_of, numbered_lines
from fault_server import FaultServer, contains_truth, truthful_answerer

pytestmark = pytest.mark.slow

WORDS = ["granite", "pool", "garage", "fireplace", "garden", "balcony", "cellar", "attic"]
EFFECTS = [1.0, 0.8, 0.6, -0.7, 0.5, -0.4, 0.3, 0.9]
WORKERS, KILLS = 8, 8
GENZ = [sys.executable, "-c", "import sys; from genz_ppl.cli.app import main; main()"]


def first_words(body: Body) -> list[str]:
    """Five of the words, other ones for other items."""
    items, _ = numbered_lines(body)
    return random.Random(" ".join(items.values())).sample(WORDS, 5)


def run(folder: Path, arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([*GENZ, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fit(server: FaultServer, out: str) -> list[str]:
    where = ["--model", "openai:m", "--base-url", server.base_url, "--store", f"{out}.sqlite", "--workers", str(WORKERS)]
    sizes = ["--items-per-call", "1", "--features-per-call", "1", "--cycles", "2", "--add", "3", "--cut", "1", "--proposals", "5"]
    return ["fit", "houses.csv", "--id", "id", "--target", "price", "--out", out, "--screen", "0", "--quiet", *where, *sizes]


def test_a_run_that_is_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums of several threads may differ in their last bits
    chance = random.Random(0)
    has = [[chance.random() < 0.4 for _ in WORDS] for _ in range(150)]
    texts = [
        f"House {i}: " + ", ".join(word for word, there in zip(WORDS, row, strict=True) if there) for i, row in enumerate(has)
    ]
    prices = [sum(e for e, there in zip(EFFECTS, row, strict=True) if there) + chance.gauss(0, 0.2) for row in has]
    pd.DataFrame({"id": range(150), "text": texts, "price": prices}).to_csv(tmp_path / "houses.csv", index=False)
    answerer = truthful_answerer(contains_truth, first_words)
    with FaultServer(answerer) as server:
        process = run(tmp_path, fit(server, "whole"))
        assert process.communicate()[1] == ""
        n_calls = server.total
    assert n_calls > 600
    moments = sorted(chance.sample(range(1, n_calls - 20), KILLS))
    with FaultServer(answerer, latency=0.003) as server:
        for moment in moments:
            begun = (tmp_path / "out" / "run.json").exists()
            process = run(tmp_path, ["resume", "out"] if begun else fit(server, "out"))
            while server.total < moment and process.poll() is None:
                time.sleep(0.001)
            assert process.poll() is None
            process.kill()
            process.communicate()
        process = run(tmp_path, ["resume", "out", "--quiet"])
        assert process.communicate()[1] == ""
        assert process.returncode == 0
        asked: Counter[object] = Counter()
        for request in server.requests:
            items, features = numbered_lines(request.body)
            asked[kind_of(request.body), *items.values(), *features.values()] += 1
        assert len(asked) == n_calls
        assert asked.total() - n_calls <= KILLS * WORKERS
    metrics = [json.loads((tmp_path / out / "metrics.json").read_text()) for out in ("out", "whole")]
    assert metrics[0]["calls"] >= asked.total()
    for metric in metrics:
        for name in ("calls", "tokens_in", "tokens_out", "cost", "seconds"):
            del metric[name]
    assert metrics[0] == metrics[1]
    found, expected = (pd.read_csv(tmp_path / out / "features.csv") for out in ("out", "whole"))
    pd.testing.assert_frame_equal(found, expected)
