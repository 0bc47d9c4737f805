"""When the next call may be sent: one pause shared by all workers, and the server's limits a minute."""

from __future__ import annotations

import asyncio
import time

from aiolimiter import AsyncLimiter

MINUTE = 60.0
# The share of a minute's allowance that may go out at once.
BURST = 0.05
# Dollars that count as one in a limit.
SMALL_COST = 1e-6


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

    requests_per_minute, tokens_per_minute, cost_per_minute: None for no limit. In no minute, whenever it starts, do more calls
    pass; of the tokens and dollars at most one call's more.
    """

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        cost_per_minute: float | None = None,
    ) -> None:
        self._requests = None if requests_per_minute is None else _limiter(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else _limiter(tokens_per_minute)
        self._cost = None if cost_per_minute is None else _limiter(cost_per_minute / SMALL_COST)
        self._turn = asyncio.Lock()

    async def wait(self, tokens: float = 0, cost: float = 0) -> None:
        """Wait for leave to send one call of about so much; one larger than a minute's allowance waits for minutes."""
        async with self._turn:  # in order of arrival: the limiter on its own would let small calls pass large ones for ever
            if self._requests is not None:
                await self._requests.acquire()
            for limiter, amount in ((self._tokens, tokens), (self._cost, cost / SMALL_COST)):
                left = amount
                while limiter is not None and left > 0:
                    part = min(left, limiter.max_rate)
                    await limiter.acquire(part)
                    left -= part


def bucket_and_leak(per_minute: float, one: float = 1.0) -> tuple[float, float]:
    """A leaky bucket: its size, and what leaks out a second. In a minute pass at most what fits in and what leaks out.

    Together that is `per_minute`, in things of the size `one`; 0 for what comes in any size.
    """
    bucket = max(one, per_minute * BURST)
    return bucket, (per_minute - bucket + one) / MINUTE


def _limiter(per_minute: float) -> AsyncLimiter:
    bucket, leak = bucket_and_leak(per_minute)
    return AsyncLimiter(bucket, bucket / leak)
