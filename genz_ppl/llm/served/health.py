"""Whether a server works: judged by the last calls of all workers, and in doubt by a harmless one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from genz_ppl.llm.served.faults import CallError, Remedy

# The calls by which a server is judged.
RECENT = 20
Check = Callable[[], Awaitable[None]]


class Health:
    """A server's health, for the workers of one event loop. last_success: when (`time.monotonic`) the last usable reply came."""

    def __init__(self) -> None:
        self.last_success, self._last_failed_check = -1.0, -1.0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._checking = asyncio.Lock()

    def note(self, usable: bool) -> None:
        """A call has ended, with a usable reply or without."""
        self._recent.append(usable)
        if usable:
            self.last_success = time.monotonic()

    @property
    def good(self) -> bool:
        """Whether at least half of the recent calls brought a usable reply."""
        return 2 * sum(self._recent) >= len(self._recent)

    async def restored(self, check: Check) -> None:
        """Where most of many recent calls have failed, for whatever reason, let no other begin before `check` has returned."""
        if len(self._recent) == RECENT and not self.good:
            async with self._checking:
                if not self.good:
                    await check()
                    self._recent.clear()

    async def works(self, since: float, check: Check) -> bool:
        """Whether a usable reply has come since then (`time.monotonic`); if none has, whether `check` raises no CallError."""
        in_doubt = time.monotonic()
        async with self._checking:  # of several workers in doubt one asks
            if self.last_success >= since:
                return True
            if self._last_failed_check >= in_doubt:
                return False
            try:
                await check()
            except CallError as error:
                if error.remedy is not Remedy.WAIT:
                    self._last_failed_check = time.monotonic()
                    return False
            return True
