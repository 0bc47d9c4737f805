"""`genz` with a model behind a server: fit, stop for any reason, go on, predict; exit codes and what is saved by then."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answerers import Body, kind_of, numbered_lines
from fault_server import FaultServer, Request, always, contains_truth, every, share, truthful_answerer

from genz_ppl.llm.served import calling
from genz_ppl.llm.store import schema as store_schema
from genz_ppl.llm.store import store

WORDS = ["granite", "pool", "garage", "fireplace", "garden", "balcony"]
EFFECTS = [1.0, 0.8, 0.6, -0.7, 0.5, -0.4]
SHORT = ("--cycles", "1", "--add", "2", "--cut", "0", "--proposals", "2", "--seed", "1")


def best_words(body: Body) -> list[str]:
    """Wordings for a mining prompt: the words that its two groups differ in most."""
    above, _, below = body["messages"][1]["content"].partition("Negative group")
    if not below:
        return WORDS[:1]
    groups = [numbered_lines({"messages": [{"role": "user", "content": part}]})[0].values() for part in (above, below)]
    lead = {word: np.mean([word in text for text in groups[0]]) - np.mean([word in text for text in groups[1]]) for word in WORDS}
    return sorted(WORDS, key=lambda word: float(lead[word]))[:-4:-1]


TRUE = truthful_answerer(contains_truth, best_words)


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """40 houses whose price is a sum over the words in their text, as houses.csv."""
    chance = random.Random(0)
    has = [[chance.random() < 0.4 for _ in WORDS] for _ in range(40)]
    rows = [
        {
            "id": f"h{number}",
            "text": f"House {number}: " + ", ".join(word for word, there in zip(WORDS, row, strict=True) if there),
            "price": round(sum(e for e, there in zip(EFFECTS, row, strict=True) if there) + chance.gauss(0, 0.1), 4),
        }
        for number, row in enumerate(has)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "houses.csv", index=False)
    return tmp_path / "houses.csv"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.005)


@pytest.fixture
def fit(genz: Any, houses: Path) -> Any:
    """`genz fit houses.csv` into out/ with the store beside it."""

    def call(server: FaultServer, *more: object, out: str = "out") -> Any:
        where = ("--model", "openai:m", "--base-url", server.base_url, "--store", "answers.sqlite", "--items-per-call", 10)
        return genz("fit", houses.name, "--id", "id", "--target", "price", "--out", out, *where, *SHORT, *more)

    return call


def status(out: str = "out") -> str:
    return str(json.loads(Path(out, "run.json").read_text())["status"])


def asked(requests: list[Request]) -> list[tuple[str, str]]:
    """The pairs that right replies answered."""
    pairs = []
    for request in requests:
        if request.fault is None and kind_of(request.body).startswith("extract"):
            items, features = numbered_lines(request.body)
            pairs += [(item, feature) for item in items.values() for feature in features.values()]
    return pairs


@pytest.fixture
def uninterrupted(genz: Any, fit: Any) -> Any:
    """What a run without any fault finds, its metrics, and the calls it makes."""
    with FaultServer(TRUE) as server:
        assert fit(server, "--store", "other.sqlite", out="other").code == 0
        assert len(asked(server.requests)) == len(set(asked(server.requests)))
        return genz("features", "other").out, Path("other/metrics.json").read_text(), server.total


def same_end(genz: Any, uninterrupted: Any) -> None:
    assert status() == "done"
    assert genz("features", "out").out == uninterrupted[0]


def test_fit_and_predict(genz: Any, fit: Any, houses: Path, uninterrupted: Any) -> None:
    with FaultServer(TRUE) as server:
        outcome = fit(server, "--price", "1,2", "--quiet")
        assert (outcome.code, outcome.err) == (0, "")
        assert "garden" in outcome.out
        same_end(genz, uninterrupted)
        metrics = json.loads(Path("out/metrics.json").read_text())
        assert metrics["calls"] == server.total == uninterrupted[2]
        assert metrics["cost"] > 0
        made = server.total
        assert genz("predict", "out", houses.name, "-o", "p.csv").code == 0
        assert server.total == made  # all of these were asked about
        table = pd.read_csv("p.csv")
        assert len(table) == 40
        fresh = pd.read_csv(houses).assign(text=lambda t: "A new one. " + t["text"])
        fresh.to_csv("fresh.csv", index=False)
        assert genz("predict", "out", "fresh.csv", "-o", "q.csv").code == 0
        assert server.total == made + 4
        new = pd.read_csv("q.csv")
        np.testing.assert_allclose(
            new.drop(columns="id").select_dtypes("number"), table.drop(columns="id").select_dtypes("number")
        )


@pytest.mark.slow
def test_the_same_run_again_costs_nothing(fit: Any) -> None:
    with FaultServer(TRUE) as server:
        first = fit(server)
        made = server.total
        second = fit(server, out="again")
        assert server.total == made
    assert first.out.splitlines()[:3] == second.out.splitlines()[:3]
    assert json.loads(Path("again/metrics.json").read_text())["calls"] == 0


@pytest.mark.slow
def test_faults_change_nothing_but_the_number_of_calls(genz: Any, fit: Any, uninterrupted: Any) -> None:
    names = ["429", "500", "reset_amid", "bad_json", "refusal", "truncated", "index_string", "length_valid", "two_objects"]
    with FaultServer(TRUE, share(0.25, names)) as server:
        assert fit(server, "--items-per-call", 3).code == 0
        same_end(genz, uninterrupted)
        assert server.total - server.counts["right"] > 3
        assert len(asked(server.requests)) == len(set(asked(server.requests)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cap", "low", "high"), [("--max-calls", 4, 1000), ("--max-cost", 0.0145, 10), ("--max-tokens", 10_500, 10**7)]
)
def test_a_cap_ends_the_run_and_more_goes_on(genz: Any, fit: Any, uninterrupted: Any, cap: str, low: float, high: float) -> None:
    with FaultServer(TRUE) as server:
        outcome = fit(server, cap, low, "--price", "1,2", "--workers", 2)
        assert outcome.code == 3
        assert outcome.message.startswith(f"genz: stopped by {cap} {low}: ")
        assert outcome.message.endswith(f"what was done is saved, go on with: genz resume out {cap} MORE")
        assert status() == "stopped"
        made = server.total
        assert 0 < made < uninterrupted[2]
        assert genz("resume", "out").code == 3  # no more than before
        assert server.total == made
        outcome = genz("resume", "out", cap, high, "--quiet")
        assert (outcome.code, outcome.err) == (0, "")
        same_end(genz, uninterrupted)
        assert server.total == uninterrupted[2]
        metrics = json.loads(Path("out/metrics.json").read_text())
        assert metrics["calls"] == server.total


def test_a_cap_on_a_prediction(genz: Any, fit: Any, houses: Path) -> None:
    with FaultServer(TRUE) as server:
        fit(server)
        pd.read_csv(houses).assign(text=lambda t: "New: " + t["text"]).to_csv("fresh.csv", index=False)
        outcome = genz("predict", "out", "fresh.csv", "-o", "p.csv", "--max-calls", 2)
        assert outcome.code == 3
        assert "what was answered is stored: give the command again" in outcome.message
        assert not Path("p.csv").exists()
        made = server.total
        assert genz("predict", "out", "fresh.csv", "-o", "p.csv").code == 0
        assert server.total == made + 2


@pytest.mark.slow
def test_a_used_up_quota(genz: Any, fit: Any, uninterrupted: Any) -> None:
    with FaultServer(TRUE, lambda number, _: "429_quota" if number > 4 else None) as server:
        outcome = fit(server, "--workers", 1)
        assert outcome.code == 4
        assert "the account's quota is used up (status 429, insufficient_quota); what was answered is stored" in outcome.message
        assert outcome.message.endswith("go on with: genz resume out")
        assert status() == "failed"
        assert server.total == 5
    with FaultServer(TRUE, port=server.port) as server:
        assert genz("resume", "out").code == 0
        same_end(genz, uninterrupted)
        assert server.total == uninterrupted[2] - 4


@pytest.mark.parametrize("name", ["401_key", "500", "reset_before", "200_html"])
def test_a_server_that_does_not_work(fit: Any, name: str) -> None:
    with FaultServer(TRUE, always(name)) as server:
        outcome = fit(server, "--attempts", 2)
    assert outcome.code == 4
    assert "planted" not in outcome.err
    assert len(outcome.message) < 300


@pytest.mark.slow
def test_a_full_disk(genz: Any, fit: Any, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = store_schema.open_store

    def small(path: Path) -> Any:
        connection = opened(path)
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    with FaultServer(TRUE) as server:
        monkeypatch.setattr(store, "open_store", small)
        outcome = fit(server, "--items-per-call", 1, "--features-per-call", 1)
        assert outcome.code == 4
        assert "the disk is full; free some space and run 'genz resume'" in outcome.message
        assert status() == "failed"
        monkeypatch.setattr(store, "open_store", opened)
        made, counted = server.total, len(set(asked(server.requests)))
        assert genz("resume", "out").code == 0
        same_end(genz, uninterrupted)
        pairs = asked(server.requests)
        assert made > 3
        assert len(pairs) - len(set(pairs)) <= 16 * 2  # those under way when the disk was full
        assert counted < len(set(pairs))


@pytest.mark.slow
def test_an_interrupt(genz: Any, fit: Any, uninterrupted: Any) -> None:
    """Ctrl-C amid calls: they end, are stored, and the run goes on from there."""
    with FaultServer(TRUE, latency=0.15) as server:

        def interrupt() -> None:
            while server.in_flight < 4:
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        outcome = fit(server, "--items-per-call", 4)
        thread.join()
        assert outcome.code == 130
        assert outcome.message == "genz: interrupted; what was done is saved, go on with: genz resume out"
        assert status() == "interrupted"
        assert server.abandoned == 0
        server.latency = 0.0
        assert genz("resume", "out").code == 0
        same_end(genz, uninterrupted)
        assert len(asked(server.requests)) == len(set(asked(server.requests)))


def test_what_cannot_change_when_a_run_goes_on(genz: Any, fit: Any) -> None:
    with FaultServer(TRUE) as server:
        assert fit(server, "--max-calls", 3).code == 3
        for option in ("--base-url", "--model", "--temperature", "--items-per-call"):
            assert genz("resume", "out", option, "1").code == 2
        assert server.total == 3


def test_nothing_planted_is_kept(genz: Any, fit: Any, houses: Path) -> None:
    table = pd.read_csv(houses)
    table["text"] = "planteditemtext " + table["text"]
    table.to_csv(houses, index=False)
    with FaultServer(TRUE, every(5, "500")) as server:
        outcomes = [fit(server), genz("predict", "out", houses.name, "-o", "p.csv"), genz("features", "out")]
        outcomes.append(genz("store", "export", "export.csv", "--store", "answers.sqlite"))
    for outcome in outcomes:
        assert outcome.code == 0
        assert "planted" not in outcome.out + outcome.err
    files = [path for path in Path().rglob("*") if path.is_file() and path.name != houses.name]
    assert len(files) > 5
    for path in files:
        assert b"planteditemtext" not in path.read_bytes(), path
        assert b"0123456789" not in path.read_bytes(), path
