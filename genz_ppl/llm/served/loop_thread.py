"""An event loop in a thread of its own, so that asynchronous calls can be made from anywhere, notebooks included."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines one after another for callers of ordinary functions. The thread starts with the first of them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, Result], wind_up: Callable[[], None], grace: float = 10.0) -> Result:
        """Wait for a coroutine and return its result.

        On Ctrl-C `wind_up` is called in the loop, and what is under way has `grace` seconds to end before it is cancelled;
        a second Ctrl-C cancels it at once. KeyboardInterrupt is raised in either case.
        """
        with self._turn:
            loop = self._started()
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            try:
                return future.result()
            except KeyboardInterrupt:
                loop.call_soon_threadsafe(wind_up)
                with suppress(Exception, KeyboardInterrupt):  # the first interrupt is what counts now
                    future.result(grace)
                raise
            finally:
                if not future.done():
                    future.cancel()
                    self._settle()

    def _settle(self) -> None:
        """Let cancelled tasks run to their end: they close their books in `finally`."""
        assert self._loop is not None
        with suppress(FutureTimeoutError, CancelledError):
            asyncio.run_coroutine_threadsafe(_others_done(), self._loop).result(5.0)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine and end the thread once it is over. Does nothing if it never started.

        It is waited for, five seconds at most; not by the thread itself, where the garbage collector may call this.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        future = asyncio.run_coroutine_threadsafe(last(), loop)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        if threading.current_thread() is not self._thread:
            with suppress(FutureTimeoutError):
                future.result(5.0)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), name="genz-calls", daemon=True)
            self._thread.start()
            self._loop = loop
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _others_done() -> None:
    own = asyncio.current_task()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not own), return_exceptions=True)
