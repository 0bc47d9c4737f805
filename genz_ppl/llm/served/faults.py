"""What can go wrong with one call, sorted by what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from enum import Enum

from genz_ppl.errors import GenzError
from genz_ppl.llm.served.spending import Usage


class Remedy(Enum):
    """What to do after a fault.

    AGAIN: the same call may succeed. WAIT: it will, after a pause of all calls. SPLIT: ask for less in one call.
    PLAINER: ask in a way that the server knows: for a plainer format, or without a parameter. STOP: no call will succeed until
    the user acts. WITHOUT: as SPLIT, if the server takes other calls (a policy, a firewall, a size is about the items); else as
    STOP.
    """

    AGAIN = "again"
    WAIT = "wait"
    SPLIT = "split"
    PLAINER = "plainer"
    STOP = "stop"
    WITHOUT = "without"


@dataclass(eq=False)
class CallError(Exception):
    """One call that gave no usable reply.

    reason: a few words that may be stored and shown: never a text of the server's, which may repeat the key or an item (but
    for what it says about a parameter, see `reading`). usage: what the server says it has used, if it does. free: the server
    did no work, so the call costs nothing. retry_after: seconds the server asks to wait. late: none came in time. parameter: the
    one it refuses.
    """

    remedy: Remedy
    reason: str
    _: KW_ONLY
    usage: Usage | None = None
    free: bool = False
    retry_after: float | None = None
    late: bool = False
    parameter: str = ""

    def __str__(self) -> str:
        return self.reason


@contextmanager
def one_reply() -> Iterator[None]:
    """Whatever goes wrong while one reply is read is the fault of that reply, and ends no run; its type tells what it was."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, CallError | GenzError)
        raise error if known else CallError(Remedy.SPLIT, f"the reply cannot be read ({type(error).__name__})") from None
