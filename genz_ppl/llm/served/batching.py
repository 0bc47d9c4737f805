"""Questions through the Batch endpoint: half the price, answers within a day, and no answer lost to a crash on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from genz_ppl.errors import ModelError
from genz_ppl.llm.served.budget import Reservation
from genz_ppl.llm.served.calling import GLANCE, Caller
from genz_ppl.llm.served.client import Batch
from genz_ppl.llm.served.extraction import Extraction
from genz_ppl.llm.served.faults import CallError, Remedy, one_reply
from genz_ppl.llm.served.keys import digest
from genz_ppl.llm.served.reading import Reply, read_completion, read_object
from genz_ppl.llm.served.replies import InvalidReplyError, find_object, parse_extract, stored_profile
from genz_ppl.llm.served.requests import FORMATS, TOKEN_BYTES, Request
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.batches import Batches, BatchJob, BatchLedger, BatchRow
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.rows import Pair, StoredAnswer
from genz_ppl.llm.store.store import AnswerStore

# What a server takes in one batch: requests, and bytes of its file.
MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000
# The most bytes of a line of results in the mean, besides the tokens a user allows: 500 items by 50 features need no more.
LINE_BYTES = 2**17
# Seconds between looks at a batch: at first, and at the most.
FIRST_LOOK, LONGEST_LOOK = 1.0, 60.0
# Batches after one another for the same questions, where they expire half done.
MOST_ROUNDS = 4
# Jobs whose answers are stored in one transaction.
PORTION = 500
# A request to be sent in a batch, and what it asks.
Asked = tuple[BatchJob, Request]


def batches_of(store: Store) -> Batches:
    """The batches of a store, wherever it is."""
    if isinstance(store, AnswerStore):
        return BatchLedger(store)
    from genz_ppl.llm.store.postgres.batches import PostgresBatches  # with psycopg, an extra
    from genz_ppl.llm.store.postgres.store import PostgresStore

    assert isinstance(store, PostgresStore)
    return PostgresBatches(store)


class Batching:
    """Sends batches of one model and brings in their results; shared by all runs on a store, whoever sent a batch."""

    def __init__(self, caller: Caller) -> None:
        self.caller, self.client, self.store = caller, caller.client, caller.store
        self.ledger = batches_of(caller.store)
        self._reservations: dict[str, Reservation] = {}

    async def collect(self) -> None:
        """Bring in what is open at this server, such as a batch sent before a crash; waits until it is over.

        A batch that another process waits for is left to that one.
        """
        for row in self.ledger.open(self.client.endpoint):
            await self._finish(row)

    async def ask(self, asked: Sequence[Asked]) -> None:
        """Send requests whose pairs are claimed, in as few batches as the server and the caps allow, and store what comes back.

        Raises BudgetError if a cap leaves no room for a single one.
        """
        for part in self._parts(asked):
            await self._finish(await self._add(part))

    def _parts(self, asked: Sequence[Asked]) -> Iterator[list[Asked]]:
        part: list[Asked] = []
        size, most, budget = 0, Spending(), self.caller.budget
        used = budget.spent + budget.reserved
        for job, request in asked:
            length, need = len(self._line(0, request)), self._most(request)
            full = len(part) >= MOST_REQUESTS or size + length > MOST_BYTES
            if part and (full or budget.caps.passed(used + most + need) is not None):
                yield part
                part, size, most = [], 0, Spending()
                used = budget.spent + budget.reserved
            part.append((job, request))
            size, most = size + length, most + need
        if part:
            yield part

    def _most(self, request: Request) -> Spending:
        price = self.caller.prices.get(request.model)
        cost = 0.0 if price is None else price.batch().cost(request.most_tokens_in, request.tokens_out)
        return Spending(1, request.most_tokens_in, request.tokens_out, cost)

    async def _add(self, part: Sequence[Asked]) -> BatchRow:
        """Journal, reserve, send. A crash between any two of these leaves a row that `collect` can go on from."""
        most = sum((self._most(request) for _, request in part), Spending())
        model = part[0][1].model
        reservation = await self.caller.set_aside("batch", model, most)
        try:
            jobs = [replace(job, most=(request.most_tokens_in, request.tokens_out)) for job, request in part]
            row = self.ledger.add(self.caller.run, self.client.endpoint, model, jobs, most, reservation.attempt)
        except BaseException:
            if reservation.attempt is not None:
                self.store.settle(reservation.attempt, "not sent", Spending())
            self.caller.budget.settle(reservation, Spending())
            raise
        self._reservations[row.token] = reservation
        content = b"".join(self._line(number, request) for number, (_, request) in enumerate(part))
        file = await self.caller.repeat(lambda: self.client.upload(f"genz-{row.token}.jsonl", content))
        batch = await self.caller.repeat(lambda: self._found_or_started(row, file))
        return self.ledger.sent(row, batch.identifier)

    async def _found_or_started(self, row: BatchRow, file: str) -> Batch:
        """A lost reply does not tell whether the batch was started, so it is looked for first."""
        return await self.client.find_batch(row.token) or await self.client.start_batch(file, row.token)

    def _line(self, number: int, request: Request) -> bytes:
        body = request.body(FORMATS[0], self.caller.settings, self.caller.refused[request.model])
        line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line).encode() + b"\n"

    async def _finish(self, row: BatchRow) -> None:
        """Wait for a batch and store its results, or leave that to another process that does so already."""
        key = digest(["batch", row.token])
        while not self.store.claim_text(key):
            await self.caller.sleep(GLANCE)
            if row.token not in {other.token for other in self.ledger.open(self.client.endpoint)}:
                return
        try:
            batch = await self._over(row, key)
            spent = Spending() if batch is None else await self._store_results(row, batch)
            self.store.settle(row.attempt, "never started" if batch is None else batch.status, spent)
            self._book(row, spent)
            self.ledger.close(row)
        finally:
            self.store.release_text(key)
        if batch is not None and batch.status == "failed":
            raise ModelError(
                f"{self.client.endpoint}: the server refused a batch; leave --batch out, or look at it on the server"
            )

    async def _over(self, row: BatchRow, key: bytes) -> Batch | None:
        """The batch when nothing more will come of it; None if the server never got it. key: of the claim on waiting for it."""
        name = row.identifier
        if not name:
            found = await self.caller.repeat(lambda: self.client.find_batch(row.token))
            if found is None:
                return None
            name = found.identifier
            self.ledger.sent(row, name)
        pause = FIRST_LOOK
        while not (batch := await self.caller.repeat(lambda: self.client.batch(name))).over:
            await self.caller.sleep(pause)
            self.store.renew_texts([key])
            pause = min(LONGEST_LOOK, 1.5 * pause)
        return batch

    async def _store_results(self, row: BatchRow, batch: Batch) -> Spending:
        """Store every answer that is there, in any order of files and lines; returns what the batch used."""
        spent, answers, texts, seen = Spending(), dict[Pair, StoredAnswer](), dict[bytes, str](), set[int]()
        most = len(row.jobs) * (LINE_BYTES + TOKEN_BYTES * (self.caller.settings.max_output_tokens or 0))
        for file in batch.files:
            content = await self.caller.repeat(lambda name=file: self.client.download(name, most))  # type: ignore[misc]
            for line in content.splitlines():
                number, reply = _result(line)
                if number is None or number >= len(row.jobs) or number in seen:
                    continue
                seen.add(number)
                job = row.jobs[number]
                spent += self._used(row.model, job, reply)
                answers |= _answers(job, reply)
                texts |= _texts(job, reply)
                if len(seen) % PORTION == 0:
                    self._store(row, answers, texts)
                    answers, texts = {}, {}
        self._store(row, answers, texts)
        return spent

    def _store(self, row: BatchRow, answers: Mapping[Pair, StoredAnswer], texts: Mapping[bytes, str]) -> None:
        if answers or texts:
            attempt = self.store.begin(row.run, "part of a batch", row.model, Spending())
            self.store.settle(attempt, "answered", Spending(), answers, texts)

    def _used(self, model: str, job: BatchJob, reply: Reply | CallError) -> Spending:
        if isinstance(reply, CallError) and reply.free:
            return Spending(calls=1)
        price = self.caller.prices.get(model)
        return self.caller.booked(reply.usage, Spending(1, *job.most), None if price is None else price.batch())

    def _book(self, row: BatchRow, spent: Spending) -> None:
        """Bring the caps up to date: with this process's reservation, or against what the store had counted for the batch."""
        reservation = self._reservations.pop(row.token, None)
        budget = self.caller.budget
        if reservation is not None:
            budget.settle(reservation, spent)
        elif row.run == self.caller.run:
            budget.spent = self.store.spent(row.run)


