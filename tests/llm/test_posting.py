"""Questions that are posted in the shared store for workers elsewhere: the answers, the caps and the faults come back."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from answerers import contains_truth, truthful_answerer
from fault_server import FaultServer, always

from genz_ppl.errors import GenzWarning, InputError, ModelError, OptionError
from genz_ppl.llm.served import calling
from genz_ppl.llm.served.budget import CapReachedError
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.types import Contrast, Item, Tried

pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")

from genz_ppl.llm.served import posting
from genz_ppl.llm.served.posting import PostingModel, Worker
from genz_ppl.llm.store.places import open_shared
from genz_ppl.llm.store.postgres import postings
from genz_ppl.llm.store.postgres.status import status

SETTINGS: dict[str, Any] = {"model": "m", "items_per_call": 5, "features_per_call": 2, "timeout": 5.0, "price": (1.0, 2.0)}
CONTRAST = Contrast(
    (Item("a", "a pool", {"pool": True}),), (Item("b", "a well"),), ("house",), ("new",), (Tried("old", 0.5, 0.25),), "", ("a",)
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(posting, "PORTION", 10)


@pytest.fixture
def address(postgres: Any) -> str:
    return str(postgres.database(f"posting_{token_hex(4)}"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(truthful_answerer(contains_truth, ["pool", "garden"])) as found:
        yield found


@contextmanager
def at_work(address: str, base_url: str, workers: int = 2) -> Iterator[list[str]]:
    """Workers in threads of their own; yields what they reported, and the errors they ended with."""
    said: list[str] = []

    def work() -> None:
        with open_shared(address) as store:
            worker = Worker(store, ModelSettings(model="m", base_url=base_url, workers=2, attempts=2), said.append)
            try:
                worker.run(idle=1.0)
            except Exception as error:
                said.append(f"ended: {error}")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    yield said
    for thread in threads:
        thread.join()


@contextmanager
def poster(address: str, base_url: str, **settings: Any) -> Iterator[PostingModel]:
    with open_shared(address) as store:
        model = PostingModel(ModelSettings(**{**SETTINGS, "base_url": base_url, "workers": 0, **settings}), store)
        yield model
        model.close()


def test_answers_and_words_are_those_of_a_model_that_calls(address: str, server: FaultServer, world: Any, tmp_path: Path) -> None:
    direct = OpenAIModel(ModelSettings(**{**SETTINGS, "base_url": server.base_url}), tmp_path / "answers.sqlite")
    with poster(address, server.base_url) as model, at_work(address, server.base_url) as said:
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        assert model.propose(CONTRAST, 2) == direct.propose(CONTRAST, 2)
        assert model.propose_both(CONTRAST, 2) == direct.propose_both(CONTRAST, 2)
        assert model.suggest(world.items[:3], "prices", 2) == direct.suggest(world.items[:3], "prices", 2)
        before, asked = server.total, model.spent.calls
        np.testing.assert_array_equal(model.answer(world.items[::-1], world.features[:2]), world.truth[::-1, :2])
        assert model.propose(CONTRAST, 2) == direct.propose(CONTRAST, 2)
        assert (server.total, model.spent.calls) == (before, asked)  # all of it was known
        assert asked == before - 3  # the direct model's three are its own
        found = status(model._shared)
        assert (len(found.workers), found.answers, found.runs) == (2, world.truth.size, ())
        assert found.a_minute.tokens_in == found.spent.tokens_in == model.spent.tokens_in > 0
        assert found.a_minute.cost == pytest.approx(model.spent.cost)
    assert sum(line.startswith("answer: ") for line in said) >= 3  # 23 items in portions of 10
    direct.close()
    direct.store.close()


def test_two_workers_pay_once(address: str, server: FaultServer, world: Any, asked: Callable[..., list[Any]]) -> None:
    server.latency = 0.01
    with poster(address, server.base_url) as model, at_work(address, server.base_url, 3):
        model.answer(world.items, world.features)
    pairs = asked(server.requests)
    assert len(pairs) == len(set(pairs)) == world.truth.size


def test_a_cap_of_the_run_stops_it_where_it_was_started(address: str, server: FaultServer, world: Any) -> None:
    with poster(address, server.base_url, max_calls=3) as model, at_work(address, server.base_url):
        with pytest.raises(CapReachedError, match="stopped by --max-calls 3: 3 used so far") as raised:
            model.answer(world.items, world.features)
        assert raised.value.option == "max_calls"
    assert server.total == 3


def test_a_server_that_fails_all_workers_ends_the_run(address: str, world: Any) -> None:
    ended = r"all workers have ended; the last one said: the server at .* failed 2 times"
    with FaultServer(truthful_answerer(contains_truth), always("500")) as server:
        with (
            poster(address, server.base_url) as model,
            at_work(address, server.base_url) as said,
            pytest.raises(ModelError, match=ended),
        ):
            model.answer(world.items, world.features)
        assert any(line.startswith("ended: ") for line in said)
        with open_shared(address) as store:
            assert postings.open_postings(store, "m", model._client.endpoint) == []  # taken back


def test_it_is_said_that_nobody_is_at_work(
    address: str, server: FaultServer, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "LONELY", 0.1)
    with poster(address, server.base_url) as model, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=lambda: model.answer(world.items, world.features))
        thread.start()
        deadline = time.monotonic() + 20
        while not caught and time.monotonic() < deadline:
            time.sleep(0.02)
        with at_work(address, server.base_url):
            thread.join()
    assert [each.category for each in caught] == [GenzWarning]
    assert "no worker is at work; start some, on any host: genz work --store postgresql://" in str(caught[0].message)


def test_what_another_version_posted_is_left(address: str, server: FaultServer, world: Any) -> None:
    with poster(address, server.base_url) as model:
        model.prompts = replace(model.prompts, by_name={**model.prompts.by_name, "odd": model.prompts.by_name["mine"]})
        thread = threading.Thread(target=lambda: withdrawn(lambda: model.answer(world.items, world.features)))
        thread.start()
        with at_work(address, server.base_url, 1) as said:
            pass
        assert said == ["what another version of genz-ppl has posted is left to others: its prompts are not those of this one"]
        with open_shared(address) as store:
            ids = [each.id for each in postings.open_postings(store, "m", model._client.endpoint)]
            postings.finish(store, ids, json.dumps({"error": "withdrawn"}))
        thread.join()
    assert server.total == 0


def test_what_is_said_to_be_done_and_is_not_there_stops_the_run(address: str, server: FaultServer, world: Any) -> None:
    """Else a mistake anywhere would make every answer missing, and nobody would know."""

    def lie() -> None:
        with open_shared(address) as store:
            while not (found := postings.open_postings(store, "m", endpoint)):
                time.sleep(0.02)
            while found:
                postings.finish(store, [each.id for each in found])
                time.sleep(0.2)
                found = postings.open_postings(store, "m", endpoint)

    for ask in ("answer", "propose"):
        with poster(address, server.base_url) as model:
            endpoint = model._client.endpoint
            thread = threading.Thread(target=lie)
            thread.start()
            with pytest.raises(ModelError, match="workers answered to something else"):
                model.answer(world.items, world.features) if ask == "answer" else model.propose(CONTRAST, 2)
            thread.join()


def withdrawn(call: Callable[[], object]) -> None:
    with suppress(ModelError):
        call()


def test_what_workers_cannot_see_is_refused(address: str, server: FaultServer, tmp_path: Path) -> None:
    with poster(address, server.base_url) as model, pytest.raises(InputError, match="do not see the items' images"):
        model.answer([Item("a", "text", {}, (tmp_path / "a.png",))], ["pool"])
    with pytest.raises(OptionError, match="have no folder of prompts"), poster(address, server.base_url, prompts=str(tmp_path)):
        pass
    with pytest.raises(OptionError, match="needs a store that hosts share"):
        OpenAIModel(ModelSettings(model="m", base_url=server.base_url, workers=0), tmp_path / "answers.sqlite")
    with open_shared(address) as store:
        with pytest.raises(OptionError, match="here calls are made"):
            OpenAIModel(ModelSettings(model="m", base_url=server.base_url, workers=0), store)
        with pytest.raises(OptionError, match="batches are sent by the run itself"):
            OpenAIModel(ModelSettings(model="m", base_url=server.base_url, batch=True, workers=0), store)
