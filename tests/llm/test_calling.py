"""One call until it succeeds: how often, after what pause, in which format, and what the journal says of it."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from answerers import numbered_lines
from fault_server import FaultServer, always, contains_truth, every, script, truthful_answerer

from genz_ppl.errors import ModelError
from genz_ppl.llm.served import calling, pacing
from genz_ppl.llm.served.calling import StoppingError
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.health import Health

TRUE = truthful_answerer(contains_truth)


@pytest.fixture
def houses(make_world: Any) -> Any:
    """30 items and one feature; a call an item."""
    return make_world([f"house {i}" + " of granite" * (i % 2) for i in range(30)], ["granite"])


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def fill(model: Any, world: Any) -> None:
    np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_as_many_attempts_as_allowed(serving: Any, houses: Any, attempts: int) -> None:
    with FaultServer(TRUE, always("500")) as server:
        model = serving(server.base_url, attempts=attempts, workers=1)
        with pytest.raises(
            ModelError, match=rf"failed {attempts} times in a row \(status 500, server_error\); what was answered"
        ):
            fill(model, houses)
        assert server.total == attempts + 1  # and a harmless call, to see whether it works at all
    with FaultServer(TRUE, script(*["500"] * (attempts - 1))) as server:
        fill(serving(server.base_url, attempts=attempts, workers=1), houses)
        assert server.total == attempts - 1 + 3


def test_pauses_double_and_vary(serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.04)
    monkeypatch.setattr(calling, "LONGEST_PAUSE", 0.1)
    with FaultServer(TRUE, script(*["500"] * 5)) as server:
        fill(serving(server.base_url, workers=1, items_per_call=30), houses)
        pauses = gaps([request.time for request in server.requests])
    for pause, most in zip(pauses, [0.04, 0.08, 0.1, 0.1, 0.1], strict=True):
        assert most / 2 <= pause <= most + 0.1
    assert len({calling._jittered(3) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "options",
    [{}, {"requests_per_minute": 1000}, {"tokens_per_minute": 2_000_000}, {"max_tokens": 40_000}, {"max_calls": 31}],
    ids=str,
)
def test_one_pause_for_all(
    serving: Any, houses: Any, watched: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    """Also for workers that wait for their share of a minute, or for room under a cap, when the pause begins."""
    monkeypatch.setattr(pacing, "MINUTE", 1.0)
    with FaultServer(TRUE, script(*[None] * 9, "429_seconds"), retry_after=0.4, latency=0.01) as server:
        model = serving(server.base_url, items_per_call=1, workers=8, **options)
        sent, pauses = watched(model)
        fill(model, houses)
        assert server.total == len(sent) == 31
        ((moment, seconds),) = pauses
        assert seconds == 0.4
        assert not watched.between(sent, moment, moment + seconds)


def test_a_pause_without_word_from_the_server(serving: Any, houses: Any, watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.4)
    with FaultServer(TRUE, script(*[None] * 9, "429"), latency=0.01) as server:
        model = serving(server.base_url, items_per_call=1, workers=8)
        sent, pauses = watched(model)
        fill(model, houses)
        ((moment, seconds),) = pauses
        assert 0.2 <= seconds <= 0.4
        assert not watched.between(sent, moment, moment + seconds)


def test_429s_do_not_count_as_attempts(serving: Any, houses: Any) -> None:
    with FaultServer(TRUE, script(*["429"] * 8)) as server:
        fill(serving(server.base_url, attempts=1, workers=1), houses)
        assert server.total == 8 + 3


def test_patience_ends(serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PATIENCE", 0.3)
    with FaultServer(TRUE, always("429")) as server:
        model = serving(server.base_url)
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"takes no calls \(status 429, rate_limit_exceeded\); .* try again later"):
            fill(model, houses)
        assert 0.3 <= time.monotonic() - started < 2
        assert model.spent.tokens_in == 0


def test_too_long_a_pause_is_not_waited_for(serving: Any, houses: Any) -> None:
    with FaultServer(TRUE, always("429_seconds"), retry_after=3600) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match="takes no calls"):
            fill(serving(server.base_url), houses)
        assert time.monotonic() - started < 1
        assert server.total <= 4


@pytest.mark.parametrize(
    ("name", "formats", "calls"),
    [("400_json_schema", ["json_schema", "json_object"], 2), ("400_response_format", ["json_schema", "json_object", None], 3)],
)
def test_plainer_formats(serving: Any, houses: Any, name: str, formats: list[str | None], calls: int) -> None:
    with FaultServer(TRUE, always(name)) as server:
        model = serving(server.base_url, workers=1)
        fill(model, houses)
        assert server.total == calls + 2  # found out once
        bodies = [request.body for request in server.requests]
        assert [(body.get("response_format") or {}).get("type") for body in bodies] == [*formats, *formats[-1:] * 2]
        for body, form in zip(bodies, formats, strict=False):
            system = body["messages"][0]["content"]
            assert ("Its JSON schema: {" in system) == (form != "json_schema")
        assert model.spent.calls == calls + 2


def test_fenced_replies_are_read_where_the_server_cannot_do_better(serving: Any, houses: Any) -> None:
    with FaultServer(TRUE, always("fenced")) as server:
        fill(serving(server.base_url, workers=1), houses)
        assert server.total == 5


@pytest.mark.parametrize("name", ["think_draft", "think_unpaired", "think_tagged", "content_parts", "reasoning_only"])
def test_thoughts_make_no_format_plainer(serving: Any, houses: Any, name: str) -> None:
    with FaultServer(TRUE, always(name)) as server:
        fill(serving(server.base_url, workers=1), houses)
        assert server.total == 3
        assert {request.body["response_format"]["type"] for request in server.requests} == {"json_schema"}


@pytest.mark.parametrize("name", ["empty_content", "finish_error", "refusal", "400_context", "500", "reset_before", "413_html"])
def test_where_most_calls_fail_the_server_is_asked_something_harmless(
    serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever the kind of the failures, and whoever's they are; the others wait meanwhile."""
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.05)
    with FaultServer(TRUE, lambda number, _: name if number > 5 else None, latency=0.01) as server:
        model = serving(server.base_url, items_per_call=1, workers=8, attempts=4)
        with pytest.raises(ModelError, match=r"failed 4 times in a row .*what was answered is stored"):
            fill(model, houses)
        requests = server.requests
    assert serving.stored(model, houses)[1].sum() == 5
    harmless = [number for number, request in enumerate(requests) if not numbered_lines(request.body)[0]]
    assert harmless[-4:] == [*range(len(requests) - 4, len(requests))]  # only these, with pauses between them
    assert len(requests) <= 5 + 20 + 8 + 4 + 4
    assert all(requests[k].time - requests[k - 1].time > 0.02 for k in harmless[-3:])


