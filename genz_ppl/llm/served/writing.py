"""Texts by the thousand, profiles and vectors: what is stored is looked up, the rest asked by a pool of workers."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from genz_ppl.errors import ModelError
from genz_ppl.llm.served.calling import GLANCE, Caller, Recorded, StoppingError
from genz_ppl.llm.served.extraction import AHEAD, HOPELESS, MOST_TRIES, RENEWAL, Progress
from genz_ppl.llm.served.faults import CallError
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.spending import Spending

Keys = tuple[bytes, ...]


class Writing:
    """One request for texts by key, run to its end by `run`.

    render: the call for the texts of some keys, at most `size` of them. read: from the text of its reply to the texts to be
    stored; raises InvalidReplyError. progress is told (texts known, texts wanted).
    failures: why texts were given up, and of how many; theirs is "", and they are asked for again once
    `genz store prune --failed` has taken that away.
    """

    def __init__(
        self,
        caller: Caller,
        keys: Sequence[bytes],
        render: Callable[[Keys], Request],
        read: Callable[[str, Keys], Mapping[bytes, str]],
        size: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self.caller, self.store, self.render, self.read = caller, caller.store, render, read
        self.failures: Counter[str] = Counter()
        self._keys = list(dict.fromkeys(keys))
        self._texts = self.store.texts(self._keys)
        missing = [key for key in self._keys if key not in self._texts]
        self._queue = deque(tuple(missing[start : start + size]) for start in range(0, len(missing), size))
        self._elsewhere: list[Keys] = []
        self._held: set[bytes] = set()
        self._given_up: dict[bytes, str] = {}
        self._in_a_row = 0
        self._error: Exception | None = None
        self._progress = progress or (lambda done, wanted: None)

    async def run(self) -> dict[bytes, str]:
        """The text of every key, "" where the model gives none that can be used.

        Raises what stopped the calls, ModelError, BudgetError or StoreError, after those under way have ended and are stored;
        StoppingError where `stopping` was set by someone else. A model that fails at many in a row is at fault: ModelError.
        """
        keeper = asyncio.ensure_future(self._keep_leases())
        try:
            await asyncio.gather(*(self._work() for _ in range(min(self.caller.settings.workers, len(self._queue)))))
            if self._error is None and not self.caller.stopping.is_set():
                self._end()
        finally:
            keeper.cancel()
            if self._held:
                self.store.release_text(*self._held)
        if self._error is not None:
            raise self._error
        if len(self._texts) < len(self._keys):
            raise StoppingError
        return self._texts

    async def _work(self) -> None:
        """Take calls until none is left; what another process asks for meanwhile is looked at again."""
        try:
            while not self.caller.stopping.is_set():
                if self._queue:
                    for keys in self._claimed():
                        await self._ask(keys)
                elif self._elsewhere:
                    again, self._elsewhere = self._elsewhere, []
                    await self.caller.sleep(GLANCE)
                    self._queue.extend(again)
                else:
                    return
        except StoppingError:
            pass
        except Exception as error:  # whatever it is, what is under way is paid for and comes first
            self._error = self._error or error
            self.caller.stopping.set()

    def _claimed(self) -> list[Keys]:
        """The next calls, several claimed at once; what is known by now is taken over, what others ask is left to them."""
        most = max(1, min(AHEAD, len(self._queue) // self.caller.settings.workers))
        jobs = [self._queue.popleft() for _ in range(most)]
        every = [key for keys in jobs for key in keys]
        mine = set(self.store.claim_texts(every))
        self._held |= mine
        known = self.store.texts([key for key in every if key not in mine])
        self._take(known)
        theirs = [tuple(key for key in keys if key not in mine and key not in known) for keys in jobs]
        self._elsewhere += [keys for keys in theirs if keys]
        return [some for keys in jobs if (some := tuple(key for key in keys if key in mine))]

    async def _ask(self, keys: Keys) -> None:
        """Call until there is a usable reply; after one that is none for half as many, in the end not at all."""
        for _ in range(MOST_TRIES):
            try:
                recorded = await self.caller.ask(self.render(keys), lambda reply: Recorded(texts=self.read(reply.text, keys)))
            except CallError as error:
                if len(keys) > 1:
                    await self._ask(keys[: len(keys) // 2])
                    await self._ask(keys[len(keys) // 2 :])
                    return
                self._given_up[keys[0]] = error.reason
            else:
                self._in_a_row = 0
                for key in keys:
                    self._given_up.pop(key, None)
                self._take(recorded.texts)
                return
        self._in_a_row += 1
        if self._in_a_row >= HOPELESS:
            raise ModelError(
                f"{self.render(keys).model} gave no usable reply about any of {self._in_a_row} texts in a row "
                f"({self._given_up[keys[0]]}); what was written is stored; try again later, another model, or a larger "
                "--max-output-tokens"
            )

    def _end(self) -> None:
        """What was given up is known to fail, if the model can do others; else it is asked again one day."""
        able = any(self._texts.values())
        for key, reason in self._given_up.items():
            self.failures[reason] += 1
            if able:
                attempt = self.store.begin(self.caller.run, "given up", self.render((key,)).model, Spending())
                self.store.settle(attempt, reason, Spending(), texts={key: ""})
        if not able:
            self.store.release_text(*self._given_up)
        self._take(dict.fromkeys(self._given_up, ""))

    def _take(self, texts: Mapping[bytes, str]) -> None:
        self._texts |= texts
        self._held.difference_update(texts)
        self._progress(len(self._texts), len(self._keys))

    async def _keep_leases(self) -> None:
        """Calls can wait longer than a lease lasts."""
        while True:
            await asyncio.sleep(RENEWAL)
            if self._held:
                self.store.renew_texts(list(self._held))
