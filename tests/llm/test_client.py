"""One call: what of a reply is taken, and what each fault calls for."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from fault_server import FAULTS, Call, FaultServer, always, contains_truth, truthful_answerer
from multidict import CIMultiDict
from raw_client import chat

from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.reading import Reply, retry_after, status_error

BODY = chat(["granite", "brick"], ["granite", "brick"]) | {"max_tokens": 5000, "temperature": 0.2}
TRUE = truthful_answerer(contains_truth)
CONTENT = TRUE(BODY)
# What the client says to a fault that it can see; faults inside the content are left to others. `free`: nothing was billed.
SEEN: dict[str, tuple[Remedy, str, bool]] = {
    "429": (Remedy.WAIT, "status 429, rate_limit_exceeded", True),
    "429_seconds": (Remedy.WAIT, "status 429, rate_limit_exceeded", True),
    "429_date": (Remedy.WAIT, "status 429, rate_limit_exceeded", True),
    "429_nonsense": (Remedy.WAIT, "status 429, rate_limit_exceeded", True),
    "429_quota": (Remedy.STOP, "the account's quota is used up (status 429, insufficient_quota)", True),
    "500": (Remedy.AGAIN, "status 500, server_error", True),
    "503_html": (Remedy.AGAIN, "status 503", True),
    "200_html": (Remedy.AGAIN, "a body that is not JSON", False),
    "200_error": (Remedy.AGAIN, "an error in place of a reply", False),
    "401_key": (Remedy.STOP, "the server refuses the key (status 401, invalid_api_key); check OPENAI_API_KEY", True),
    "400_context": (Remedy.SPLIT, "too long for the model (status 400, context_length_exceeded)", True),
    "400_content_filter": (Remedy.SPLIT, "content filter", True),
    "400_json_schema": (
        Remedy.PLAINER,
        "the server does not know the reply format (status 400, invalid_request_error)",
        True,
    ),
    "empty_body": (Remedy.AGAIN, "a body that is not JSON", False),
    "bad_json": (Remedy.AGAIN, "a body that is not JSON", False),
    "bad_utf8": (Remedy.AGAIN, "a body that is not JSON", False),
    "content_length_short": (Remedy.AGAIN, "a body that is not JSON", False),
    "hang": (Remedy.AGAIN, "no complete reply in time", False),
    "hang_amid": (Remedy.AGAIN, "no complete reply in time", False),
    "trickle": (Remedy.AGAIN, "no complete reply in time", False),
    "trickle_body": (Remedy.AGAIN, "no complete reply in time", False),
    "choices_missing": (Remedy.AGAIN, "a reply without exactly one choice", False),
    "choices_empty": (Remedy.AGAIN, "a reply without exactly one choice", False),
    "choices_two": (Remedy.AGAIN, "a reply without exactly one choice", False),
    "refusal": (Remedy.SPLIT, "refusal", False),
    "content_filter": (Remedy.SPLIT, "content filter", False),
    "content_filter_valid": (Remedy.SPLIT, "content filter", False),
    "length_invalid": (Remedy.SPLIT, "the reply was cut off", False),
    "length_valid": (Remedy.SPLIT, "the reply was cut off", False),
    "null_content": (Remedy.SPLIT, "an empty reply", False),
    "empty_content": (Remedy.SPLIT, "an empty reply", False),
    "content_object": (Remedy.SPLIT, "an empty reply", False),
}
LONG = (Remedy.AGAIN, "a reply longer than any that was asked for", False)
SEEN |= dict.fromkeys(["endless", "endless_chunked", "endless_chunks", "gzip_bomb", "gzip_endless", "deflate_bomb"], LONG)
BROKEN = (Remedy.AGAIN, "the call failed (ClientResponseError)", False)
SEEN |= dict.fromkeys(["endless_head", "endless_line", "encoding_unknown"], BROKEN)
SEEN["endless_error"] = (Remedy.WITHOUT, "the server refuses the request (status 400)", True)
# Seconds that are asked for; None where that is no moment.
PAUSES = {"429_zero": 0.0, "429_negative": 0.0, "429_past": 0.0, "429_no_date": None, "429_days": 259_200.0}
SEEN |= dict.fromkeys(PAUSES, SEEN["429"])
PAUSES |= {"500_zero": 0.0, "500_days": 259_200.0, "529_ages": 1e12}
SEEN |= {name: (Remedy.WAIT, f"status {name[:3]}, overloaded_error", True) for name in ("500_days", "529_ages")}
SEEN["500_zero"] = (Remedy.AGAIN, "status 500, overloaded_error", True)
REFUSALS = {"400_max_tokens": "400, unsupported_parameter", "400_max_tokens_top": "400", "422_max_tokens": "422, extra_forbidden"}
SEEN |= {name: (Remedy.PLAINER, f"the server refuses max_tokens (status {said})", True) for name, said in REFUSALS.items()}
SEEN["400_temperature"] = (Remedy.PLAINER, "the server refuses temperature (status 400, unsupported_parameter)", True)
SEEN["400_logprobs"] = (
    Remedy.STOP,
    "the server refuses logprobs (status 400): Unsupported parameter: 'logprobs' is not supported with this model.",
    True,
)
SEEN["400_context_top"] = (Remedy.SPLIT, "too long for the model (status 400)", True)
SEEN["400_response_format"] = SEEN["400_json_schema"]
SEEN |= {
    f"{status}_policy": (Remedy.WITHOUT, f"the server refuses the request (status {status}, invalid_request_error)", True)
    for status in (400, 422, 451)
}
SEEN["403_firewall"] = (Remedy.WITHOUT, "the server refuses the request (status 403)", True)
SEEN["413_html"] = (Remedy.SPLIT, "too long for the model (status 413)", True)
SEEN["reasoning_draft"] = (Remedy.SPLIT, "an empty reply", False)
SEEN["finish_MAX_TOKENS"] = (Remedy.SPLIT, "the reply was cut off", False)
SEEN["finish_tool_calls"] = (Remedy.SPLIT, "a call of a tool in place of a reply", False)
SEEN["finish_error"] = (Remedy.AGAIN, "an error in place of a reply", False)
UNTOLD = {"usage_missing", "usage_wrong", "usage_zero", "usage_nothing_said", "usage_negative", "usage_decimals"}
AS_EVER = {"chunked", "content_parts", "reasoning_only", "finish_eos", "finish_end_turn", "finish_STOP", "finish_unheard_of"}
AS_EVER |= {"usage_huge", "usage_lies", "answer_boolean", *UNTOLD}
CONNECTION = ("close_before", "reset_before", "reset_head", "reset_amid", "chunked_cut", "content_length_long")
SEEN |= dict.fromkeys(CONNECTION, (Remedy.AGAIN, "the connection failed", False))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def call(base_url: str, body: dict[str, Any] = BODY, seconds: float = 5.0) -> Reply:
    async def once() -> Reply:
        client = ChatClient(base_url, 2)
        try:
            async with asyncio.timeout(seconds):
                return await client.chat(body, 1_000_000)
        except TimeoutError:
            raise CallError(Remedy.AGAIN, "no complete reply in time") from None
        finally:
            await client.close()

    return asyncio.run(once())


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault(name: str) -> None:
    with FaultServer(TRUE, always(name), retry_after=0.5, trickle_seconds=0.05) as server:
        body = BODY | ({"logprobs": True} if "logprobs" in name else {})
        if name in SEEN:
            with pytest.raises(CallError) as caught:
                call(server.base_url, body, seconds=0.2 if name[:4] in ("hang", "tric") else 5)
            error = caught.value
            early = name == "content_length_short" and "(Client" in error.reason  # bytes too many, seen at once or not at all
            reason = error.reason if early else SEEN[name][1]
            assert (error.remedy, error.reason, error.free) == (SEEN[name][0], reason, SEEN[name][2])
            assert error.parameter == {**dict.fromkeys(REFUSALS, "max_tokens"), "400_temperature": "temperature"}.get(name, "")
            assert error.__cause__ is None
            assert str(error) == error.reason
            if name == "429_seconds":
                assert error.retry_after == 0.5
            elif name == "429_date":
                assert error.retry_after is not None
                assert 0 < error.retry_after <= 1.5
            else:
                assert error.retry_after == PAUSES.get(name)
            if name in ("refusal", "length_valid", "choices_two", "content_filter_valid"):
                assert error.usage is not None
        else:
            reply = call(server.base_url, body)
            assert name == "usage_lies" or (reply.usage is None) == (name in UNTOLD)
            assert (reply.text == CONTENT) == (name in AS_EVER or name.startswith("logprobs") or bool(server.counts["right"]))
            assert bool(reply.tokens) == (name == "logprobs_huge")  # so low a one is as good as none
        assert server.total == 1  # no second try here


def test_what_is_sent() -> None:
    body = chat(["\ud83c half", "é \u2028 🏠"], ["x"]) | {"model": "m"}
    with FaultServer(TRUE) as server:
        call(server.base_url, body)
        call(server.base_url + "/", body)
        (one, two) = server.requests
    assert one.body == two.body == body
    assert one.headers["authorization"] == "Bearer sk-planted"
    assert one.headers["content-type"] == "application/json"


def test_no_server() -> None:
    with FaultServer(TRUE) as server:
        pass
    for address in (server.base_url, "http://no-such-host.invalid/v1"):
        with pytest.raises(CallError) as caught:
            call(address)
        assert (caught.value.remedy, caught.value.reason, caught.value.free) == (Remedy.AGAIN, "no connection", True)


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    paths: list[str] = []

    def note(call: Call) -> None:
        paths.append(call.path)

    with FaultServer(TRUE) as server:
        server.fallbacks.append(note)
        monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
        with pytest.raises(CallError, match="status 404"):
            call("http://model.invalid/v1")
        assert paths == ["http://model.invalid/v1/chat/completions"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert call(server.base_url).text == CONTENT
        assert len(paths) == 1


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(TRUE) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "  sk-blanks\n")
        call(server.base_url)
        monkeypatch.delenv("OPENAI_API_KEY")
        call(server.base_url)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert ChatClient(None, 1).endpoint == server.base_url + "/"
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk-blanks", "Bearer none"]


def error_bytes(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("status", "content", "remedy"),
    [
        (301, b"", Remedy.STOP),
        (308, b"", Remedy.STOP),
        (400, b"", Remedy.WITHOUT),
        (400, b"\xff", Remedy.WITHOUT),
        (400, b"[" * 100_000, Remedy.WITHOUT),
        (400, error_bytes(message="max_tokens is too large", code=None), Remedy.STOP),
        (400, error_bytes(message="This model's maximum context length is 5"), Remedy.SPLIT),
        (400, error_bytes(type="exceed_context_size_error"), Remedy.SPLIT),
        (400, error_bytes(message={"a": 1}, code=["x"], type=3), Remedy.WITHOUT),
        (400, error_bytes(message="no", param="response_format"), Remedy.PLAINER),
        (400, b'{"error": "json_schema is not supported"}', Remedy.PLAINER),
        (400, error_bytes(code="content_policy_violation"), Remedy.SPLIT),
        (402, b"", Remedy.STOP),
        (403, b"", Remedy.WITHOUT),
        (401, b"", Remedy.STOP),
        (404, error_bytes(code="model_not_found"), Remedy.STOP),
        (408, b"", Remedy.AGAIN),
        (409, b"", Remedy.AGAIN),
        (413, b"", Remedy.SPLIT),
        (422, error_bytes(message="response_format: extra inputs"), Remedy.PLAINER),
        (429, b"<html>", Remedy.WAIT),
        (429, error_bytes(type="insufficient_quota"), Remedy.STOP),
        (429, error_bytes(code="billing_hard_limit_reached"), Remedy.STOP),
        (500, error_bytes(code="context_length_exceeded"), Remedy.AGAIN),
        (502, b"", Remedy.AGAIN),
        (529, b"", Remedy.AGAIN),
    ],
)
def test_statuses(status: int, content: bytes, remedy: Remedy) -> None:
    error = status_error(status, {}, content, BODY, "sk-planted")
    assert error.remedy is remedy
    assert error.free
    assert f"status {status}" in error.reason or error.reason == "content filter"
    assert len(error.reason) < 120


def test_an_overloaded_server_that_names_a_pause_is_waited_for() -> None:
    error = status_error(503, {"retry-after": "3"}, b"")
    assert (error.remedy, error.retry_after) == (Remedy.WAIT, 3.0)


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"Retry-After": "2"}, 2, 2),
        ({"retry-after": " 0.25 "}, 0.25, 0.25),
        ({"Retry-After": "-3"}, 0, 0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "9"}, 9, 9),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 1e11, 1e12),
    ],
)
def test_retry_after(headers: dict[str, str], low: float, high: float) -> None:
    found = retry_after(CIMultiDict(headers))
    assert found is not None
    assert low <= found <= high


def test_retry_after_as_a_date() -> None:
    for seconds, low in ((30, 28), (-30, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        found = retry_after({"retry-after": date})
        assert found is not None
        assert low <= found <= max(0, seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "Fri, 31 Dec 99999999 23:59:59 GMT",
        "Fri, 99 Zzz 2020",
        "Wed, 21 Oct 2015 07:28:00",
        "\x00",
        "٣",
    ],
)
def test_retry_after_that_says_nothing(text: str) -> None:
    found = retry_after({"retry-after": text})
    assert found is None or (text == "٣" and found == 3)