def test_health_is_judged_by_the_recent_calls() -> None:
    async def go() -> None:
        health, checks = Health(), list[bool]()

        async def check() -> None:
            checks.append(health.good)

        assert health.good
        for usable in (*[True] * 10, *[False] * 10):
            health.note(usable)
        await health.restored(check)
        assert (health.good, checks) == (True, [])
        health.note(usable=False)
        assert not health.good
        await asyncio.gather(*(health.restored(check) for _ in range(3)))
        assert checks == [False]  # one asks for all
        assert health.good
        for _ in range(19):
            health.note(usable=False)
        await health.restored(check)
        assert len(checks) == 1  # too few to tell

    asyncio.run(go())


def test_of_several_in_doubt_one_asks() -> None:
    async def go(fault: CallError | None) -> tuple[list[bool], int]:
        health, checks = Health(), list[None]()

        async def check() -> None:
            checks.append(None)
            await asyncio.sleep(0.01)
            if fault is not None:
                raise fault
            health.note(usable=True)

        return await asyncio.gather(*(health.works(time.monotonic(), check) for _ in range(4))), len(checks)

    assert asyncio.run(go(None)) == ([True] * 4, 1)
    assert asyncio.run(go(CallError(Remedy.AGAIN, "no luck"))) == ([False] * 4, 1)
    found, made = asyncio.run(go(CallError(Remedy.WAIT, "too many")))  # so it works
    assert (found, made) == ([True] * 4, 4)


@pytest.mark.parametrize("name", ["429_quota", "401_key"])
def test_some_faults_end_the_run_at_once(serving: Any, houses: Any, name: str) -> None:
    with FaultServer(TRUE, always(name), latency=0.02) as server:
        with pytest.raises(ModelError, match="what was answered is stored"):
            fill(serving(server.base_url, workers=4, items_per_call=1), houses)
        assert server.total == 4


def test_those_who_wait_for_their_minute_do_not_hold_up_the_end(
    serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "MINUTE", 10.0)  # one call every half second
    with FaultServer(TRUE, every(2, "429_quota")) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match="quota"):
            fill(serving(server.base_url, requests_per_minute=20, workers=8, items_per_call=1), houses)
        assert server.total <= 2 + 8
        assert time.monotonic() - started < 2


def test_no_more_calls_a_minute(serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MINUTE", 1.0)
    with FaultServer(TRUE, every(4, "500")) as server:
        fill(serving(server.base_url, requests_per_minute=40, workers=8, items_per_call=1), houses)
        times = [request.time for request in server.requests]
        assert server.total == 39  # repeated calls count, too
    for begun in times:
        assert sum(begun <= moment < begun + 1 for moment in times) <= 41


def test_a_call_is_in_the_journal_before_it_is_made(serving: Any, houses: Any) -> None:
    seen: list[tuple[int, int]] = []

    def look(body: dict[str, Any]) -> str:
        with closing(sqlite3.connect(serving.path)) as connection:
            seen.append(connection.execute("SELECT count(*), count(settled) FROM attempts").fetchone())
        return TRUE(body)

    with FaultServer(look, script(None, "reset_before", "refusal")) as server:
        fill(serving(server.base_url, workers=1, items_per_call=10), houses)
    assert seen == [(n, n - 1) for n in range(1, 7)]
    outcomes = [outcome for (outcome,) in serving.rows("SELECT outcome FROM attempts ORDER BY id")]
    assert outcomes == ["answered", "the connection failed", "refusal", "answered", "answered", "answered"]


def test_calls_that_cost_nothing_are_repeated_too(serving: Any) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, attempts=3, timeout=0.05)
        made: list[None] = []

        async def flaky() -> str:
            made.append(None)
            if len(made) == 1:
                raise CallError(Remedy.AGAIN, "no luck")
            if len(made) == 2:
                await asyncio.sleep(1)
            return "done"

        assert model.wait(model.caller.repeat(flaky)) == "done"
        assert len(made) == 3

        async def dead() -> None:
            made.append(None)
            raise CallError(Remedy.AGAIN, "no luck")

        with pytest.raises(ModelError, match=r"failed 3 times in a row \(no luck\)"):
            model.wait(model.caller.repeat(dead))
        assert len(made) == 6
        assert server.total == 0
    assert serving.rows("SELECT count(*) FROM attempts") == [(0,)]


def test_sleep_ends_with_the_run(serving: Any) -> None:
    model = serving("http://127.0.0.1:1/v1")

    async def stopped() -> float:
        started = time.monotonic()
        asyncio.get_running_loop().call_later(0.05, model.caller.stopping.set)
        with pytest.raises(StoppingError):
            await model.caller.sleep(30)
        return time.monotonic() - started

    assert 0.04 < model.wait(stopped()) < 1
