"""The thread of calls ends once what it was given last is over, whoever closes it."""

from __future__ import annotations

import asyncio
import threading

from genz_ppl.llm.served.loop_thread import LoopThread


async def _nothing() -> None:
    return None


def ended(thread: LoopThread) -> bool:
    """Whether its thread comes to an end."""
    assert thread._thread is not None
    thread._thread.join(10)
    return not thread._thread.is_alive()


def test_closing_runs_the_last_coroutine() -> None:
    thread, done = LoopThread(), threading.Event()

    async def last() -> None:
        await asyncio.sleep(0.01)
        done.set()

    thread.run(_nothing(), lambda: None)
    thread.close(last)
    assert done.is_set()
    assert ended(thread)


def test_closing_from_the_thread_itself_does_not_wait_for_itself() -> None:
    thread, done = LoopThread(), threading.Event()

    async def last() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async def collect() -> None:
        thread.close(last)  # as the garbage collector may

    thread.run(collect(), lambda: None)
    assert done.wait(4)  # well before the five seconds of a thread that waits for itself
    assert ended(thread)


def test_closing_what_never_ran_does_nothing() -> None:
    LoopThread().close(_nothing)
