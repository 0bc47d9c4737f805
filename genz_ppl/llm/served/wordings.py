"""Replies in words: proposals, suggestions and descriptions of images, each asked for once and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genz_ppl.errors import ModelError
from genz_ppl.llm.served.calling import Caller, Recorded
from genz_ppl.llm.served.extraction import GLANCE, MOST_TRIES
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.spending import Spending

# The parts of the exemplars that are shown when all of them are too many for the model.
PARTS = (1.0, 0.5, 0.25, 0.1)


async def stored_text(
    caller: Caller,
    key: bytes,
    render: Callable[[float], Request],
    read: Callable[[str], str],
    otherwise: str | None = None,
) -> str:
    """The stored text of a key, or that of a call.

    render: the call that shows this part of the exemplars. read: from the reply to the text to be stored; raises
    InvalidReplyError. A reply that cannot be used is asked for again, in the end with fewer exemplars. Where none can,
    `otherwise` is stored, or, if that is None, ModelError raised.
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
    caller: Caller, key: bytes, render: Callable[[float], Request], read: Callable[[str], str], otherwise: str | None
) -> str:
    reason = ""
    for tried in range(MOST_TRIES + len(PARTS) - 1):
        request = render(PARTS[min(len(PARTS) - 1, max(0, tried - MOST_TRIES + 1))])
        try:
            recorded = await caller.ask(request, lambda reply: Recorded(texts={key: read(reply.text)}))
            return recorded.texts[key]
        except CallError as error:
            if error.remedy is not Remedy.SPLIT:
                raise
            reason = error.reason
    if otherwise is None:
        raise ModelError(
            f"{request.model} gave no usable reply to {tried + 1} calls of the kind {request.kind!r} ({reason}); "
            "try another model"
        )
    attempt = caller.store.begin(caller.run, "given up", request.model, Spending())
    caller.store.settle(attempt, reason, Spending(), texts={key: otherwise})
    return otherwise


def some(values: Sequence[str], part: float) -> list[str]:
    """The first of the values, at least one of any."""
    return list(values[: max(1, round(len(values) * part))])
