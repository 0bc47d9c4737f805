"""Spending never passes a cap by the server's own count, and whatever was paid for is in the store."""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from answerers import numbered_lines
from fault_server import (
    FAULTS,
    FaultServer,
    Request,
    always,
    contains_truth,
    either,
    first,
    script,
    share,
    truthful_answerer,
)
from http_faults import Exchange, reply_json, right, usage_of

from genz_ppl.errors import BudgetError, GenzWarning
from genz_ppl.llm.served import model as openai
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.spending import Spending

FREE = {"429", "500", "400_context"}
LOST = ["reset_amid", "bad_json", "usage_missing"]
USELESS = ["refusal", "truncated", "index_string"]
LIES = [name for name in FAULTS if name.startswith("usage") and name != "usage_missing"]
ANSWERER = truthful_answerer(contains_truth)
RUNS = 200


def bill(requests: list[Request], price: tuple[float, float]) -> Spending:
    """What the server asks for: what its replies say, also where they were of no use; of lost ones, what the right one says.

    Where it lies nobody knows, so nothing.
    """
    total = Spending(calls=len(requests))
    for request in requests:
        if request.fault not in FREE and request.fault not in LIES:
            exchange = Exchange(request.body, request.headers, ANSWERER(request.body))
            reply = FAULTS[request.fault](exchange) if request.fault in USELESS else right(exchange)
            assert reply is not None
            usage = json.loads(reply.parts[0][1].partition(b"\r\n\r\n")[2])["usage"]
            tokens_in, tokens_out = usage["prompt_tokens"], usage["completion_tokens"]
            total += Spending(0, tokens_in, tokens_out, (tokens_in * price[0] + tokens_out * price[1]) / 1e6)
    return total


def random_caps(chance: random.Random, price: tuple[float, float]) -> dict[str, float]:
    """One to three caps; the tightest allow no call at all, the widest all of them."""
    tokens = int(10 ** chance.uniform(3.3, 4.7))
    caps = {"max_calls": chance.randint(1, 12), "max_tokens": tokens, "max_cost": tokens * max(price) / 1e6}
    return {name: caps[name] for name in chance.sample(sorted(caps), chance.randint(1, 3))}


