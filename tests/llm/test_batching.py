"""Answers by batch: the right ones, paid for once, whatever happens between the sending and the last look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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


def test_a_batch_collected_by_another_process_is_bounded_too(
    batches: BatchServer, truth: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(batches, tmp_path)

    async def crash(*_: object) -> None:
        raise CrashError

    monkeypatch.setattr(type(model.caller.client), "batch", crash)
    with pytest.raises((CrashError, asyncio.CancelledError)):
        model.answer(ITEMS, FEATURES)
    monkeypatch.undo()
    model.store.close()
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    batches.fault = "usage_huge"
    again = open_model(batches, tmp_path)
    with pytest.warns(GenzWarning, match="how many tokens"):
        np.testing.assert_array_equal(again.answer(ITEMS, FEATURES), truth)
    assert again.spent.tokens_out == sum(body["max_tokens"] for body in batches.asked)


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
