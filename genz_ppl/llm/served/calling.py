"""A call until it succeeds: journalled, within the caps, repeated after faults that pass, with one pause for all workers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from genz_ppl.errors import ModelError
from genz_ppl.llm.served.budget import Budget, Reservation
from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.faults import CallError, Remedy, one_reply
from genz_ppl.llm.served.health import Health
from genz_ppl.llm.served.pacing import Pacer, PauseGate
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.reading import CUT_OFF, KEY_VARIABLE, LONGEST_RETRY_AFTER, Reply
from genz_ppl.llm.served.replies import InvalidReplyError, after_thinking, find_object
from genz_ppl.llm.served.requests import EMBED, FORMATS, Request
from genz_ppl.llm.served.settings import LIMITS, ModelSettings
from genz_ppl.llm.served.shared_budget import SharedBudget
from genz_ppl.llm.served.spending import Spending, Usage
from genz_ppl.llm.served.templates import Rendered
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.rows import Pair, StoredAnswer

Result = TypeVar("Result")
# Seconds of the first pause after a fault, and of the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# Seconds between looks at what another process has in hand.
GLANCE = 0.2
# Seconds without one success in which a server may answer "too many requests" before a run is stopped.
PATIENCE = 900.0
# What a server is asked when it is in doubt whether it works at all.
CHECK, CHECK_TOKENS = Rendered("check", "1", "You reply with one word.", "Reply with the word yes.", None, "check"), 1000


@dataclass(frozen=True)
class Recorded:
    """What a reply says, ready for the store."""

    answers: Mapping[Pair, StoredAnswer] = field(default_factory=dict)
    texts: Mapping[bytes, str] = field(default_factory=dict)


class StoppingError(Exception):
    """The run is winding up, so this call was not made."""


@dataclass
class _Course:
    """How one call has gone so far. again: faults that count as attempts, of all faults."""

    started: float
    again: int = 0
    faults: int = 0


class Caller:
    """Makes calls of one run for all workers of one event loop.

    prices: of each model by name. run: the number of the run in the store's ledger.
    """

    def __init__(
        self,
        client: ChatClient,
        store: Store,
        run: int,
        settings: ModelSettings,
        budget: Budget,
        prices: Mapping[str, Price | None],
    ) -> None:
        self.client, self.store, self.run, self.settings, self.budget, self.prices = client, store, run, settings, budget, prices
        self.gate = PauseGate()
        self.shared = isinstance(budget, SharedBudget)
        self._limited = (settings.requests_per_minute, settings.tokens_per_minute, settings.cost_per_minute) != (None, None, None)
        self.pacer = Pacer(settings.requests_per_minute, settings.tokens_per_minute, settings.cost_per_minute)
        self.form = FORMATS[0]
        self.refused: defaultdict[str, set[str]] = defaultdict(set)  # by model, the parameters that it does not take
        self.stopping = asyncio.Event()
        self.health = Health()
        self.harmless: Request | None = None  # what a server is asked that does not chat, when it is in doubt
        self.notes: dict[str, None] = {}  # what the user is to know, once
        self._pauses = 0

    async def ask(self, request: Request, read: Callable[[Reply], Recorded]) -> Recorded:
        """Call until there is a reply that `read` can use, store what it says, and return it.

        read: raises InvalidReplyError for a reply of another form than was asked for.
        Raises CallError where a smaller question may do better (with Remedy.AGAIN where the call brings no reply, however often
        it is made), ModelError where nothing will, BudgetError at a cap, and StoppingError once `stopping` is set.
        """

        async def once() -> Recorded:
            await self.health.restored(lambda: self._until_done(lambda: self._check(request.model)))
            return await self._attempt(request, read)

        return await self._until_done(once, request.model)

    async def repeat(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """The same for a call that costs nothing, such as a look at a batch; each attempt has the deadline of a call."""

        async def once() -> Result:
            await self.gate.passed()
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return await call()
            except TimeoutError:
                raise CallError(Remedy.AGAIN, "no complete reply in time") from None

        return await self._until_done(once)

    async def _until_done(self, call: Callable[[], Awaitable[Result]], model: str | None = None) -> Result:
        """model: whose calls may be made smaller when they fail again and again."""
        course = _Course(time.monotonic())
        while True:
            try:
                return await call()
            except CallError as error:
                fault = error
            if fault.late and model is not None and not course.faults and await self.works(model, course.started):
                raise fault
            if not self._goes_on(fault, course):
                break
            await self.sleep(self._pause(fault, course))
        since = {Remedy.AGAIN: course.started, Remedy.WITHOUT: 0.0}.get(fault.remedy)
        if model is not None and since is not None and await self.works(model, since):
            raise fault  # it is this call that the server does not like
        raise self._verdict(fault, course, model)

    async def works(self, model: str, since: float) -> bool:
        """Whether the server has replied to a call since then (`time.monotonic`); if to none, it is asked something harmless.

        Raises BudgetError and StoppingError as `ask` does.
        """
        if self.stopping.is_set():
            raise StoppingError
        return await self.health.works(since, lambda: self._check(model))

    async def _check(self, model: str) -> None:
        """Ask something harmless. Raises CallError unless there is a reply, if only the beginning of one."""
        try:
            await self._attempt(self.harmless or Request("check", model, CHECK, CHECK_TOKENS), lambda reply: Recorded())
        except CallError as error:
            if error.remedy is not Remedy.SPLIT:
                raise
            if error.reason != CUT_OFF:
                raise CallError(Remedy.AGAIN, error.reason) from None

    def _goes_on(self, error: CallError, course: _Course) -> bool:
        """Whether to call again; counts the fault."""
        if self.stopping.is_set():
            return False
        course.faults += 1
        course.again += error.remedy is Remedy.AGAIN
        if error.remedy is Remedy.WAIT:
            quiet_since = max(course.started, self.health.last_success)
            return time.monotonic() - quiet_since < PATIENCE and (error.retry_after or 0) <= LONGEST_RETRY_AFTER
        return error.remedy is Remedy.PLAINER or (error.remedy is Remedy.AGAIN and course.again < self.settings.attempts)

    def _pause(self, error: CallError, course: _Course) -> float:
        """Seconds until this call's next attempt; where all calls must wait, the gate sees to it."""
        if error.remedy is Remedy.PLAINER:
            return 0.0
        asked = error.retry_after or 0.0  # a server may ask for more than the least pause, not for less
        if error.remedy is Remedy.AGAIN:
            return max(asked, _jittered(course.again))
        if self.gate.remaining == 0.0:  # the first of several workers to be told; the others wait with it
            self._pauses += 1
            asked = max(asked, _jittered(self._pauses))
        self.gate.pause(asked)
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the moment at which the run winds up."""
        await self._unless_stopping(asyncio.sleep(seconds))

    async def _unless_stopping(self, waiting: Coroutine[Any, Any, Any]) -> None:
        stop = asyncio.ensure_future(self.stopping.wait())
        task = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait((stop, task), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            stop.cancel()
            task.cancel()
        if self.stopping.is_set():
            raise StoppingError

    def _verdict(self, error: CallError, course: _Course, model: str | None) -> Exception:
        """What a call that is given up means for the run."""
        if error.remedy is Remedy.SPLIT and model is not None:
            return error
        saved = "what was answered is stored"
        if error.remedy is Remedy.AGAIN:
            return ModelError(
                f"the server at {self.client.endpoint} failed {course.again} times in a row ({error.reason}); {saved}"
            )
        if error.remedy is Remedy.WAIT:
            return ModelError(f"the server at {self.client.endpoint} takes no calls ({error.reason}); {saved}, try again later")
        hint = f"; check {KEY_VARIABLE}, the model's name and --base-url" if error.remedy is Remedy.WITHOUT else ""
        return ModelError(f"{self.client.endpoint}: {error.reason}{hint}; {saved}")

    async def _attempt(self, request: Request, read: Callable[[Reply], Recorded]) -> Recorded:
        """One attempt, with its entry in the journal and its share of the caps."""
        reservation = await self._leave(request)
        spent, outcome, recorded = Spending(), "not sent", Recorded()
        attempt: int | None = None
        try:
            attempt = reservation.attempt
            if attempt is None:
                attempt = self.store.begin(self.run, request.kind, request.model, reservation.most)
            spent, outcome = reservation.most, "unknown"  # until a reply says otherwise: it may have been billed
            form = self.form
            reply = await self._send(request, form)
            spent = self.booked(reply.usage, reservation.most, self.prices.get(request.model))
            with one_reply():
                recorded = read(self._bare(request, form, reply))
            outcome = "answered"
            self._pauses = 0
            self.health.note(usable=True)
            return recorded
        except InvalidReplyError as error:
            outcome = "invalid reply"
            self.health.note(usable=False)
            raise CallError(Remedy.SPLIT, str(error)) from None
        except CallError as error:
            outcome = error.reason
            if error.free:
                spent = Spending(calls=1)
            elif error.usage is not None:
                spent = self.booked(error.usage, reservation.most, self.prices.get(request.model))
            if error.remedy not in (Remedy.WAIT, Remedy.PLAINER):
                self.health.note(usable=False)
            if error.remedy is Remedy.PLAINER:
                self._plainer(form, request.model, error.parameter)
            raise
        finally:
            try:
                if attempt is not None:
                    self.store.settle(attempt, outcome, spent, recorded.answers, recorded.texts)
            finally:
                self.budget.settle(reservation, spent)

    async def _leave(self, request: Request) -> Reservation:
        """Leave to send a call: when no pause is on, within the limits a minute and the caps."""
        await self._unpaused()
        price, likely = self.prices.get(request.model), request.likely_tokens_in + request.tokens_out
        cost = 0.0 if price is None else price.cost(request.most_tokens_in, request.tokens_out)
        likely_cost = 0.0 if price is None else price.cost(round(request.likely_tokens_in), request.tokens_out)
        if isinstance(self.budget, SharedBudget):
            most = Spending(1, request.most_tokens_in, request.tokens_out, cost)
            reservation = await self._taken(partial(self.budget.take, request.kind, request.model, most, likely, likely_cost))
        else:
            if self._limited:
                await self._unless_stopping(self.pacer.wait(likely, likely_cost))
            reservation = await self.budget.reserve(request.most_tokens_in, request.tokens_out, cost=cost)
        try:
            if reservation.wait > 0:
                await self.sleep(reservation.wait)
            await self._unpaused()  # a pause may have begun meanwhile
        except BaseException:
            if reservation.attempt is not None:
                self.store.settle(reservation.attempt, "not sent", Spending())
            self.budget.settle(reservation, Spending())
            raise
        return reservation

    async def set_aside(self, kind: str, model: str, most: Spending) -> Reservation:
        """A share of the caps for many calls that no limit a minute is about, as those of a batch."""
        if isinstance(self.budget, SharedBudget):
            return await self._taken(partial(self.budget.take, kind, model, most, 0.0, 0.0, paced=False))
        return await self.budget.reserve(most.tokens_in, most.tokens_out, calls=most.calls, cost=most.cost)

    async def _taken(self, take: Callable[[], Reservation | None]) -> Reservation:
        """What is set aside once there is room for it."""
        while (found := take()) is None:
            await self.sleep(random.uniform(0.5, 1.0) * GLANCE)
        return found

    async def _unpaused(self) -> None:
        while self.gate.remaining > 0:  # also where a new pause began before this worker's turn came
            await self._unless_stopping(self.gate.passed())
        if self.stopping.is_set():
            raise StoppingError

    async def _send(self, request: Request, form: str) -> Reply:
        """Send, and take no longer than the deadline, however slowly the bytes come."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                body = request.body(form, self.settings, self.refused[request.model])
                send = self.client.embed if request.kind == EMBED else self.client.chat
                return await send(body, request.most_bytes(self.settings))
        except TimeoutError:
            raise CallError(Remedy.AGAIN, "no complete reply in time", late=True) from None

    def _bare(self, request: Request, form: str, reply: Reply) -> Reply:
        """The reply without thoughts or words around its JSON object; words only where the server cannot do better."""
        if request.rendered.schema is None:
            return reply
        bare = replace(reply, text=find_object(reply.text))
        if form != FORMATS[-1] and bare.text != after_thinking(reply.text):
            raise CallError(Remedy.PLAINER, "the server does not keep to the reply format", usage=reply.usage)
        return bare

    def _plainer(self, form: str, model: str, parameter: str) -> None:
        """Ask a model without this parameter from now on, if there is one, else all for replies in the next plainer format."""
        position, refused = FORMATS.index(form) + 1, self.refused[model]
        if parameter in (self.settings.body or {}) or refused.union((parameter,)).issuperset(LIMITS):
            raise CallError(Remedy.STOP, f"{model} takes no {parameter}; change that with --body", free=True)
        if parameter == "temperature" and parameter not in refused:
            self.notes[f"{model} takes no --temperature; it is asked without, at the server's own"] = None
        if parameter:
            refused.add(parameter)
        elif position == len(FORMATS):
            raise CallError(Remedy.STOP, "the server knows none of the reply formats", free=True)
        else:
            self.form = FORMATS[max(position, FORMATS.index(self.form))]

    def booked(self, usage: Usage | None, most: Spending, price: Price | None) -> Spending:
        """What a call used by the server's count; where that is missing or beyond what can be, the most that was set aside.

        most: of this call. Thoughts that are not shown count towards its tokens written, so the text's length is no measure.
        """
        said = usage or Usage(most.tokens_in, most.tokens_out)
        tokens_in, tokens_out = min(said.tokens_in, most.tokens_in), min(said.tokens_out, most.tokens_out)
        if usage != Usage(tokens_in, tokens_out):
            self.notes[
                f"{self.client.endpoint} does not tell, or not rightly, how many tokens a call used; counted is the most that it "
                "can use, so look up what was really spent where it is billed"
            ] = None
        return Spending(1, tokens_in, tokens_out, 0.0 if price is None else price.cost(tokens_in, tokens_out))


def _jittered(n: int) -> float:
    """A pause after the n-th fault: doubling, with chance in it so that workers do not come back all at once."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (n - 1)) * random.uniform(0.5, 1.0)
