"""What can go wrong with one call, sorted by what to do about it."""

from __future__ import annotations

from enum import Enum

from genz_ppl.llm.served.spending import Usage


class Remedy(Enum):
    """What to do after a fault.

    AGAIN: the same call may succeed. WAIT: it will, after a pause of all calls. SPLIT: ask for less in one call.
    PLAINER: ask for the reply in a format that the server knows. STOP: no call will succeed until the user acts. WITHOUT: as
    SPLIT, if the server takes other calls (a policy, a firewall, a size is about the items); else as STOP.
    """

    AGAIN = "again"
    WAIT = "wait"
    SPLIT = "split"
    PLAINER = "plainer"
    STOP = "stop"
    WITHOUT = "without"


class CallError(Exception):
    """One call that gave no usable reply.

    reason: a few words that may be stored and shown: never a text of the server's, which may repeat the key or an item.
    usage: what the server says it has used, if it does. free: the server did no work, so the call costs nothing.
    retry_after: seconds the server asks to wait. late: none came in time.
    """

    def __init__(
        self,
        remedy: Remedy,
        reason: str,
        *,
        usage: Usage | None = None,
        free: bool = False,
        retry_after: float | None = None,
        late: bool = False,
    ) -> None:
        super().__init__(reason)
        self.remedy, self.reason, self.usage, self.free, self.retry_after = remedy, reason, usage, free, retry_after
        self.late = late
