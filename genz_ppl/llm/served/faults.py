"""What can go wrong with one call, sorted by what to do about it."""

from __future__ import annotations

from enum import Enum

from genz_ppl.llm.served.spending import Usage


class Remedy(Enum):
    """What to do after a fault.

    AGAIN: the same call may succeed. WAIT: it will, after a pause of all calls. SPLIT: ask for less in one call.
    PLAINER: ask for the reply in a format that the server knows. STOP: no call will succeed until the user acts.
    """

    AGAIN = "again"
    WAIT = "wait"
    SPLIT = "split"
    PLAINER = "plainer"
    STOP = "stop"


class CallError(Exception):
    """One call that gave no usable reply.

    reason: a few words that may be stored and shown: never a text of the server's, which may repeat the key or an item.
    usage: what the server says it has used, if it does. free: the server did no work, so the call costs nothing.
    retry_after: seconds the server asks to wait.
    """

    def __init__(
        self,
        remedy: Remedy,
        reason: str,
        *,
        usage: Usage | None = None,
        free: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.remedy, self.reason, self.usage, self.free, self.retry_after = remedy, reason, usage, free, retry_after
