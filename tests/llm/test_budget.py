from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.budget import Budget, CapReachedError, Caps, Reservation, check_priced, likely_tokens, most_tokens
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.spending import Spending

# A dollar for a hundred tokens, read or written.
PRICE = Price(10_000.0, 10_000.0)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its result; a failure where it hangs."""

    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


def used(tokens_in: int, tokens_out: int = 0) -> Spending:
    return Spending(1, tokens_in, tokens_out, PRICE.cost(tokens_in, tokens_out))


async def settle_all() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        (Caps(), None),
        (Caps(cost=0.5, calls=3, tokens=30), None),
        (Caps(cost=0.499), "max_cost"),
        (Caps(calls=2), "max_calls"),
        (Caps(tokens=29), "max_tokens"),
    ],
)
def test_caps_say_which_is_passed(caps: Caps, expected: str | None) -> None:
    assert caps.passed(Spending(3, 10, 20, 0.5)) == expected


def test_a_call_is_reserved_at_its_most_and_counted_as_it_was() -> None:
    async def go() -> None:
        budget = Budget(Caps(cost=10.0), PRICE, Spending(5, 100, 100, 2.0))
        reservation = await budget.reserve(300, 100)
        assert reservation.most == budget.reserved == Spending(1, 300, 100, 4.0)
        assert budget.spent == Spending(5, 100, 100, 2.0)
        budget.settle(reservation, used(200, 50))
        assert budget.reserved == Spending()
        assert budget.spent == Spending(6, 300, 150, 4.5)

    run(go())


def test_what_was_never_sent_costs_nothing_and_what_was_underestimated_counts() -> None:
    async def go() -> None:
        budget = Budget(Caps(calls=2), None)
        budget.settle(await budget.reserve(10, 10), Spending())
        assert budget.spent == Spending()
        budget.settle(await budget.reserve(10, 10), Spending(1, 1000, 1000, 7.0))
        assert budget.spent == Spending(1, 1000, 1000, 7.0)

    run(go())


@pytest.mark.parametrize("other", [False, True])
def test_a_reservation_is_settled_once_and_where_it_was_made(other: bool) -> None:
    async def go() -> None:
        budget = Budget(Caps(), PRICE)
        reservation = await budget.reserve(1, 1)
        if not other:
            budget.settle(reservation, used(1))
        with pytest.raises(ValueError, match="settled already"):
            (Budget(Caps(), PRICE) if other else budget).settle(reservation, used(1))

    run(go())


def test_batches_and_other_models_bring_their_own_cost() -> None:
    async def go() -> None:
        budget = Budget(Caps(cost=3.0, calls=8), PRICE)
        reservation = await budget.reserve(1000, 1000, calls=8, cost=3.0)
        assert reservation.most == Spending(8, 1000, 1000, 3.0)

    run(go())


def test_a_cap_can_be_used_up_to_the_last_cent() -> None:
    async def go() -> None:
        budget = Budget(Caps(cost=1.0), PRICE)
        for _ in range(10):  # ten times 0.1 is not 1 in binary
            budget.settle(await budget.reserve(10, 0), used(10))
        assert budget.spent.cost == pytest.approx(1.0)
        with pytest.raises(CapReachedError):
            await budget.reserve(1, 0)

    run(go())


@pytest.mark.parametrize(
    ("caps", "option", "message"),
    [
        (Caps(cost=0.5), "max_cost", "--max-cost 0.5: 0.25 dollars used so far, and the next call may take up to 0.3"),
        (Caps(calls=1), "max_calls", "--max-calls 1: 1 used so far, and the next call may take up to 1"),
        (Caps(tokens=50), "max_tokens", "--max-tokens 50: 25 used so far, and the next call may take up to 30"),
        (Caps(cost=0.0), "max_cost", "--max-cost 0: 0.25 dollars used so far, and the next call may take up to 0.3"),
    ],
)
def test_the_cap_that_stops_a_run_is_named(caps: Caps, option: str, message: str) -> None:
    async def go() -> CapReachedError:
        with pytest.raises(CapReachedError) as caught:
            await Budget(caps, PRICE, used(20, 5)).reserve(20, 10)
        return caught.value

    error = run(go())
    assert error.option == option
    assert error.exit_code == 3
    assert str(error) == f"stopped by {message}; raise {message.split(' ')[0]} to go on"


def test_a_cap_on_cost_needs_a_price() -> None:
    with pytest.raises(OptionError, match=r"^max_cost: the price of tiny is not known.*--price IN,OUT"):
        Budget(Caps(cost=1.0), None, model="tiny")
    with pytest.raises(OptionError, match="the price is not known"):
        check_priced(Caps(cost=1.0), None)
    check_priced(Caps(calls=1, tokens=1), None)
    assert Budget(Caps(calls=1), None).spent == Spending()


def test_a_call_waits_until_there_is_room_again() -> None:
    async def go() -> None:
        budget = Budget(Caps(tokens=100), None)
        first, second = await budget.reserve(60, 0), await budget.reserve(30, 0)
        waiting = asyncio.create_task(budget.reserve(40, 0))
        await settle_all()
        assert not waiting.done()
        budget.settle(second, Spending(1, 30))  # nothing came back
        await settle_all()
        assert not waiting.done()
        budget.settle(first, Spending(1, 20))
        assert (await waiting).most.tokens_in == 40

    run(go())


def test_a_waiting_call_is_refused_when_nothing_is_under_way_any_more() -> None:
    async def go() -> None:
        budget = Budget(Caps(tokens=100), None)
        first = await budget.reserve(60, 0)
        waiting = [asyncio.create_task(budget.reserve(size, 0)) for size in (50, 45, 30)]
        await settle_all()
        budget.settle(first, Spending(1, 60))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [CapReachedError, CapReachedError, Reservation]

    run(go())


def test_first_come_first_served() -> None:
    async def go() -> list[int]:
        budget, order = Budget(Caps(calls=1000, tokens=100), None), []

        async def call(size: int) -> None:
            reservation = await budget.reserve(size, 0)
            order.append(size)
            await asyncio.sleep(0)
            budget.settle(reservation, Spending(1))

        await asyncio.gather(*(call(size) for size in (90, 80, 5, 70, 6)))
        return order

    assert run(go()) == [90, 80, 5, 70, 6]  # the small ones would fit at once


def test_a_cancelled_call_leaves_no_trace() -> None:
    async def go() -> None:
        budget = Budget(Caps(tokens=100), None)
        first = await budget.reserve(60, 0)
        large, small = asyncio.create_task(budget.reserve(90, 0)), asyncio.create_task(budget.reserve(40, 0))
        await settle_all()
        large.cancel()
        assert (await small).most.tokens_in == 40  # the next in the queue fits
        budget.settle(first, Spending())
        assert budget.reserved.tokens_in == 40

    run(go())


def random_run(seed: int) -> bool:
    """Concurrent workers with random caps and costs; whether one of them was stopped. Fails if a cap is passed."""
    chance = random.Random(seed)
    jobs = [(chance.randint(0, 200), chance.randint(0, 200)) for _ in range(chance.randint(1, 120))]
    total = sum(PRICE.cost(*job) for job in jobs)
    caps = Caps(
        cost=chance.choice([None, chance.uniform(0, 1.2 * total)]),
        calls=chance.choice([None, chance.randint(0, 150)]),
        tokens=chance.choice([None, chance.randint(0, int(120 * total))]),
    )
    before = Spending(chance.randint(0, 3), chance.randint(0, 50), 0, chance.uniform(0, 0.1 * total))
    before = before if caps.passed(before) is None else Spending()
    budget, paid, refused = Budget(caps, PRICE, before), [before], []

    def check_caps() -> None:
        promised = budget.spent + budget.reserved
        assert caps.cost is None or promised.cost <= caps.cost + 1e-9
        assert caps.calls is None or promised.calls <= caps.calls
        assert caps.tokens is None or promised.tokens_in + promised.tokens_out <= caps.tokens

    async def call(reservation: Reservation) -> None:
        most, spent = reservation.most, Spending()  # now and then a call is never sent
        for _ in range(chance.randint(0, 4)):
            await asyncio.sleep(0)
        if chance.random() < 0.9:
            spent = used(chance.randint(0, most.tokens_in), chance.randint(0, most.tokens_out))
        budget.settle(reservation, spent)
        paid.append(spent)
        check_caps()

    async def worker() -> None:
        while jobs:
            job = jobs.pop()
            try:
                reservation = await budget.reserve(*job)
            except CapReachedError as error:
                # not too early either: nothing else is under way, and this call does not fit
                refused.append(budget.reserved == Spending() and caps.passed(budget.spent + used(*job)) == error.option)
                return
            check_caps()
            await call(reservation)

    async def workers() -> None:
        await asyncio.gather(*(worker() for _ in range(chance.randint(1, 32))))

    run(workers())
    check_caps()
    assert all(refused)
    assert refused or not jobs
    assert budget.reserved == Spending()
    spent = sum(paid, Spending())
    assert (budget.spent.calls, budget.spent.tokens_in, budget.spent.tokens_out) == (
        spent.calls,
        spent.tokens_in,
        spent.tokens_out,
    )
    assert budget.spent.cost == pytest.approx(spent.cost)
    return bool(refused)


@pytest.mark.parametrize("seed", range(200))
def test_no_cap_is_ever_passed(seed: int) -> None:
    random_run(seed)


def test_the_runs_above_reach_their_caps_often_but_not_always() -> None:
    assert 10 <= sum(random_run(seed) for seed in range(50)) <= 45


@given(st.lists(st.text(st.characters()), max_size=5), st.integers(0, 3))
def test_no_token_is_shorter_than_a_byte(texts: list[str], images: int) -> None:
    """Surrogates on their own, too, are counted instead of refused."""
    most = most_tokens(texts, images)
    assert most == sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + 16 * len(texts) + 50_000 * images
    assert likely_tokens(texts, images) <= most


def test_likely_tokens_of_plain_and_other_scripts() -> None:
    base = likely_tokens([""])
    assert likely_tokens(["a" * 400]) - base == 100
    assert likely_tokens(["价" * 400]) - base == 300
