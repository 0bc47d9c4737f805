"""`genz fit --annotators`: several who answer while questions are sought, one budget, bills apart, labels by people."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answerers import Body, hash_truth
from fault_server import FaultServer, contains_truth, truthful_answerer

from genz_ppl.llm.served import calling
from tests.cli.conftest import Genz
from tests.cli.test_openai import EFFECTS, WORDS, best_words

SHORT = ("--cycles", "1", "--add", "3", "--cut", "0", "--proposals", "3", "--seed", "1", "--screen", "20", "--suggestions", "0")


def often_wrong(item: str, feature: str) -> bool:
    """The truth, but for a quarter of the answers."""
    return contains_truth(item, feature) != (hash_truth(item, feature) and hash_truth(feature, item))


GOOD, BAD = truthful_answerer(contains_truth, best_words), truthful_answerer(often_wrong, best_words)


def answer(body: Body) -> str:
    reply = (GOOD if body["model"] == "good" else BAD)(body)
    assert isinstance(reply, str)
    return reply


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.005)


@pytest.fixture
def houses(tmp_path: Path) -> pd.DataFrame:
    chance = random.Random(0)
    has = [[chance.random() < 0.4 for _ in WORDS] for _ in range(80)]
    table = pd.DataFrame({"id": [f"h{number}" for number in range(80)]})
    named = [", ".join(word for word, there in zip(WORDS, row, strict=True) if there) for row in has]
    table["text"] = [f"House {number}: {words}" for number, words in enumerate(named)]
    table["price"] = [sum(e for e, there in zip(EFFECTS, row, strict=True) if there) + chance.gauss(0, 0.2) for row in has]
    table.to_csv(tmp_path / "houses.csv", index=False)
    return table


def options(server: FaultServer, store: str = "answers.sqlite") -> tuple[object, ...]:
    where = ("--base-url", server.base_url, "--store", store, "--items-per-call", 10, "--workers", 1, "--price", "1,2")
    return ("houses.csv", "--id", "id", "--target", "price", "--annotators", "openai:bad,openai:good", *where, *SHORT)


def bills(out: str) -> dict[str, dict[str, float]]:
    from genz_ppl import Discovery

    return Discovery.load(out).progress.bills


def test_two_that_answer_by_one_budget(genz: Genz, houses: pd.DataFrame, tmp_path: Path) -> None:
    with FaultServer(answer) as server:
        planned = json.loads(genz("plan", *options(server), "--json").out)
        assert server.total == 0
        done = genz("fit", *options(server), "--out", "whole", "-q")
        assert done.code == 0, done.message
        total = server.total
        names = [request.body["model"] for request in server.requests]
    assert planned["calls"] >= total
    table = pd.read_csv("whole/features.csv")
    active = table[table["active"]]
    assert len(active) >= 2
    assert (active["p_e openai:good"] < active["p_e openai:bad"]).all()
    assert (active["p_e"] <= active["p_e openai:good"] + 1e-9).all()
    apart, last = bills("whole"), pd.read_csv("whole/curve.csv").iloc[-1]
    assert set(apart) == {"openai:bad", "openai:good"}
    assert apart["openai:good"]["calls"] == names.count("good")
    assert apart["openai:bad"]["calls"] == names.count("bad")
    for field in ("calls", "tokens_in", "tokens_out", "cost"):
        assert sum(bill[field] for bill in apart.values()) == pytest.approx(last[field])
    assert planned["answers"] >= sum(bill["answers"] for bill in apart.values()) == last["answers_asked"]
    for field in ("calls", "tokens_in", "tokens_out"):
        assert planned[field] >= last[field]
    assert planned["dollars"] >= last["cost"]
    assert "of that openai:good:" in done.out
    assert json.loads(Path("whole/run.json").read_text())["annotators"] == ["openai:bad", "openai:good"]


def test_a_cap_holds_over_both_and_more_goes_on(genz: Genz, houses: pd.DataFrame, tmp_path: Path) -> None:
    with FaultServer(answer) as server:
        assert genz("fit", *options(server), "--out", "whole", "-q").code == 0
        total, alone = server.total, max(bill["calls"] for bill in bills("whole").values())
        cap = (total + int(alone)) // 2  # neither passes it alone
        stopped = genz("fit", *options(server, "other.sqlite"), "--out", "parts", "-q", "--max-calls", cap)
        assert stopped.code == 3, stopped.message
        assert stopped.message.startswith(f"genz: stopped by --max-calls {cap}: ")
        made = server.total - total
        assert made <= cap
        assert genz("resume", "parts", "-q").code == 3  # no more than before
        assert server.total == total + made
        done = genz("resume", "parts", "-q", "--max-calls", total)
        assert done.code == 0, done.message
        assert server.total == 2 * total
    assert Path("parts/features.csv").read_bytes() == Path("whole/features.csv").read_bytes()
    assert sum(bill["calls"] for bill in bills("parts").values()) == total


def test_new_items_are_asked_of_all(genz: Genz, houses: pd.DataFrame, tmp_path: Path) -> None:
    with FaultServer(answer) as server:
        assert genz("fit", *options(server), "--out", "run", "-q").code == 0
        new = pd.DataFrame({"id": ["n1", "n2"], "text": ["House 100: granite, pool", "House 101: garage"]})
        new.to_csv("new.csv", index=False)
        before = len(server.requests)
        done = genz("predict", "run", "new.csv", "-o", "new_prices.csv")
        assert done.code == 0, done.message
        names = {request.body["model"] for request in server.requests[before:]}
    assert names == {"good", "bad"}
    assert np.isfinite(pd.read_csv("new_prices.csv")["mean"]).all()


def test_labels_in_a_file(genz: Genz, houses: pd.DataFrame, tmp_path: Path) -> None:
    """Of questions of the run, one that it does not come to, an item that is not there, and one that nobody is sure of."""
    for name, truth in (("good", contains_truth), ("bad", often_wrong)):
        known = {word: [int(truth(text, word)) for text in houses["text"]] for word in WORDS}
        pd.DataFrame({"id": houses["id"], **known}).to_csv(f"{name}.csv", index=False)
    pairs = list(zip(houses["id"], houses["text"], strict=True))[:40]
    rows = [(name, word, "yes" if word in text else "no") for name, text in pairs for word in WORDS]
    more = [("h1", "is it blue", "no"), ("nowhere", "pool", "yes"), ("h70", "pool", "")]
    pd.DataFrame([*rows, *more], columns=["id", "question", "answer"]).to_csv("labels.csv", index=False)
    source = ("houses.csv", "--id", "id", "--target", "price", *SHORT[:8], "--combine", "1", "-q")
    done = genz("fit", *source, "--annotators", "table:bad.csv", "--gold", "labels.csv", "--out", "run")
    assert done.code == 0
    assert "gold: 1 label of items that the data do not have, such as 'nowhere', left out" in done.err
    assert "not among the questions of the run" in done.err
    found = pd.read_csv("run/features.csv")
    plain = genz("fit", *source, "--model", "table:bad.csv", "--out", "plain")
    assert plain.code == 0
    assert list(found.columns) == list(pd.read_csv("plain/features.csv").columns)  # one annotator has p_e alone
    assert json.loads(Path("run/run.json").read_text())["gold"] is True
    (tmp_path / "none.csv").write_text("id,question,answer\nnowhere,pool,yes\n", encoding="utf-8")
    refused = genz("fit", *source, "--annotators", "table:bad.csv", "--gold", "none.csv", "--out", "other")
    assert (refused.code, "gold: no row labels a training item" in refused.message) == (2, True)
    assert not Path("other").exists()
