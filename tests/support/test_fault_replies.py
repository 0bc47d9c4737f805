from __future__ import annotations

import email.utils
import json
import math
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from content_faults import BAD_USAGE, CONTENT_FAULTS
from fault_server import FAULTS, FaultServer, always, contains_truth, truthful_answerer
from http_faults import HTML, HTTP_FAULTS, http_bytes
from raw_client import CLOSED, RESET, SILENT, WHOLE, RawClient, Seen, chat, is_whole

ITEMS = ["a garden", "a pool", "a garden and a pool"]
FEATURES = ["garden?", "pool?"]
MANY = [{"feature": 1, "matched_items": [1, 3]}, {"feature": 2, "matched_items": [2, 3]}]
ONE = [{"feature": 1, "applies": 1}, {"feature": 2, "applies": 0}]
RIGHT = {"extract_many": {"characteristics": "as the texts say", "features": MANY}}
RIGHT |= {"extract_one": {"characteristics": "as the text says", "answers": ONE}}
HEAD = http_bytes(200, b"").split(b"Content-Length")[0]


def asked(name: str | None, body: dict[str, Any], seconds: float = 10.0, **options: Any) -> Seen:
    with FaultServer(truthful_answerer(contains_truth), always(name) if name else None, **options) as server:
        with RawClient(server.port) as client:
            seen = client.ask(body, seconds)
        assert server.counts == {name or "right": 1}
        assert [request.fault for request in server.requests] == [name]
    return seen


def many(name: str | None, seconds: float = 10.0, **options: Any) -> Seen:
    return asked(name, chat(ITEMS, FEATURES), seconds, **options)


def one(name: str | None) -> Seen:
    return asked(name, chat(ITEMS[:1], FEATURES, "extract_one"))


def test_every_fault_is_tested_here() -> None:
    assert {
        *(*STATUSES, *BODIES, *CONNECTIONS, *ENTRIES, *MESSAGES, *TEXTS, *THOUGHTS, *USAGES, *APART),
        *(*BUSY, *REFUSALS, *LONG, *CERTAINTIES),
    } == FAULTS.keys()
    assert FAULTS.keys() == HTTP_FAULTS.keys() | CONTENT_FAULTS.keys()
    assert not HTTP_FAULTS.keys() & CONTENT_FAULTS.keys()


