"""Answers by batch: the right ones, paid for once, whatever happens between the sending and the last look."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest
from batch_server import BatchServer
from fault_server import FAULTS, FaultServer, contains_truth, truthful_answerer

from genz_ppl.errors import BudgetError, GenzWarning, ModelError
from genz_ppl.llm.served import batching, calling
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import batches as store_batches
from genz_ppl.types import FloatArray, Item

FEATURES = ["granite", "pool", "number 1"]
ITEMS = [Item(str(i), f"house number {i}" + " with granite" * (i % 3 == 0) + " and a pool" * (i % 2)) for i in range(22)]


@pytest.fixture
def truth() -> FloatArray:
    return np.array([[float(contains_truth(item.text, feature)) for feature in FEATURES] for item in ITEMS])


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.01)
    with FaultServer(truthful_answerer(contains_truth)) as server:
        yield BatchServer(server)


def open_model(batches: BatchServer, store: Path, **settings: object) -> OpenAIModel:
    chosen = {"base_url": batches.server.base_url, "items_per_call": 5, "price": (10.0, 10.0), "batch": True, **settings}
    return OpenAIModel(ModelSettings(model="m", **chosen), store / "answers.sqlite", run=str(store / "run"), fresh=False)  # type: ignore[arg-type]


def test_answers_come_by_batch_at_half_the_price(batches: BatchServer, truth: FloatArray, tmp_path: Path) -> None:
    batches.looks = 3
    model = open_model(batches, tmp_path)
    np.testing.assert_array_equal(model.answer(ITEMS, FEATURES), truth)
    assert len(batches.batches) == 1
    assert len(batches.asked) == 5  # 22 items, 5 a call, 3 features in one
    assert not batches.server.requests
    spent = model.spent
    assert spent.calls == 5
    assert spent.cost == pytest.approx(0.5 * (spent.tokens_in + spent.tokens_out) * 10 / 1e6)
    assert model.store.spent(1) == spent
    np.testing.assert_array_equal(model.answer(ITEMS, FEATURES), truth)
    assert len(batches.batches) == 1


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_what_an_expired_batch_left_out_is_asked_again(
    batches: BatchServer, truth: FloatArray, tmp_path: Path, share: float
) -> None:
    batches.share = share
    model = open_model(batches, tmp_path, items_per_call=1)
    np.testing.assert_array_equal(model.answer(ITEMS, FEATURES), truth)
    asked = [body["messages"][1]["content"] for body in batches.asked] + [
        request.body["messages"][1]["content"] for request in batches.server.requests
    ]
    assert len(asked) == len(set(asked)) == len(ITEMS)


def test_broken_lines_and_any_order_do_no_harm(batches: BatchServer, truth: FloatArray, tmp_path: Path) -> None:
    batches.broken = True
    np.testing.assert_array_equal(open_model(batches, tmp_path).answer(ITEMS, FEATURES), truth)
    assert not batches.server.requests


@pytest.mark.parametrize("call", ["upload", "start"])
def test_a_lost_reply_starts_no_second_batch(batches: BatchServer, truth: FloatArray, tmp_path: Path, call: str) -> None:
    batches.lose = {call}
    np.testing.assert_array_equal(open_model(batches, tmp_path).answer(ITEMS, FEATURES), truth)
    assert len(batches.batches) == 1


class CrashError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("where", ["upload", "start_batch", "sent", "batch", "download", "settle"])
def test_a_crash_at_any_step_pays_nothing_twice(
    batches: BatchServer, truth: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model = open_model(batches, tmp_path)
    owner = {"sent": store_batches.BatchLedger, "settle": model.store.__class__}.get(where, type(model.caller.client))

    def crash(*_: object, **__: object) -> None:
        raise CrashError

    if owner is type(model.caller.client):

        async def crash_later(*_: object, **__: object) -> None:
            raise CrashError

        monkeypatch.setattr(owner, where, crash_later)
    else:
        monkeypatch.setattr(owner, where, crash)
    with pytest.raises((CrashError, asyncio.CancelledError)):
        model.answer(ITEMS, FEATURES)
    monkeypatch.undo()
    model.store.close()
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    again = open_model(batches, tmp_path)
    np.testing.assert_array_equal(again.answer(ITEMS, FEATURES), truth)
    assert len(batches.asked) == 5
    assert not batches.server.requests
    assert again.spent.calls == 5


def test_caps_hold_for_batches(batches: BatchServer, tmp_path: Path) -> None:
    model = open_model(batches, tmp_path, max_calls=3)
    with pytest.raises(BudgetError, match="--max-calls 3"):
        model.answer(ITEMS, FEATURES)
    assert len(batches.asked) == 3
    assert model.store.lookup([model._question("granite", 0)], [])[0].shape == (0, 1)
    more = open_model(batches, tmp_path, max_calls=5)
    assert not np.isnan(more.answer(ITEMS, FEATURES)).any()
    assert len(batches.asked) == 5


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("usage")])
def test_no_lie_about_usage_passes_a_cap(batches: BatchServer, truth: FloatArray, tmp_path: Path, name: str) -> None:
    """Not even where the process that reads it is not the one that asked."""
    batches.fault = name
    model = open_model(batches, tmp_path, max_tokens=100_000)
    with pytest.warns(GenzWarning, match="how many tokens"):
        np.testing.assert_array_equal(model.answer(ITEMS, FEATURES), truth)
    limits = [body["max_tokens"] for body in batches.asked]
    assert model.spent.calls == len(limits) == 5
    assert 0 < model.spent.tokens_out <= sum(limits)
    if name not in ("usage_lies", "usage_nothing_said"):
        assert model.spent.tokens_out == sum(limits)
        assert model.spent.tokens_in >= sum(len(body["messages"][1]["content"].encode()) for body in batches.asked)
    assert model.spent.tokens_in + model.spent.tokens_out <= 100_000
    assert model.spent.cost == pytest.approx(0.5 * (model.spent.tokens_in + model.spent.tokens_out) * 10 / 1e6)
    assert model.store.spent(1) == model.spent


def send_and_crash(batches: BatchServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is under way, and the process that sent it has ended."""
    model = open_model(batches, folder)

    async def crash(*_: object) -> None:
        raise CrashError

    monkeypatch.setattr(type(model.caller.client), "batch", crash)
    with pytest.raises((CrashError, asyncio.CancelledError)):
        model.answer(ITEMS, FEATURES)
    monkeypatch.undo()
    model.store.close()
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)