def _result(line: bytes) -> tuple[int | None, Reply | CallError]:
    """The number of the request that a line of results answers, None if it has none, and what came of it."""
    try:
        entry = read_object(line)
    except CallError as error:
        return None, error
    name, response = entry.get("custom_id"), entry.get("response")
    number = int(name) if isinstance(name, str) and name.isascii() and name.isdigit() and len(name) < 7 else None
    body = response.get("body") if isinstance(response, dict) and response.get("status_code") == 200 else None
    if not isinstance(body, dict):
        return number, CallError(Remedy.AGAIN, "no result in a batch", free=True)
    try:
        with one_reply():
            return number, read_completion(body)
    except CallError as error:
        return number, error


def _answers(job: BatchJob, reply: Reply | CallError) -> dict[Pair, StoredAnswer]:
    """The answers in a usable reply; a request without one is simply asked again."""
    if isinstance(reply, CallError) or not job.questions:
        return {}
    try:
        values = parse_extract(find_object(reply.text), len(job.items), len(job.questions), described=False)
    except InvalidReplyError:
        return {}
    return {
        (question, item): StoredAnswer(float(values[row, column]))
        for row, item in enumerate(job.items)
        for column, question in enumerate(job.questions)
    }


def _texts(job: BatchJob, reply: Reply | CallError) -> dict[bytes, str]:
    """The profile in a usable reply to a job without questions."""
    if isinstance(reply, CallError) or job.questions:
        return {}
    try:
        return dict.fromkeys(job.items, stored_profile(find_object(reply.text)))
    except InvalidReplyError:
        return {}


