from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.llm.served.pacing import Pacer, PauseGate


class _Clock(selectors.DefaultSelector):
    """Waiting costs no time: the clock is moved on instead. Waiting for nothing is a failure, not a hang."""

    now = 0.0
    tick = 1e-7  # as a real clock, it never stands still: the limiter rounds, and looks again

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("all tasks wait for each other")
        self.now += max(self.tick, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run(make: Callable[[_Loop], Coroutine[Any, Any, Any]]) -> Any:
    """The result of the coroutine that `make` gives for a loop whose clock starts at 0."""
    with asyncio.Runner(loop_factory=_Loop) as runner, pytest.MonkeyPatch.context() as patch:
        loop = runner.get_loop()
        assert isinstance(loop, _Loop)
        patch.setattr(time, "monotonic", loop.time)
        return runner.run(make(loop))


def sent_at(pacer: Callable[[], Pacer], tokens: list[int]) -> list[float]:
    """When each of so many calls, all asked for at once, may be sent."""

    async def go(loop: _Loop) -> list[float]:
        limits, times = pacer(), []

        async def call(size: int) -> None:
            await limits.wait(size)
            times.append(loop.time())

        await asyncio.gather(*(call(size) for size in tokens))
        return times

    times: list[float] = run(go)
    return times


def most_in_a_minute(times: list[float], sizes: list[int]) -> int:
    """The largest sum of sizes within any minute, its end left out."""
    return max(sum(size for time, size in zip(times, sizes, strict=True) if start <= time < start + 60 - 1e-3) for start in times)


def test_an_open_gate_costs_no_time() -> None:
    async def go(loop: _Loop) -> float:
        await PauseGate().passed()
        return loop.time()

    assert run(go) < 1e-3


def test_a_pause_holds_all_workers() -> None:
    async def go(loop: _Loop) -> list[float]:
        gate, times = PauseGate(), []

        async def worker() -> None:
            await gate.passed()
            times.append(loop.time())

        gate.pause(7)
        await asyncio.gather(*(worker() for _ in range(5)))
        assert gate.remaining == 0
        return times

    assert run(go) == pytest.approx([7] * 5, abs=1e-3)


@pytest.mark.parametrize(("second", "expected"), [(10, 13), (1, 5), (-3, 5), (float("nan"), 5)])
def test_a_pause_is_made_longer_but_never_shorter(second: float, expected: float) -> None:
    async def go(loop: _Loop) -> float:
        gate = PauseGate()
        gate.pause(5)
        waiting = asyncio.create_task(gate.passed())
        await asyncio.sleep(3)
        gate.pause(second)
        await waiting
        return loop.time()

    assert run(go) == pytest.approx(expected, abs=1e-3)


def test_without_limits_nothing_waits() -> None:
    assert max(sent_at(Pacer, [10**9] * 1000)) < 1e-3


@pytest.mark.slow
@given(per_minute=st.integers(1, 300), calls=st.integers(1, 400))
def test_no_minute_has_more_calls_than_allowed(per_minute: int, calls: int) -> None:
    times = sent_at(lambda: Pacer(requests_per_minute=per_minute), [1] * calls)
    assert most_in_a_minute(times, [1] * calls) <= per_minute
    # and hardly fewer: what is held back for the burst is one in twenty
    bucket = max(1.0, per_minute / 20)
    assert times[-1] == pytest.approx(max(0.0, (calls - bucket) * 60 / (per_minute - bucket + 1)), abs=1e-3)


@given(per_minute=st.integers(1_000, 10_000), sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=20))
def test_tokens_keep_to_their_limit_and_large_calls_do_not_hang(per_minute: int, sizes: list[int]) -> None:
    times = sent_at(lambda: Pacer(tokens_per_minute=per_minute), sizes)
    assert len(times) == len(sizes)
    assert most_in_a_minute(times, sizes) <= per_minute + max(sizes)
    bucket = max(1.0, per_minute / 20)
    whole = max(0.0, (sum(sizes) - bucket) * 60 / (per_minute - bucket + 1))
    assert times[-1] == pytest.approx(whole, abs=1e-3 * (1 + whole))


def test_a_large_call_is_not_passed_by_small_ones() -> None:
    async def go(loop: _Loop) -> list[str]:
        pacer, order = Pacer(tokens_per_minute=1000), []

        async def call(name: str, tokens: int) -> None:
            await pacer.wait(tokens)
            order.append(name)

        await asyncio.gather(call("first", 50), call("large", 900), *(call("small", 1) for _ in range(20)))
        return order

    assert run(go) == ["first", "large", *["small"] * 20]


def test_a_cancelled_call_gives_its_turn_away() -> None:
    async def go(loop: _Loop) -> float:
        pacer = Pacer(tokens_per_minute=60)
        await pacer.wait(3)
        stuck = asyncio.create_task(pacer.wait(10**6))
        await asyncio.sleep(1)
        stuck.cancel()
        await pacer.wait(3)
        return loop.time()

    assert run(go) < 10
