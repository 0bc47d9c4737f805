"""When the next call may be sent: one pause shared by all workers, and the server's limits a minute."""

from __future__ import annotations

import asyncio
import time

from aiolimiter import AsyncLimiter

MINUTE = 60.0
# The share of a minute's allowance that may go out at once.
BURST = 0.05


class PauseGate:
    """A gate in front of every call that one worker's 429 closes for all of them."""

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until it opens; 0 where it is open."""
        return max(0.0, self._until - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Close the gate for so long from now; never shortens a longer pause."""
        self._until = max(self._until, time.monotonic() + seconds)

    async def passed(self) -> None:
        """Wait until the gate is open, also where a pause is made longer meanwhile."""
        while (seconds := self.remaining) > 0:
            await asyncio.sleep(seconds)


class Pacer:
    """Keeps calls within limits a minute, in the order in which they came; for one event loop.

    requests_per_minute, tokens_per_minute: None for no limit. In no minute, whenever it starts, do more calls pass; of the
    tokens at most one call's more.
    """

    def __init__(self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        self._requests = None if requests_per_minute is None else _limiter(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else _limiter(tokens_per_minute)
        self._turn = asyncio.Lock()

    async def wait(self, tokens: float = 0) -> None:
        """Wait for leave to send one call of about so many tokens; one larger than a minute's allowance waits for minutes."""
        async with self._turn:  # in order of arrival: the limiter on its own would let small calls pass large ones for ever
            if self._requests is not None:
                await self._requests.acquire()
            left = tokens if self._tokens is not None else 0
            while self._tokens is not None and left > 0:
                part = min(left, self._tokens.max_rate)
                await self._tokens.acquire(part)
                left -= part


def _limiter(per_minute: int) -> AsyncLimiter:
    """A leaky bucket. In a minute pass at most what fits in and what leaks out: together `per_minute`."""
    bucket = max(1.0, per_minute * BURST)
    leak = per_minute - bucket + 1
    return AsyncLimiter(bucket, MINUTE * bucket / leak)