async def texts_in_batches(caller: Caller, requests: Mapping[bytes, Request]) -> None:
    """Have profiles that are not stored come by batch, as far as they will. requests: the call for each, by the text's key."""
    batching = Batching(caller)
    await batching.collect()
    for _ in range(MOST_ROUNDS):
        known = caller.store.texts(list(requests))
        mine = caller.store.claim_texts([key for key in requests if key not in known])
        if not mine:
            return
        try:
            await batching.ask([(BatchJob((key,), ()), requests[key]) for key in mine])
        finally:
            caller.store.release_text(*mine)
        if not caller.store.texts(mine):
            return


async def in_batches(extraction: Extraction, batching: Batching) -> None:
    """Have the unknown answers of an extraction come by batch, as far as they will; the rest is left to ordinary calls.

    A batch that expires brings what was done in time; what is left goes into the next one, while that helps.
    """
    await batching.collect()
    extraction.look_up()
    try:
        for _ in range(MOST_ROUNDS):
            jobs = [part for job in extraction.jobs() for part in extraction.claimed(job)]
            if not jobs:
                return
            before = int(extraction.known.sum())
            await batching.ask([(extraction.named(job), extraction.render(job.items, job.questions)) for job in jobs])
            extraction.look_up()
            if int(extraction.known.sum()) == before:
                return
    finally:
        extraction.release()
