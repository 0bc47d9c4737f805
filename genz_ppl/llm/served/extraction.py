"""Answers to many questions about many items: what is stored is looked up, the rest asked in calls of many questions each."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from genz_ppl.errors import ModelError
from genz_ppl.llm.served.budget import CapReachedError
from genz_ppl.llm.served.calling import GLANCE, Caller, Recorded, StoppingError
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.probabilities import probability_of_yes
from genz_ppl.llm.served.reading import Reply
from genz_ppl.llm.served.replies import parse_extract
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.batches import BatchJob
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.rows import Pair, Question, StoredAnswer
from genz_ppl.types import FloatArray

# How often a single question is asked before it is given up, and how often a single item where no reply comes at all.
MOST_TRIES = 3
# Questions given up in a row that end a run, unless the model still answers others.
HOPELESS = 20
# Seconds between renewals of our own leases.
RENEWAL = 60.0
# The most jobs that are claimed in one transaction.
AHEAD = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """Questions for one call: positions of items and of questions. held: their leases are ours already."""

    items: tuple[int, ...]
    questions: tuple[int, ...]
    held: bool = False
    tries: int = 0

    def halves(self) -> tuple[Job, Job]:
        """The larger side cut in two."""
        if len(self.items) > 1:
            middle = len(self.items) // 2
            return Job(self.items[:middle], self.questions, True), Job(self.items[middle:], self.questions, True)
        middle = len(self.questions) // 2
        return Job(self.items, self.questions[:middle], True), Job(self.items, self.questions[middle:], True)


class Extraction:
    """One request for answers: items (by content hash) by questions, run to its end by `run`.

    render: the call that asks some questions (positions) about some items (positions); size: the most items of one that asks so
    many questions. failures counts answers given up, by reason. progress is told (answers known, answers wanted).
    """

    def __init__(
        self,
        caller: Caller,
        items: Sequence[bytes],
        questions: Sequence[Question],
        render: Callable[[Sequence[int], Sequence[int]], Request],
        size: Callable[[int], int],
        failures: Counter[str],
        progress: Progress | None = None,
    ) -> None:
        self.caller, self.items, self.questions, self.failures = caller, items, questions, failures
        self.render, self.size = render, size
        self.store: Store = caller.store
        self.progress = progress or (lambda done, wanted: None)
        self.values: FloatArray
        self.look_up()
        self._queue: deque[Job] = deque()
        self._held: set[Pair] = set()
        self._given_up: list[tuple[Job, str, bool]] = []  # with the reason, and whether it was surely not the server
        self._hung: defaultdict[int, list[str]] = defaultdict(list)  # by item, why calls about it alone brought nothing, in a row
        self._elsewhere: list[Job] = []
        self._open = 0
        self._change = asyncio.Event()
        self._error: Exception | None = None

    def look_up(self) -> None:
        """Take over what the store knows by now."""
        self.values, self.known = self.store.lookup(self.questions, self.items)
        self._n_known = int(self.known.sum())

    def named(self, job: Job) -> BatchJob:
        """A job by what it asks, without positions."""
        return BatchJob(tuple(self.items[t] for t in job.items), tuple(self.questions[k] for k in job.questions))

    async def run(self) -> FloatArray:
        """Ask what is not stored; (items, questions) of 1., 0. and NaN.

        Raises what stopped the calls, ModelError or BudgetError, after those under way have ended and are stored; and
        StoppingError where `stopping` was set by someone else.
        """
        self._elsewhere.clear()
        self._queue.extend(self.jobs())
        if self.caller.shared and self._queue:  # several begin at once: each elsewhere, so that they seldom meet
            self._queue.rotate(random.randrange(len(self._queue)))
        workers = min(self.caller.settings.workers, len(self._queue))
        keeper = asyncio.ensure_future(self._keep_leases())
        try:
            while self._queue and not self.caller.stopping.is_set():
                await asyncio.gather(*(self._work() for _ in range(workers)))
                if not self.caller.stopping.is_set():
                    with suppress(CapReachedError):
                        await self._prove_others()
                    self._end(stored=False)  # and so asked again one day: nothing else was ever answered
        finally:
            keeper.cancel()
            self.release()
        if self._error is not None:
            raise self._error
        if self._n_known < self.known.size:
            raise StoppingError
        return self.values

    def release(self) -> None:
        """Give up the leases that no call is made for."""
        held, self._held = self._held, set()
        if held:
            self.store.release(list(held))

    def jobs(self) -> Iterator[Job]:
        """The unknown questions, as many as fit in a call at a time; items with the same gaps go together."""
        for draw in sorted({question.draw for question in self.questions}):
            columns = [k for k, question in enumerate(self.questions) if question.draw == draw]
            for part in _chunks(columns, self.caller.settings.most_features):
                gaps = ~self.known[:, part]
                yield from self._rectangles(part, gaps, self.size)

    @staticmethod
    def _rectangles(
        part: Sequence[int], gaps: np.ndarray, size: Callable[[int], int], rows: Sequence[int] | None = None
    ) -> Iterator[Job]:
        patterns: dict[bytes, list[int]] = {}
        for position, row in enumerate(gaps):
            if row.any():
                patterns.setdefault(row.tobytes(), []).append(position if rows is None else rows[position])
        for pattern, members in patterns.items():
            asked = tuple(itertools.compress(part, np.frombuffer(pattern, dtype=bool)))
            for some in _chunks(members, size(len(asked))):
                yield Job(tuple(some), asked)

    async def _work(self) -> None:
        """Take jobs until none is left and none can come back as two."""
        while not self.caller.stopping.is_set():
            if self._queue:
                job = self._queue.popleft()
                self._open += 1
                try:
                    await self._do(job)
                except StoppingError:
                    pass
                except Exception as error:  # whatever it is, what is under way is paid for and comes first
                    self._stop(error)
                finally:
                    self._open -= 1
                    self._wake()
            elif self._open:
                await self._change.wait()
            elif self._elsewhere:
                again, self._elsewhere = self._elsewhere, []
                self._open += 1
                await asyncio.sleep(GLANCE)
                self._open -= 1
                self._queue.extend(again)
                self._wake()
            else:
                return

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _stop(self, error: Exception) -> None:
        """Let no further call begin; those under way end and are stored, since they are paid for."""
        if self._error is None:
            self._error = error
        self.caller.stopping.set()

    async def _do(self, job: Job) -> None:
        if job.held:
            await self._ask(job)
        else:
            self._queue.extendleft(reversed(self.claimed(*self._with_next(job))))

    def _with_next(self, job: Job) -> list[Job]:
        """The job with those next in the queue, to be claimed at once; towards the end fewer: other processes want some."""
        jobs = [job]
        most = min(AHEAD, len(self._queue) // self.caller.settings.workers)
        while len(jobs) < most and not self._queue[0].held:
            jobs.append(self._queue.popleft())
        return jobs

    def claimed(self, *jobs: Job) -> list[Job]:
        """What of the jobs is ours to ask, as jobs; what is known by now is taken over, what others ask is left to them."""
        pairs = {pair: position for job in jobs for pair, position in self._pairs(job).items()}
        claim = self.store.claim(list(pairs))
        for pair, answer in claim.known.items():
            self._take(pairs[pair], answer)
        self._held.update(claim.mine)
        if len(claim.mine) == len(pairs):
            return [replace(job, held=True) for job in jobs]
        mine, theirs = ({pairs[pair] for pair in part} for part in (claim.mine, claim.theirs))
        self._elsewhere.extend(part for job in jobs for part in self._shaped(job, theirs, held=False))
        return [part for job in jobs for part in self._shaped(job, mine, held=True)]

    def _shaped(self, job: Job, wanted: set[tuple[int, int]], held: bool) -> Iterator[Job]:
        gaps = np.array([[(t, k) in wanted for k in job.questions] for t in job.items])
        for part in self._rectangles(job.questions, gaps, lambda _: len(job.items), job.items):
            yield Job(part.items, part.questions, held)

    def _pairs(self, job: Job) -> dict[Pair, tuple[int, int]]:
        return {(self.questions[k], self.items[t]): (t, k) for t in job.items for k in job.questions}

    async def _ask(self, job: Job) -> None:
        """Call once, or, after a reply that cannot be used, leave the halves to the queue or give up."""
        hung = self._hung[job.items[0]] if len(job.items) == 1 else []
        if len(hung) >= MOST_TRIES:
            await self._give_up(job, hung[-1])
            return
        try:
            recorded = await self._call(job)
        except CallError as error:
            if error.remedy is Remedy.AGAIN:
                hung.append(error.reason)
            await self._less(job, error.reason, hung)
            return
        hung.clear()
        if self.caller.health.good:
            self._end(stored=True)
        self._finish(self._pairs(job), recorded.answers)

    async def _call(self, job: Job) -> Recorded:
        request = self.render(job.items, job.questions)
        return await self.caller.ask(request, lambda reply: self._read(reply, job, request.described))

    def _read(self, reply: Reply, job: Job, described: bool) -> Recorded:
        answers = parse_extract(reply.text, len(job.items), len(job.questions), described)
        sure = probability_of_yes(reply.tokens) if answers.size == 1 else None
        found = {
            (self.questions[k], self.items[t]): StoredAnswer(float(answers[row, column]), "", sure)
            for row, t in enumerate(job.items)
            for column, k in enumerate(job.questions)
        }
        return Recorded(answers=found)

    async def _less(self, job: Job, reason: str, hung: list[str]) -> None:
        """Ask for less, or later: a moment's trouble is no verdict. What brings no reply at all can take long, so not often."""
        if self.caller.stopping.is_set():
            return
        several = len(job.items) * len(job.questions) > 1
        if several and not hung:
            self._queue.extendleft(reversed(job.halves()))
        elif max(job.tries + 1, len(hung)) >= MOST_TRIES:
            await self._give_up(job, reason)
        else:
            for part in job.halves() if several else [replace(job, tries=job.tries + 1)]:
                # Last of all while most calls go well; else soon, so that it shows what is wrong before it has cost much.
                self._queue.insert(len(self._queue) if self.caller.health.good else 1, part)

    async def _give_up(self, job: Job, reason: str) -> None:
        """No valid answer: NaN, stored with its reason, since the same question would fail and cost again.

        Not before the model has answered another question after it, though: one in trouble, or one that cannot keep to the
        form, would fill the store with nothing.
        """
        sure = self.caller.health.good or bool(self._hung[job.items[0]])  # no reply, while the server replied to others
        self._given_up.append((job, reason, sure))
        if self._n_given_up >= HOPELESS:
            await self._prove_others()

    @property
    def _n_given_up(self) -> int:
        return sum(len(job.items) * len(job.questions) for job, *_ in self._given_up)

    async def _prove_others(self) -> None:
        """See that the model answers a question, again, about another item than those it failed at, which then are given up.

        Raises ModelError if it does not, or if nothing was ever answered and too much given up.
        """
        failed = {t for job, *_ in self._given_up for t in job.items}
        known = [(t, k) for t, k in np.argwhere(~np.isnan(self.values)).tolist() if failed and t not in failed]
        for t, k in known[:: max(1, len(known) // MOST_TRIES)][:MOST_TRIES]:
            with suppress(CallError):
                await self._call(Job((t,), (k,)))
                self._end(stored=True)
                return
        if self._given_up and (known or self._n_given_up >= HOPELESS):  # another worker may have had an answer meanwhile
            job, reason, _ = self._given_up[-1]
            raise ModelError(
                f"{self.questions[job.questions[0]].model} gave no valid answer to any of {self._n_given_up} questions in a row "
                f"({reason}); what was answered is stored; try again later, another model, a larger --max-output-tokens, or "
                "--features-per-call 1"
            )

    def _end(self, stored: bool) -> None:
        """Known to have no answer; but what was given up while most calls failed is asked once more."""
        given_up, self._given_up = self._given_up, []
        for job, reason, sure in given_up:
            if stored and not sure and job.tries < MOST_TRIES:
                self._queue.append(replace(job, tries=MOST_TRIES))
                continue
            pairs = self._pairs(job)
            answers = {pair: StoredAnswer(float("nan"), reason) for pair in pairs}
            self.failures[reason] += len(pairs)
            if stored:
                attempt = self.store.begin(self.caller.run, "given up", self.questions[job.questions[0]].model, Spending())
                self.store.settle(attempt, reason, Spending(), answers)
            else:
                self.store.release(list(pairs))
            self._finish(pairs, answers)

    def _finish(self, pairs: Mapping[Pair, tuple[int, int]], answers: Mapping[Pair, StoredAnswer]) -> None:
        for pair, answer in answers.items():
            self._take(pairs[pair], answer)
        self._held.difference_update(pairs)
        self.progress(self._n_known, self.known.size)

    def _take(self, position: tuple[int, int], answer: StoredAnswer) -> None:
        self._n_known += not self.known[position]
        self.values[position] = answer.value
        self.known[position] = True

    async def _keep_leases(self) -> None:
        """Calls can wait longer than a lease lasts."""
        while True:
            await asyncio.sleep(RENEWAL)
            if self._held:
                self.store.renew(list(self._held))


def _chunks(values: Iterable[int], size: int) -> Iterator[list[int]]:
    values = list(values)
    for start in range(0, len(values), size):
        yield values[start : start + size]