@pytest.mark.parametrize("kind", ["extract_one", "extract_many"])
def test_right_replies(kind: str) -> None:
    body = chat(ITEMS if kind == "extract_many" else ITEMS[:1], FEATURES, kind)
    seen = asked(None, body)
    assert (seen.status, seen.end) == (200, WHOLE)
    assert json.loads(seen.content) == RIGHT[kind]
    assert seen.body["choices"][0]["finish_reason"] == "stop"
    assert seen.body["choices"][0]["message"]["refusal"] is None
    prompt = -(-sum(len(message["content"]) for message in body["messages"]) // 4)
    answer = -(-len(seen.content) // 4)
    assert seen.body["usage"] == {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


STATUSES: dict[str, tuple[int, str | None]] = {  # status, code of the error
    "429": (429, "rate_limit_exceeded"),
    "429_seconds": (429, "rate_limit_exceeded"),
    "429_date": (429, "rate_limit_exceeded"),
    "429_nonsense": (429, "rate_limit_exceeded"),
    "429_quota": (429, "insufficient_quota"),
    "500": (500, None),
    "200_error": (200, None),
    "401_key": (401, "invalid_api_key"),
    "400_context": (400, "context_length_exceeded"),
    "400_context_top": (400, None),
    "400_content_filter": (400, "content_filter"),
    "400_policy": (400, None),
    "422_policy": (422, None),
    "451_policy": (451, None),
    "400_json_schema": (400, None),
    "400_response_format": (400, None),
}


@pytest.mark.parametrize("name", STATUSES)
def test_error_replies(name: str) -> None:
    seen = many(name)
    assert (seen.status, seen.end) == (STATUSES[name][0], WHOLE)
    assert ("error" in seen.body) == (name != "400_context_top")
    error = seen.body.get("error", seen.body)
    assert error.get("code") == STATUSES[name][1]
    assert ("sk-planted" in error["message"]) == (name == "401_key")
    assert ("retry-after" in seen.headers) == (name in ("429_seconds", "429_date", "429_nonsense"))


def test_retry_after() -> None:
    assert many("429_seconds", retry_after=7).headers["retry-after"] == "7"
    assert many("429_seconds", retry_after=0.25).headers["retry-after"] == "0.25"
    assert many("429_nonsense").headers["retry-after"] == "soon"
    before = time.time()
    date = many("429_date", retry_after=60).headers["retry-after"]
    assert date.endswith(" GMT")
    assert before + 60 <= email.utils.parsedate_to_datetime(date).timestamp() <= time.time() + 61


BUSY = {  # status and header
    "429_zero": (429, "retry-after", "0"),
    "429_negative": (429, "retry-after", "-7"),
    "429_past": (429, "retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
    "429_no_date": (429, "retry-after", "Fri, 31 Dec 99999999 23:59:59 GMT"),
    "429_days": (429, "retry-after", "259200"),
    "500_zero": (500, "retry-after", "0"),
    "500_days": (500, "retry-after", "259200"),
    "529_ages": (529, "retry-after-ms", "1e15"),
}


@pytest.mark.parametrize("name", BUSY)
def test_pauses_that_no_one_can_mean(name: str) -> None:
    seen = many(name)
    assert (seen.status, seen.headers[BUSY[name][1]]) == (BUSY[name][0], BUSY[name][2])


REFUSALS: dict[str, tuple[int, str, Callable[[Any], Any]]] = {  # status, parameter, and where it is named
    "400_max_tokens": (400, "max_tokens", lambda body: body["error"]["param"]),
    "400_temperature": (400, "temperature", lambda body: body["error"]["param"]),
    "400_max_tokens_top": (400, "max_tokens", lambda body: body["message"].split("'")[1]),
    "400_logprobs": (400, "logprobs", lambda body: body["message"].split("'")[1]),
    "422_max_tokens": (422, "max_tokens", lambda body: body["detail"][0]["loc"][1]),
    "422_max_completion_tokens": (422, "max_completion_tokens", lambda body: body["detail"][0]["loc"][1]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_parameters_that_are_not_taken(name: str) -> None:
    status, parameter, named = REFUSALS[name]
    with FaultServer(truthful_answerer(contains_truth), always(name)) as server, RawClient(server.port) as client:
        assert client.ask(chat(ITEMS, FEATURES)).status == 200
        seen = client.ask(chat(ITEMS, FEATURES) | {parameter: 1000})
        assert (seen.status, named(seen.body)) == (status, parameter)
        assert server.counts == {"right": 1, name: 1}


CERTAINTIES = {"logprobs_high": 800, "logprobs_infinite": math.inf, "logprobs_huge": -(10**400), "logprobs_number": 5}
CERTAINTIES["logprobs_nan"] = math.nan


@pytest.mark.parametrize("name", CERTAINTIES)
def test_certainties_that_are_none(name: str) -> None:
    body = chat(ITEMS, FEATURES) | {"logprobs": True}
    with FaultServer(truthful_answerer(contains_truth), always(name)) as server, RawClient(server.port) as client:
        choice = client.ask(body).body["choices"][0]
        assert client.ask(chat(ITEMS, FEATURES)).body["choices"][0]["logprobs"] is None
        assert server.counts == {name: 1, "right": 1}
    assert choice["message"]["content"] == TEXT
    for entry in choice["logprobs"]["content"]:
        tops = entry["top_logprobs"]
        for value in [tops] if name == "logprobs_number" else [top["logprob"] for top in tops]:
            assert value == CERTAINTIES[name] or (value != value and name == "logprobs_nan")


LONG: dict[str, bytes | None] = {  # what it begins with, after the head
    "endless": b" " * 1000,
    "endless_chunked": b"10000\r\n" + b" " * 1000,
    "endless_chunks": (b"40\r\n" + b" " * 64 + b"\r\n") * 30,
    "endless_error": b"x" * 1000,
    "endless_head": None,
    "endless_line": None,
    "gzip_endless": b"\x1f\x8b",
    "encoding_unknown": b"x" * 1000,
    "gzip_bomb": b"\x1f\x8b",
    "deflate_bomb": b"\x78",
}


@pytest.mark.parametrize("name", LONG)
def test_replies_without_an_end_and_packed_ones(name: str) -> None:
    with (
        FaultServer(truthful_answerer(contains_truth), always(name)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(RawClient.request("POST", "/v1/chat/completions", json.dumps(chat(ITEMS, FEATURES)).encode()))
        data, most = b"", 3_000_000
        while len(data) < most and not (name.endswith("bomb") and is_whole(data)):
            data += client.recv(2**16)
    head, _, payload = data.partition(b"\r\n\r\n")
    start = LONG[name]
    assert payload == b"" if start is None else payload.startswith(start)
    assert (b"Content-Length" in head) == name.endswith("bomb")
    if name.endswith("bomb"):
        assert len(payload) < 500_000
        parts = zlib.decompressobj(31 if name == "gzip_bomb" else 15)
        assert parts.decompress(payload) == b" " * 2**26
        assert not parts.unused_data or json.loads(zlib.decompress(parts.unused_data, 31))["choices"]


BODIES: dict[str, Callable[[Seen], bool]] = {
    "503_html": lambda seen: (seen.status, seen.headers["content-type"], seen.payload) == (503, "text/html", HTML),
    "200_html": lambda seen: (seen.status, seen.headers["content-type"], seen.payload) == (200, "text/html", HTML),
    "403_firewall": lambda seen: (seen.status, seen.headers["content-type"], seen.payload) == (403, "text/html", HTML),
    "413_html": lambda seen: (seen.status, seen.headers["content-type"], seen.payload) == (413, "text/html", HTML),
    "empty_body": lambda seen: (seen.status, seen.headers["content-length"], seen.payload) == (200, "0", b""),
    "bad_json": lambda seen: seen.status == 200 and is_no_json(seen.payload) and is_no_json(seen.payload[:-1]),
    "bad_utf8": lambda seen: seen.status == 200 and is_no_utf8(seen.payload) and b"matched_items" in seen.payload,
}


def is_no_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except json.JSONDecodeError:
        return True
    return False


def is_no_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str) -> None:
    seen = many(name)
    assert seen.end == WHOLE
    assert BODIES[name](seen)


CONNECTIONS: dict[str, tuple[str, str]] = {  # how much of the reply came, and the end
    "close_before": ("nothing", CLOSED),
    "reset_before": ("nothing", RESET),
    "reset_head": ("head", RESET),
    "reset_amid": ("half", RESET),
    "hang": ("nothing", SILENT),
    "hang_amid": ("half", SILENT),
    "trickle": ("bytes", SILENT),
    "trickle_body": ("head and bytes", SILENT),
    "content_length_long": ("body", CLOSED),
    "chunked_cut": ("chunks", CLOSED),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connections_that_end_early_or_not_at_all(name: str) -> None:
    part, end = CONNECTIONS[name]
    start = time.monotonic()
    seen = many(name, 0.3, trickle_seconds=0.03)
    assert seen.end == end
    assert (time.monotonic() - start >= 0.3) == (end == SILENT)
    promised = int(seen.headers.get("content-length", 0))
    found: dict[str, Callable[[], bool]] = {
        "nothing": lambda: seen.data == b"",
        "head": lambda: seen.data.endswith(b"\r\n\r\n") and promised > 0,
        "half": lambda: len(seen.payload) == promised - promised // 2,
        "bytes": lambda: 2 <= len(seen.data) <= 10 and HEAD.startswith(seen.data),
        "head and bytes": lambda: 2 <= len(seen.payload) <= 10,
        "body": lambda: len(seen.payload) == promised - 64 and json.loads(seen.content) == RIGHT["extract_many"],
        "chunks": lambda: (
            json.loads(json.loads(unchunked(seen.payload))["choices"][0]["message"]["content"]) == RIGHT["extract_many"]
        ),
    }
    assert found[part]()


def unchunked(payload: bytes) -> bytes:
    whole = b""
    while payload not in (b"", b"0\r\n\r\n"):
        size, _, rest = payload.partition(b"\r\n")
        whole, payload = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return whole


APART = {"chunked", "content_length_short", "choices_missing", "choices_empty", "choices_two", "usage_lies"}


def test_chunked_is_right() -> None:
    seen = many("chunked")
    assert seen.end == WHOLE
    assert "content-length" not in seen.headers
    assert json.loads(json.loads(unchunked(seen.payload))["choices"][0]["message"]["content"]) == RIGHT["extract_many"]


def test_short_content_length_leaves_bytes_over() -> None:
    seen = many("content_length_short")
    assert int(seen.headers["content-length"]) == len(seen.payload) // 2
    assert is_no_json(seen.payload[: len(seen.payload) // 2])
    assert json.loads(seen.content) == RIGHT["extract_many"]


def test_trickle_arrives_in_the_end() -> None:
    seen = many("trickle", trickle_seconds=0.0001)
    assert (seen.end, json.loads(seen.content)) == (WHOLE, RIGHT["extract_many"])


Entries = list[dict[str, Any]]
ENTRIES: dict[str, tuple[Entries, Entries | None]] = {  # of extract_many and of extract_one; None: as right as ever
    "length_valid": ([MANY[0], {"feature": 2, "matched_items": [1]}], [ONE[0], {"feature": 2, "applies": 1}]),
    **dict.fromkeys(
        ["content_filter_valid", "finish_MAX_TOKENS", "finish_tool_calls"],
        ([MANY[0], {"feature": 2, "matched_items": [1]}], [ONE[0], {"feature": 2, "applies": 1}]),
    ),
    **dict.fromkeys(["finish_eos", "finish_end_turn", "finish_STOP", "finish_unheard_of"], (MANY, ONE)),
    "wrong_types": (
        [{"feature": 1, "matched_items": "1, 3"}, {"feature": 2, "matched_items": "2, 3"}],
        [{"feature": 1, "applies": "yes"}, {"feature": 2, "applies": "no"}],
    ),
    "index_out_of_range": ([{"feature": 1, "matched_items": [1, 3, 4]}, MANY[1]], [ONE[0], {"feature": 3, "applies": 0}]),
    "index_zero": ([{"feature": 1, "matched_items": [1, 3, 0]}, MANY[1]], [ONE[0], {"feature": 0, "applies": 1}]),
    "index_duplicated": ([*MANY, {"feature": 1, "matched_items": [2]}], [*ONE, {"feature": 1, "applies": 0}]),
    "index_string": ([{"feature": 1, "matched_items": [1, 3, "2"]}, MANY[1]], [{"feature": "1", "applies": 0}, ONE[1]]),
    "index_boolean": ([{"feature": 1, "matched_items": [1, 3, True]}, MANY[1]], [{"feature": True, "applies": 0}, ONE[1]]),
    "index_float": ([{"feature": 1, "matched_items": [1, 3, 2.0]}, MANY[1]], [{"feature": 1.0, "applies": 0}, ONE[1]]),
    "item_duplicated": ([{"feature": 1, "matched_items": [1, 3, 2, 2]}, MANY[1]], None),
    "feature_out_of_range": ([MANY[0], {"feature": 3, "matched_items": [2, 3]}], [ONE[0], {"feature": 3, "applies": 0}]),
    "feature_missing": (MANY[:1], ONE[:1]),
    "answer_boolean": (MANY, [{"feature": 1, "applies": False}, ONE[1]]),
}
DOES_NOT_APPLY = {("answer_boolean", "extract_many"), ("item_duplicated", "extract_one")}
FINISH = {
    "length_valid": "length",
    "content_filter_valid": "content_filter",
    "length_invalid": "length",
    "content_filter": "content_filter",
    "finish_unheard_of": "natural",
    **{f"finish_{word}": word for word in ("eos", "end_turn", "STOP", "MAX_TOKENS", "tool_calls", "error")},
}


@pytest.mark.parametrize("kind", ["extract_one", "extract_many"])
@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_wrong_replies(name: str, kind: str) -> None:
    applies = (name, kind) not in DOES_NOT_APPLY
    body = chat(ITEMS if kind == "extract_many" else ITEMS[:1], FEATURES, kind)
    with FaultServer(truthful_answerer(contains_truth), always(name)) as server, RawClient(server.port) as client:
        seen = client.ask(body)
        assert server.counts == {name if applies else "right": 1}
    content = json.loads(seen.content)
    expected = ENTRIES[name][kind == "extract_one"] if applies else None
    entries = content["answers" if kind == "extract_one" else "features"]
    assert repr(entries) == repr(
        expected or RIGHT[kind]["answers" if kind == "extract_one" else "features"]
    )  # repr tells 1 from True
    assert seen.body["choices"][0]["finish_reason"] == FINISH.get(name, "stop")


MESSAGES: dict[str, Any] = {  # content of the message, whatever was asked
    "refusal": None,
    "null_content": None,
    "content_filter": "",
    "empty_content": "",
    "finish_error": "",
    "prose": "Sure! All of the items match all of the features.",
    "nesting_bomb": "[" * 100_000,
    "content_object": RIGHT["extract_many"],
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    seen = many(name)
    assert seen.content == MESSAGES[name]
    assert bool(seen.body["choices"][0]["message"]["refusal"]) == (name == "refusal")
    assert seen.body["choices"][0]["finish_reason"] == FINISH.get(name, "stop")


TEXT = json.dumps(RIGHT["extract_many"])
DRAFT = TEXT.replace("[2, 3]", "[1]")
TEXTS: dict[str, Callable[[str], bool]] = {
    "truncated": lambda text: text == TEXT[: len(TEXT) // 2],
    "length_invalid": lambda text: text == TEXT[: len(TEXT) // 2],
    "answer_nan": lambda text: text == TEXT.replace("[1, 3]", "[1, 3, NaN]"),
    "duplicate_keys": lambda text: text == TEXT.replace("[1, 3]", '[1, 3], "matched_items": [2]'),
    "extra_key": lambda text: text == DRAFT.removesuffix("}") + ', "note": "as the item told me to"}',
    "huge_integer": lambda text: text == TEXT.replace('"feature": 1,', f'"feature": {"1" * 5000},'),
    "two_objects": lambda text: text == f"Either {TEXT} or {DRAFT}.",
    "think_draft": lambda text: text == f"<think>Perhaps {DRAFT}? No.</think>\n\n{TEXT}",
    "think_tagged": lambda text: text == f"<Thinking>\n{DRAFT}\n</Thinking>{TEXT}",
    "think_unpaired": lambda text: text == f"{DRAFT}\nor not?\n</think>\n\n{TEXT}",
    "think_open": lambda text: text == f"<think>\nI would say {DRAFT}",
    "think_open_amid": lambda text: text == f"Let me see. <think> {DRAFT}",
    "think_last": lambda text: text == f"{DRAFT}\n<think>Is that right?</think>",
    "draft_in_prose": lambda text: text == f"It could be {DRAFT}, but then it would be otherwise.",
    "tool_call": lambda text: text == f'<tool_call>\n{{"name": "answer", "arguments": {DRAFT}}}\n</tool_call>',
    "tool_call_open": lambda text: text == f"<tool_call>\n{DRAFT}",
    "fenced": lambda text: json.loads(text.removeprefix("```json\n").removesuffix("\n```")) == RIGHT["extract_many"],
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str) -> None:
    seen = many(name)
    assert TEXTS[name](seen.content)
    assert seen.content != TEXT
    assert seen.body["choices"][0]["finish_reason"] == FINISH.get(name, "stop")


def test_texts_of_single_items() -> None:
    text = json.dumps(RIGHT["extract_one"])
    assert one("duplicate_keys").content == text.replace('"applies": 1', '"applies": 1, "applies": 0')
    assert one("answer_nan").content == text.replace('"applies": 1', '"applies": NaN')


THOUGHTS: dict[str, Callable[[dict[str, Any]], bool]] = {  # of the message
    "content_parts": lambda said: (
        [part.get("text", part.get("thinking")) for part in said["content"]] == [DRAFT, DRAFT, TEXT[:20], TEXT[20:]]
        and [part["type"] for part in said["content"]] == ["thinking", "reasoning", "text", "text"]
    ),
    "reasoning_only": lambda said: (said["content"], said["reasoning_content"]) == (None, TEXT),
    "reasoning_draft": lambda said: (said["content"], said["reasoning_content"]) == (None, f"I would say {DRAFT}"),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thoughts_beside_the_content(name: str) -> None:
    assert THOUGHTS[name](many(name).body["choices"][0]["message"])
    assert many(name).body["choices"][0]["finish_reason"] == "stop"


USAGES: dict[str, Any] = {
    "usage_missing": None,
    "usage_wrong": BAD_USAGE,
    "usage_huge": {"prompt_tokens": 10**8, "completion_tokens": 10**8},
    "usage_zero": {"prompt_tokens": 0, "completion_tokens": 0},
    "usage_nothing_said": {"prompt_tokens": 100, "completion_tokens": 0},
    "usage_negative": {"prompt_tokens": -5, "completion_tokens": -100_000},
    "usage_decimals": {"prompt_tokens": 12.5, "completion_tokens": 3.0},
}


@pytest.mark.parametrize("name", USAGES)
def test_usage(name: str) -> None:
    seen = many(name)
    assert seen.body.get("usage") == USAGES[name]
    assert seen.content == TEXT


def test_lies_about_usage() -> None:
    with FaultServer(truthful_answerer(contains_truth), always("usage_lies")) as server, RawClient(server.port) as client:
        seen = [client.ask(chat(ITEMS, FEATURES) | {"seed": seed}) for seed in range(50)]
    assert {one.content for one in seen} == {TEXT}
    assert len({repr(one.body["usage"]) for one in seen}) > 20


def test_choices() -> None:
    assert "choices" not in many("choices_missing").body
    assert many("choices_empty").body["choices"] == []
    one_choice, other = many("choices_two").body["choices"]
    assert one_choice["message"]["content"] == TEXT
    assert (one_choice["index"], other["index"]) == (0, 1)
    assert json.loads(other["message"]["content"])["features"] == [MANY[0], {"feature": 2, "matched_items": [1]}]