def test_a_batch_collected_by_another_process_is_bounded_too(
    batches: BatchServer, truth: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_and_crash(batches, tmp_path, monkeypatch)
    batches.fault = "usage_huge"
    again = open_model(batches, tmp_path)
    with pytest.warns(GenzWarning, match="how many tokens"):
        np.testing.assert_array_equal(again.answer(ITEMS, FEATURES), truth)
    assert again.spent.tokens_out == sum(body["max_tokens"] for body in batches.asked)


OLDER_STORE = """
CREATE TABLE questions (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, feature TEXT NOT NULL,
    model TEXT NOT NULL, endpoint TEXT NOT NULL, prompt TEXT NOT NULL, sampling TEXT NOT NULL, draw INTEGER NOT NULL);
CREATE TABLE items (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE answers (question INTEGER NOT NULL, item INTEGER NOT NULL, value INTEGER, reason TEXT NOT NULL,
    probability REAL, attempt INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (question, item)) WITHOUT ROWID;
CREATE TABLE leases (question INTEGER NOT NULL, item BLOB NOT NULL, owner INTEGER NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (question, item)) WITHOUT ROWID;
CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE attempts (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, owner INTEGER NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, begun REAL NOT NULL, settled REAL, outcome TEXT, calls INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL);
CREATE INDEX attempts_of_run ON attempts (run);
CREATE TABLE texts (key BLOB PRIMARY KEY, text BLOB NOT NULL, attempt INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE runs (id INTEGER PRIMARY KEY, path TEXT, started REAL NOT NULL);
CREATE INDEX runs_of_path ON runs (path);
CREATE TABLE batches (token TEXT PRIMARY KEY, run INTEGER NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL,
    identifier TEXT NOT NULL, attempt INTEGER NOT NULL, created REAL NOT NULL, jobs BLOB NOT NULL);
PRAGMA user_version = 1;
PRAGMA application_id = 1734700666;
"""


@pytest.mark.parametrize("fault", ["", "usage_huge"])
def test_a_batch_in_the_store_of_an_older_version_is_collected(
    batches: BatchServer, truth: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Its row does not tell what each request can use: what was set aside for all of them bounds them together."""
    send_and_crash(batches, tmp_path, monkeypatch)
    path = tmp_path / "answers.sqlite"
    new = path.rename(tmp_path / "newer.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDER_STORE)
        connection.execute(f"ATTACH {str(new)!r} AS new")
        for table in ("runs", "attempts", "batches"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
        content = json.loads(zlib.decompress(connection.execute("SELECT jobs FROM batches").fetchone()[0]))
        content["jobs"] = [job[:2] for job in content["jobs"]]
        connection.execute("UPDATE batches SET jobs = ?", (zlib.compress(json.dumps(content).encode()),))
        connection.commit()
    batches.fault = fault
    again = open_model(batches, tmp_path)
    reserved = again.spent
    with pytest.warns(GenzWarning, match="how many tokens") if fault else nullcontext():
        np.testing.assert_array_equal(again.answer(ITEMS, FEATURES), truth)
    assert len(batches.batches) == 1
    assert len(batches.asked) == again.spent.calls == 5
    assert not batches.server.requests
    if fault:
        assert reserved.tokens_out - 5 < again.spent.tokens_out <= reserved.tokens_out
    else:
        assert 0 < again.spent.tokens_out < reserved.tokens_out


@pytest.mark.parametrize("name", ["think_draft", "think_unpaired", "fenced", "content_parts", "reasoning_only", "finish_STOP"])
def test_replies_in_a_batch_are_read_as_any(batches: BatchServer, truth: FloatArray, tmp_path: Path, name: str) -> None:
    batches.fault = name
    np.testing.assert_array_equal(open_model(batches, tmp_path).answer(ITEMS, FEATURES), truth)
    assert not batches.server.requests


@pytest.mark.parametrize("name", ["think_open", "think_last", "draft_in_prose", "tool_call_open", "finish_MAX_TOKENS"])
def test_drafts_in_a_batch_are_not_taken(batches: BatchServer, truth: FloatArray, tmp_path: Path, name: str) -> None:
    batches.fault = name
    np.testing.assert_array_equal(open_model(batches, tmp_path).answer(ITEMS, FEATURES), truth)
    assert len(batches.server.requests) == 5  # asked again, by ordinary calls


def test_a_refused_batch_stops_the_run_without_a_charge(batches: BatchServer, tmp_path: Path) -> None:
    batches.status = "failed"
    model = open_model(batches, tmp_path)
    with pytest.raises(ModelError, match="refused a batch"):
        model.answer(ITEMS, FEATURES)
    assert model.spent == Spending()
    assert not batches.server.requests
