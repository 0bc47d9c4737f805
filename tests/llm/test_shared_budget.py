"""Caps and limits in the shared store: whatever a fleet does, they hold for all of it."""

from __future__ import annotations

import random
import threading
import time
from secrets import token_hex
from typing import Any

import pytest
from storing import ONE_CALL

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.budget import CapReachedError, Caps, Limits
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.spending import Spending

pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")

from genz_ppl.llm.served.shared_budget import SharedBudget
from genz_ppl.llm.store.places import open_shared
from genz_ppl.llm.store.postgres import ledger

PRICE = Price(1.0, 2.0)


@pytest.fixture
def address(postgres: Any) -> str:
    return str(postgres.database(f"budget_{token_hex(4)}"))


def fleet(address: str, seed: int) -> None:
    """Some workers with calls of random size under random caps, some of which end in the middle of a call."""
    chance = random.Random(seed)
    caps = Caps(
        cost=chance.choice([None, chance.uniform(0.5, 4.0)]),
        calls=chance.choice([None, chance.randint(5, 40)]),
        tokens=chance.randint(500, 20_000),
    )
    highest: list[Spending] = []
    with open_shared(address) as watch:
        run = watch.open_run(None, fresh=True)
        SharedBudget(watch, run, PRICE, "m", (caps, Limits(), Spending()))

        def work(own: random.Random) -> None:
            with open_shared(address) as store:
                budget = SharedBudget(store, run, PRICE, "m")
                while True:
                    most = Spending(1, own.randint(1, 900), own.randint(1, 300), own.uniform(0, 0.3))
                    try:
                        if (taken := budget.take("extract", "m", most, 1.0, 0.0)) is None:
                            time.sleep(0.002)
                            continue
                    except CapReachedError:
                        return
                    if own.random() < 0.1:
                        return  # killed: what it had set aside counts for good
                    share = own.random()
                    spent = Spending(1, int(share * most.tokens_in), int(share * most.tokens_out), share * most.cost)
                    assert taken.attempt is not None
                    store.settle(taken.attempt, "done", spent)

        workers = [threading.Thread(target=work, args=(random.Random(f"{seed} {n}"),)) for n in range(chance.randint(2, 6))]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            highest.append(watch.spent(run))
        highest.append(watch.spent(run))
    assert max(spent.calls for spent in highest) > 0
    for spent in highest:
        assert caps.passed(spent) is None, (caps, spent)


def test_caps_hold_for_a_fleet(address: str) -> None:
    for seed in range(4):
        fleet(address, seed)


@pytest.mark.slow
def test_caps_hold_for_fifty_fleets(address: str) -> None:
    for seed in range(50):
        fleet(address, seed)


def test_a_cap_says_what_is_spent_and_can_be_raised_by_another_process(address: str) -> None:
    with open_shared(address) as store, open_shared(address) as other:
        run = store.open_run("run", fresh=True)
        budget = SharedBudget(store, run, PRICE, "m", (Caps(calls=2), Limits(), Spending(calls=1)))
        assert budget.spent == Spending(calls=1)
        taken = budget.take("extract", "m", ONE_CALL, 1.0, 0.0)
        assert taken is not None
        assert SharedBudget(other, run, PRICE, "m").take("extract", "m", ONE_CALL, 1.0, 0.0) is None  # some may come back
        assert taken.attempt is not None
        store.settle(taken.attempt, "done", ONE_CALL)
        with pytest.raises(CapReachedError, match="stopped by --max-calls 2: 2 used so far"):
            budget.take("extract", "m", ONE_CALL, 1.0, 0.0)
        SharedBudget(other, run, PRICE, "m", (Caps(calls=3), Limits(), Spending()))
        assert budget.take("extract", "m", ONE_CALL, 1.0, 0.0) is not None


def test_a_cap_on_cost_needs_a_price_on_every_host(address: str) -> None:
    with open_shared(address) as store:
        run = store.open_run("run", fresh=True)
        SharedBudget(store, run, PRICE, "m", (Caps(cost=1.0), Limits(), Spending()))
        with pytest.raises(OptionError, match="the price of m is not known"):
            SharedBudget(store, run, None, "m")


@pytest.mark.parametrize("per_minute", [1, 3, 60, 600])
def test_no_minute_has_more_calls_than_its_limit(per_minute: int) -> None:
    chance = random.Random(per_minute)
    now, until, sent = 0.0, 0.0, []
    for _ in range(4 * per_minute):
        now += chance.choice([0.0, 0.0, chance.expovariate(per_minute / 30.0)])
        wait, ahead = ledger.place(per_minute, 1.0, until - now)
        until = now + ahead
        sent.append(now + wait)
    assert sent == sorted(sent)
    for first in sent:
        assert sum(first <= each < first + 59.999 for each in sent) <= per_minute
    assert sent[-1] < now + 60.0 * 5  # and it does not stand still


def test_limits_a_minute_hold_for_several_stores(address: str) -> None:
    with open_shared(address) as one, open_shared(address) as other:
        run = one.open_run("run", fresh=True)
        first = SharedBudget(one, run, PRICE, "m", (Caps(), Limits(requests=60), Spending()))
        budgets = [first, SharedBudget(other, run, PRICE, "m")]
        waits = []
        for number in range(12):
            taken = budgets[number % 2].take("extract", "m", ONE_CALL, 1.0, 0.0)
            assert taken is not None
            waits.append(taken.wait)
    assert waits[:3] == [0.0, 0.0, 0.0]  # a twentieth of a minute's at once
    assert waits == sorted(waits)
    assert 8.0 < waits[-1] < 10.0  # and then one a second


@pytest.mark.parametrize(("limits", "likely"), [(Limits(tokens=600), (10.0, 0.0)), (Limits(cost=6.0), (0.0, 0.1))])
def test_tokens_and_dollars_have_limits_too(address: str, limits: Limits, likely: tuple[float, float]) -> None:
    with open_shared(address) as store:
        budget = SharedBudget(store, store.open_run("run", fresh=True), PRICE, "m", (Caps(), limits, Spending()))
        taken = [budget.take("extract", "m", ONE_CALL, *likely) for _ in range(10)]
        assert all(each is not None for each in taken)
        waits = [each.wait for each in taken if each is not None]
    assert waits[0] == 0.0
    assert 5.0 < waits[-1] < 10.0