@pytest.mark.parametrize("lies", [False, True], ids=["honest", "adversarial"])
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))])
def test_no_cap_is_ever_passed(serving: Any, make_world: Any, part: int, lies: bool) -> None:
    chance, results = random.Random(part), Counter[str]()
    for number in range(RUNS // 4):
        seed = 1000 * part + number
        price = (round(chance.uniform(0.1, 50), 2), round(chance.uniform(0.1, 200), 2))
        texts = [f"run {number} house {i} " + "granite" * chance.randint(0, 1) for i in range(chance.randint(1, 9))]
        world = make_world(texts, ["granite", "house", "run 7"][: chance.randint(1, 3)])
        caps = random_caps(chance, price)
        faults = share(chance.choice([0.0, 0.1, 0.4]), [*LOST, *USELESS, *FREE], seed)
        if lies:
            faults = either(faults, share(chance.choice([0.3, 1.0]), chance.choice([LIES, ["usage_lies"]]), seed + 1))
        sizes = {"items_per_call": chance.randint(1, 4), "features_per_call": chance.randint(1, 3)}
        with FaultServer(ANSWERER, faults) as server:
            model = serving(server.base_url, price=price, workers=chance.randint(1, 8), attempts=20, **sizes, **caps)
            stopped = ""
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", GenzWarning)
                try:
                    answers = model.answer(world.items, world.features)
                except BudgetError as error:
                    stopped = str(error)
            requests = list(server.requests)
        assert len([warning for warning in said if warning.category is GenzWarning]) <= 1
        billed, counted = bill(requests, price), model.spent
        assert billed.calls == counted.calls <= caps.get("max_calls", 1e9)
        assert billed.tokens_in + billed.tokens_out <= counted.tokens_in + counted.tokens_out <= caps.get("max_tokens", 1e9)
        assert billed.cost <= counted.cost * (1 + 1e-12)
        assert counted.cost <= caps.get("max_cost", 1e9) * (1 + 1e-12)
        assert astuple(model.store.spent(model.caller.run)) == pytest.approx(astuple(counted))
        booked = serving.rows(f"SELECT tokens_in, tokens_out FROM attempts WHERE run = {model.caller.run} AND kind != 'given up'")
        limit = max((request.body["max_tokens"] for request in requests), default=0)
        longest = max((len(json.dumps(request.body).encode()) for request in requests), default=0)
        assert all(0 <= tokens_in <= 2 * longest and 0 <= tokens_out <= limit for tokens_in, tokens_out in booked)
        values, known = serving.stored(model, world)
        rows = {item.text: row for row, item in enumerate(world.items)}
        for request in requests:
            if request.fault in (None, "usage_missing", *LIES):
                items, features = numbered_lines(request.body)
                for text in items.values():
                    for feature in features.values():
                        assert known[rows[text], world.features.index(feature)]
        assert world.wrong(values) == 0
        if stopped:
            assert any(f"stopped by --{name.replace('_', '-')} {cap:g}" in stopped for name, cap in caps.items())
        else:
            np.testing.assert_array_equal(answers, values)
        results["stopped" if stopped else "done"] += 1
        results["stopped with answers"] += bool(stopped) and bool(known.any())
        model.close()
    assert min(results[end] for end in ("done", "stopped", "stopped with answers")) > 2, results  # the caps bind at times


def test_a_higher_cap_goes_on_where_the_run_was_stopped(serving: Any, world: Any, tmp_path: Any) -> None:
    run = str(tmp_path / "run")
    with FaultServer(ANSWERER) as server:
        for cap, calls in ((3, 3), (3, 3), (7, 7)):
            model = serving(server.base_url, items_per_call=5, features_per_call=3, max_calls=cap, run=run, fresh=False)
            with pytest.raises(BudgetError, match=f"stopped by --max-calls {cap}: {calls} used so far"):
                model.answer(world.items, world.features)
            assert server.total == model.spent.calls == calls
        model = serving(server.base_url, items_per_call=5, features_per_call=3, max_calls=10, run=run, fresh=False)
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        assert server.total == model.spent.calls == 10
        again = serving(server.base_url, items_per_call=5, features_per_call=3, max_calls=1, run=run, fresh=True)
        np.testing.assert_array_equal(again.answer(world.items, world.features), world.truth)
        assert again.spent == Spending()


def test_a_call_that_may_have_been_billed_counts_with_all_it_reserved(serving: Any, make_world: Any) -> None:
    world = make_world(["granite"], ["granite"])
    with FaultServer(ANSWERER, script("hang", "500")) as server:
        model = serving(server.base_url, price=(1.0, 1.0), max_cost=1.0, timeout=0.1)
        model.answer(world.items, world.features)
        lengths = [len(json.dumps(request.body["messages"], ensure_ascii=False).encode()) for request in server.requests]
        limit = server.requests[0].body["max_tokens"]
    (hung, failed, answered) = serving.rows("SELECT outcome, calls, tokens_in, tokens_out FROM attempts ORDER BY id")
    assert hung[:2] == ("no complete reply in time", 1)
    assert hung[2] >= lengths[0]
    assert hung[3] == limit
    assert failed == ("status 500, server_error", 1, 0, 0)
    usage = usage_of(server.requests[2].body, ANSWERER(server.requests[2].body))
    assert answered == ("answered", 1, usage["prompt_tokens"], usage["completion_tokens"])


def test_a_cap_too_small_for_a_single_call_makes_none(serving: Any, world: Any) -> None:
    with FaultServer(ANSWERER, first(1, "500")) as server:
        model = serving(server.base_url, price=(1000.0, 1000.0), max_cost=0.01)
        with pytest.raises(BudgetError, match=r"stopped by --max-cost 0\.01: 0 dollars used so far"):
            model.answer(world.items, world.features)
        assert server.total == 0
    assert serving.rows("SELECT count(*) FROM attempts") == [(0,)]
    assert serving.rows("SELECT count(*) FROM leases") == [(0,)]


@pytest.mark.parametrize("name", [*LIES, "usage_missing"])
def test_usage_that_cannot_be_counts_with_the_most(serving: Any, world: Any, name: str) -> None:
    with FaultServer(ANSWERER, lambda number, _: name if number != 2 else None) as server:
        model = serving(server.base_url, price=(1.0, 2.0), workers=1)
        with pytest.warns(GenzWarning, match="how many tokens a call used; counted is the most that it can use") as said:
            np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        assert len(said) == 1
        model.answer(world.items, ["new"])  # nothing is said again
        requests = server.requests
    (lied, told) = serving.rows("SELECT tokens_in, tokens_out FROM attempts ORDER BY id LIMIT 2")
    usage = usage_of(requests[1].body, ANSWERER(requests[1].body))
    assert told == (usage["prompt_tokens"], usage["completion_tokens"])
    if name != "usage_lies":  # where one of the two may be possible
        tokens_in = 100 if name == "usage_nothing_said" else len(requests[0].body["messages"][1]["content"].encode())
        assert lied[0] >= tokens_in
        assert lied[1] == requests[0].body["max_tokens"]
    assert model.spent.cost == pytest.approx((model.spent.tokens_in + 2 * model.spent.tokens_out) / 1e6)


def test_a_warning_that_is_an_error_loses_nothing(serving: Any, world: Any) -> None:
    with FaultServer(ANSWERER, always("usage_huge")) as server:
        model = serving(server.base_url, items_per_call=5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(GenzWarning, match="how many tokens"):
                model.answer(world.items, world.features)
        made = server.total
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        assert server.total == made == 5
    assert serving.rows("SELECT count(*) FROM attempts WHERE settled IS NULL") == [(0,)]


def test_a_limit_that_is_not_kept_is_booked_as_if_it_were(serving: Any, make_world: Any) -> None:
    """A text may be longer than it may be, and the count of it true: more than was set aside is not booked, so caps hold."""
    world = make_world(["granite"], ["granite"])

    def talk(exchange: Exchange) -> Any:
        body = json.loads(right(exchange).parts[0][1].partition(b"\r\n\r\n")[2])
        words = json.dumps(json.loads(exchange.content) | {"characteristics": "word " * 5000})
        body["choices"][0]["message"]["content"] = words
        return reply_json(200, body | {"usage": {"prompt_tokens": 100, "completion_tokens": len(words) // 4}})

    FAULTS["talk"] = talk
    try:
        with FaultServer(ANSWERER, always("talk")) as server:
            model = serving(server.base_url, max_tokens=30_000)
            with pytest.warns(GenzWarning, match="how many tokens"):
                np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
            assert model.spent.tokens_out == server.requests[0].body["max_tokens"] < 5000
            assert model.spent.tokens_in == 100
    finally:
        del FAULTS["talk"]


def test_the_mining_model_has_its_own_price(serving: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = {"small": Price(1.0, 2.0), "large": Price(30.0, 40.0)}
    monkeypatch.setattr(openai, "find_price", lambda name, override, base_url: prices[name])
    with FaultServer(ANSWERER) as server:
        model = serving(server.base_url, model="small", mining_model="large", max_cost=1.0)
        model.suggest(world.items[:2], "the price", 3)
        model.answer(world.items, world.features)
        assert [request.body["model"] for request in server.requests] == ["large", *["small"] * 3]
        expected = 0.0
        for request in server.requests:
            usage = usage_of(request.body, ANSWERER(request.body))
            expected += prices[request.body["model"]].cost(usage["prompt_tokens"], usage["completion_tokens"])
    assert model.spent.cost == pytest.approx(expected)
