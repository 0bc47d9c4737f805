"""Replies in words: proposals, suggestions and descriptions of images, each asked for once and kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from genz_ppl.errors import UnusableReplyError
from genz_ppl.llm.served.calling import GLANCE, Caller, Recorded
from genz_ppl.llm.served.extraction import MOST_TRIES
from genz_ppl.llm.served.faults import CallError
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.spending import Spending

Value = TypeVar("Value")
# From one share of the exemplars to another: what is shown of them when all are too many for the model, or one is refused.
Part = tuple[float, float]
PARTS: tuple[Part, ...] = ((0, 1), (0, 0.5), (0.5, 1), (0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1), (0, 0.1))


async def stored_text(
    caller: Caller,
    key: bytes,
    render: Callable[[Part], Request],
    read: Callable[[str], str],
    otherwise: str | None = None,
) -> str:
    """The stored text of a key, or that of a call.

    render: the call that shows this part of the exemplars. read: from the reply to the text to be stored; raises
    InvalidReplyError. A reply that cannot be used is asked for again, in the end with fewer exemplars; at once with fewer where
    the server would not even try. Where none can, `otherwise` is stored, for which there are no exemplars, or, if that is None,
    ModelError raised; it is also where the server does not reply to anything else.
    """
    while (known := caller.store.text(key)) is None:
        if caller.store.claim_text(key):
            try:
                return await _asked(caller, key, render, read, otherwise)
            finally:
                caller.store.release_text(key)
        await caller.sleep(GLANCE)  # another process is asking
    return known


async def _asked(
    caller: Caller, key: bytes, render: Callable[[Part], Request], read: Callable[[str], str], otherwise: str | None
) -> str:
    reason, tried, started = "", 0, time.monotonic()
    parts = [PARTS[0]] * (MOST_TRIES - 1) + list(PARTS if otherwise is None else PARTS[:1])
    while parts:
        shown, tried = parts.pop(0), tried + 1
        request = render(shown)
        try:
            recorded = await caller.ask(request, lambda reply: Recorded(texts={key: read(reply.text)}))
            return recorded.texts[key]
        except CallError as error:
            reason = error.reason
            parts = [part for part in parts if part != shown or not error.free]
    if otherwise is None or not await caller.works(request.model, started):
        raise UnusableReplyError(
            f"{request.model} gave no usable reply to {tried} calls of the kind {request.kind!r} ({reason}); try another model"
        )
    attempt = caller.store.begin(caller.run, "given up", request.model, Spending())
    caller.store.settle(attempt, reason, Spending(), texts={key: otherwise})
    return otherwise


def some(values: Sequence[Value], part: Part) -> list[Value]:
    """That part of the values, at least one of any."""
    first, end = (round(len(values) * share) for share in part)
    return list(values[first : max(end, first + 1)] or values[-1:])
