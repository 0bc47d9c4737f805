"""Batches of a run whose store is PostgreSQL: any host brings them in, and nobody asks meanwhile what is in them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from batch_server import BatchServer
from fault_server import FaultServer, contains_truth, truthful_answerer

from genz_ppl.errors import BudgetError
from genz_ppl.llm.served import batching, calling
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.store import tools
from genz_ppl.llm.store.places import open_shared
from genz_ppl.types import FloatArray, Item

pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")

FEATURES = ["granite", "pool", "number 1"]
ITEMS = [Item(str(i), f"house number {i}" + " with granite" * (i % 3 == 0) + " and a pool" * (i % 2)) for i in range(22)]
TRUTH: FloatArray = np.array([[float(contains_truth(item.text, feature)) for feature in FEATURES] for item in ITEMS])


@pytest.fixture
def address(postgres: Any) -> str:
    return str(postgres.database(f"batches_{token_hex(4)}"))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(batching, "GLANCE", 0.02)
    with FaultServer(truthful_answerer(contains_truth)) as server:
        yield BatchServer(server)


def open_model(batches: BatchServer, address: str, **settings: object) -> OpenAIModel:
    chosen = {"base_url": batches.server.base_url, "items_per_call": 5, "price": (10.0, 10.0), "batch": True, **settings}
    return OpenAIModel(ModelSettings(model="m", **chosen), address, run="run", fresh=False)  # type: ignore[arg-type]


class CrashError(BaseException):
    """Stands for the end of the process."""


def test_answers_come_by_batch_at_half_the_price(batches: BatchServer, address: str) -> None:
    batches.looks = 3
    model = open_model(batches, address, requests_per_minute=1.0)  # a batch is not held to it
    np.testing.assert_array_equal(model.answer(ITEMS, FEATURES), TRUTH)
    assert (len(batches.batches), len(batches.asked), len(batches.server.requests)) == (1, 5, 0)
    spent = model.spent
    assert spent.calls == 5
    assert spent.cost == pytest.approx(0.5 * (spent.tokens_in + spent.tokens_out) * 10 / 1e6)
    found = tools.info(address)
    assert (found.leases, found.orphans, found.unsettled) == (0, 0, 0)


@pytest.mark.parametrize("where", ["upload", "start_batch", "sent", "batch", "download", "settle"])
def test_another_host_brings_in_what_a_crash_left(
    batches: BatchServer, address: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model = open_model(batches, address)
    endpoint = model.caller.client.endpoint
    owner = {"sent": type(batching.batches_of(model.store)), "settle": type(model.store)}.get(where, type(model.caller.client))

    def crash(*_: object, **__: object) -> None:
        raise CrashError

    async def crash_later(*_: object, **__: object) -> None:
        raise CrashError

    monkeypatch.setattr(owner, where, crash_later if owner is type(model.caller.client) else crash)
    with pytest.raises((CrashError, asyncio.CancelledError)):
        model.answer(ITEMS, FEATURES)
    monkeypatch.undo()
    model.store.close()
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    with open_shared(address) as other:  # what is in a batch is nobody's to ask, whatever became of its sender
        pair = (model._question("granite", 0), batching.batches_of(other).open(endpoint)[0].jobs[0].items[0])
        assert other.claim([pair]).mine == []
    again = open_model(batches, address)
    np.testing.assert_array_equal(again.answer(ITEMS, FEATURES), TRUTH)
    assert (len(batches.asked), len(batches.server.requests)) == (5, 0)
    assert again.spent.calls == 5
    assert batching.batches_of(again.store).open(endpoint) == []


def test_two_hosts_pay_for_one_batch(batches: BatchServer, address: str) -> None:
    batches.looks = 9
    models = [open_model(batches, address) for _ in range(2)]
    found: dict[int, FloatArray] = {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: models[number].answer(ITEMS, FEATURES)}))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for answers in found.values():
        np.testing.assert_array_equal(answers, TRUTH)
    assert len(found) == 2
    assert sum(len(body["messages"][1]["content"]) > 0 for body in batches.asked) == 5
    assert models[0].spent.calls == 5


def test_caps_hold_for_batches(batches: BatchServer, address: str) -> None:
    model = open_model(batches, address, max_calls=3)
    with pytest.raises(BudgetError, match="--max-calls 3"):
        model.answer(ITEMS, FEATURES)
    assert len(batches.asked) == 3
    more = open_model(batches, address, max_calls=5)
    assert not np.isnan(more.answer(ITEMS, FEATURES)).any()
    assert len(batches.asked) == 5


def test_a_batch_is_no_worker_to_those_who_look(batches: BatchServer, address: str) -> None:
    from genz_ppl.llm.store.batches import BatchJob
    from genz_ppl.llm.store.postgres.status import status

    with open_shared(address) as store:
        model = open_model(batches, address)
        job = BatchJob((bytes(32),), (model._question("pool", 0),), (5, 5))
        row = batching.batches_of(store).add(store.open_run("run", fresh=False), "http://x", "m", [job], model.spent)
        assert [worker.name for worker in status(store).workers] == [store._name]
        assert tools.info(address).leases == 1
        batching.batches_of(store).close(row)
        assert tools.info(address).leases == 0
