from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from answerers import kind_of, numbered_lines
from fault_server import (
    Call,
    FaultServer,
    Reply,
    always,
    constant_answerer,
    contains_truth,
    either,
    every,
    first,
    first_time,
    hash_truth,
    script,
    share,
    truthful_answerer,
    when,
)
from http_faults import reply_json
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import SILENT, WHOLE, RawClient, chat
from server_process import FaultServerProcess

BODY = chat(["a garden", "a pool"], ["garden?"])
HASHED = truthful_answerer(hash_truth)


def test_one_connection_serves_many_requests_and_all_are_recorded() -> None:
    with FaultServer(HASHED, every(2, "500")) as server, RawClient(server.port) as client:
        start = time.monotonic()
        assert [client.ask(BODY | {"seed": seed}).status for seed in range(5)] == [200, 500, 200, 500, 200]
        assert server.connected == 1
        assert server.total == 5
        assert server.counts == {"right": 3, "500": 2}
        assert [request.fault for request in server.requests] == [None, "500", None, "500", None]
        assert [request.body for request in server.requests] == [BODY | {"seed": seed} for seed in range(5)]
        times = [request.time for request in server.requests]
        assert times == sorted(times)
        assert start <= times[0] <= times[-1] <= time.monotonic()
        assert server.requests[0].headers["x-mixed-case"] == "Value"
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"


def test_a_connection_survives_what_need_not_end_it() -> None:
    with FaultServer(HASHED, script("429", "chunked", "refusal", "503_html", None)) as server, RawClient(server.port) as client:
        assert [client.ask(BODY).status for _ in range(5)] == [429, 200, 200, 503, 200]
        assert server.connected == 1


def test_requests_in_pieces_and_back_to_back() -> None:
    request = RawClient.request("POST", "/v1/chat/completions", json.dumps(BODY).encode())
    with FaultServer(HASHED, latency=0.05) as server, RawClient(server.port) as client:
        for piece in (request[:10], request[10:-5]):
            client.socket.sendall(piece)
            time.sleep(0.02)
        assert client.send(request[-5:]).status == 200
        client.socket.sendall(request)
        seen = client.send(request).data
        if seen.count(b"HTTP/1.1 200") == 1:
            seen += client.send(b"").data
        assert seen.count(b"HTTP/1.1 200") == 2
        assert server.total == 3


def test_latency_and_counts_in_flight() -> None:
    with FaultServer(HASHED, latency=0.05) as server:
        clients = [RawClient(server.port) for _ in range(4)]
        start = time.monotonic()
        for client in clients:
            client.socket.sendall(RawClient.request("POST", "/v1/chat/completions", json.dumps(BODY).encode()))
        assert [client.send(b"").end for client in clients] == [WHOLE] * 4
        assert time.monotonic() - start >= 0.05
        assert (server.peak_in_flight, server.in_flight, server.abandoned, server.replied) == (4, 0, 0, 4)
        assert server.reply_seconds >= 0.2
        for client in clients:
            client.socket.close()


def test_log_probabilities_and_the_limit_of_tokens() -> None:
    body = chat(["a garden"], ["garden?", "pool?"], "extract_one")
    with FaultServer(truthful_answerer(contains_truth), certainty=0.7) as server, RawClient(server.port) as client:
        choice = client.ask(body | {"logprobs": True, "top_logprobs": 5}).body["choices"][0]
        assert client.ask(body).body["choices"][0]["logprobs"] is None
        cut = client.ask(body | {"max_completion_tokens": 10}).body
        assert client.ask(body | {"max_tokens": 1000}).body["choices"][0]["finish_reason"] == "stop"
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    sure = {token["token"]: {top["token"]: math.exp(top["logprob"]) for top in token["top_logprobs"]} for token in tokens}
    assert sure["0"] == pytest.approx({"0": 0.7, "1": 0.3})
    assert sure["1"] == pytest.approx({"1": 0.7, "0": 0.3})
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["choices"][0]["message"]["content"] == choice["message"]["content"][:40]
    assert cut["usage"]["completion_tokens"] == 10


def test_clients_that_go_are_counted() -> None:
    with FaultServer(HASHED, always("hang")) as server:
        with RawClient(server.port) as client:
            assert client.ask(BODY, 0.05).end == SILENT
            assert server.in_flight == 1
        until = time.monotonic() + 5
        while server.in_flight and time.monotonic() < until:
            time.sleep(0.001)
        assert (server.in_flight, server.abandoned) == (0, 1)
        left_hanging = RawClient(server.port)
        assert left_hanging.ask(BODY, 0.05).end == SILENT
    left_hanging.socket.close()
    assert server.abandoned == 1


def test_errors_of_the_test_itself_come_out() -> None:
    def broken(body: dict[str, Any]) -> str:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"), FaultServer(broken) as server, RawClient(server.port) as client:
        assert client.ask(BODY).status == 500
    with pytest.raises(KeyError), FaultServer(HASHED, lambda number, body: "no such") as server, RawClient(server.port) as client:
        client.ask(BODY)


def test_further_routes() -> None:
    def files(call: Call) -> Reply:
        return reply_json(200, {"size": len(call.payload), "type": call.headers.get("x-mixed-case")})

    def one_file(call: Call) -> Reply | None:
        return reply_json(200, {"id": call.path.rpartition("/")[2]}) if call.path.startswith("/v1/files/") else None

    with FaultServer(HASHED, always("500")) as server, RawClient(server.port) as client:
        server.routes["POST", "/v1/files"] = files
        server.fallbacks.append(one_file)
        assert client.send(RawClient.request("POST", "/v1/files", b"\x00\xff\r\n\r\n")).body == {"size": 6, "type": "Value"}
        assert client.send(RawClient.request("GET", "/v1/files/f-1")).body == {"id": "f-1"}
        assert client.send(RawClient.request("GET", "/v1/files")).status == 404
        assert client.send(RawClient.request("GET", "/v1/models")).body["data"][0]["id"] == "model"
        assert client.send(RawClient.request("GET", "/stats")).body["total"] == server.total == 0


def test_a_process_of_its_own() -> None:
    with FaultServerProcess("--faults", "first:1:429", "--faults", "every:3:refusal", "--answerer", "contains") as server:
        with RawClient(server.port) as client:
            assert client.ask(BODY).status == 429
            assert json.loads(client.ask(BODY).content)["features"] == [{"feature": 1, "matched_items": [1]}]
            assert client.ask(BODY).content is None
        stats = server.stats()
        assert stats["counts"] == {"429": 1, "right": 1, "refusal": 1}
        assert stats["errors"] == []
    assert server.process.returncode == 0


@pytest.mark.parametrize("text", ["always:nothing", "every:x:500", "sometimes:500", "share:0.1"])
def test_patterns_that_cannot_be_read(text: str) -> None:
    script_path = Path(__file__).with_name("fault_server.py")
    found = subprocess.run([sys.executable, str(script_path), "--faults", text], capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "ValueError" in found.stderr


def names(pattern: Any, count: int, body: dict[str, Any] = BODY) -> list[str | None]:
    return [pattern(number, body) for number in range(1, count + 1)]


def test_patterns() -> None:
    assert names(always("500"), 2) == ["500", "500"]
    assert names(every(3, "500"), 7) == [None, None, "500", None, None, "500", None]
    assert names(first(2, "500"), 4) == ["500", "500", None, None]
    assert names(script("500", None, "429"), 4) == ["500", None, "429", None]
    assert names(either(first(1, "500"), every(2, "429"), always("hang")), 4) == ["500", "429", "hang", "429"]
    again = first_time(always("500"))
    assert [again(1, BODY), again(2, BODY), again(3, chat(["x"], ["y"])), again(4, BODY)] == ["500", None, "500", None]
    poison = when('a "quoted" \\ pool', "500")
    assert poison(1, BODY) is None
    assert poison(1, chat(["x", 'with a "quoted" \\ pool'], ["y"])) == "500"
    assert poison(1, chat(["x"], ['a "quoted" \\ pool?'])) == "500"


def test_share_is_random_but_fixed() -> None:
    found = names(share(0.3, ["500", "429"], seed=5), 20_000)
    assert found == names(share(0.3, ["500", "429"], seed=5), 20_000)
    assert found != names(share(0.3, ["500", "429"], seed=6), 20_000)
    for name in ("500", "429"):  # binomial with 20 000 draws: five standard deviations are 0.0126
        assert abs(found.count(name) / 20_000 - 0.15) < 0.0126
    assert set(names(share(0.0, ["500"]), 1000)) == {None}
    assert set(names(share(1.0, ["500"]), 1000)) == {"500"}


@pytest.mark.parametrize(
    "make", [lambda: always("50"), lambda: every(2, ""), lambda: share(1, ["500", "x"]), lambda: script(None, "x")]
)
def test_unknown_names(make: Any) -> None:
    with pytest.raises(ValueError, match="no fault is called"):
        make()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ['{"item": 9, "text": "x"}', "a\nb", "a\u2028b", "\x85", "\0"]
)


@settings(max_examples=100, deadline=None)
@given(items=st.lists(TEXTS, min_size=1, max_size=4, unique=True), features=st.lists(TEXTS, min_size=1, max_size=4, unique=True))
def test_truthful_answers(items: list[str], features: list[str]) -> None:
    body = chat(items, features)
    assert numbered_lines(body) == (dict(enumerate(items, 1)), dict(enumerate(features, 1)))
    found = json.loads(HASHED(body))["features"]
    matched = [
        {"feature": k, "matched_items": [i for i, item in enumerate(items, 1) if hash_truth(item, feature)]}
        for k, feature in enumerate(features, 1)
    ]
    assert found == matched
    answers = json.loads(HASHED(chat(items[:1], features, "extract_one")))["answers"]
    assert answers == [{"feature": k, "applies": int(hash_truth(items[0], feature))} for k, feature in enumerate(features, 1)]


def test_what_the_model_cannot_tell_is_left_out() -> None:
    answerer = truthful_answerer(lambda item, feature: None if (item, feature) == ("b", "x") else True)
    assert json.loads(answerer(chat(["a", "b"], ["x", "y"])))["features"] == [{"feature": 2, "matched_items": [1, 2]}]
    assert json.loads(answerer(chat(["b"], ["x", "y"], "extract_one")))["answers"] == [{"feature": 2, "applies": 1}]
    assert json.loads(answerer(chat(["a"], ["x", "y"], "extract_one")))["answers"][0] == {"feature": 1, "applies": 1}


def with_system(text: str, items: list[str], features: list[str]) -> dict[str, Any]:
    body = chat(items, features, None)
    body["messages"][0]["content"] = text
    return body


def with_images(text: str, *urls: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}]}


def test_kinds_of_requests() -> None:
    for kind in ("extract_one", "extract_many", "mine", "mine_both", "suggest", "describe"):
        assert kind_of(chat(["a"], ["b"], kind)) == kind
    assert kind_of(with_system("x", ["a"], ["b"])) == "extract_one"
    assert kind_of(with_system("x", ["a", "b"], ["b"])) == "extract_many"
    assert kind_of(with_system('{"feature": 1, "matched_items": []}', ["a"], ["b"])) == "extract_many"
    assert kind_of(with_system('{"feature": 1, "applies": 0}', ["a"], ["b"])) == "extract_one"
    assert kind_of(with_system('{"questions": ["..."]}', ["a"], [])) == "suggest"
    assert kind_of(with_system('{"characteristics": ["..."]}', ["a"], ["known"])) == "mine"
    assert kind_of(with_system('{"positive": ["..."], "negative": ["..."]}', ["a"], ["known"])) == "mine_both"
    assert kind_of(with_system('{"characteristics": ["..."]}', ['"matched_items"'], ['"applies"'])) == "mine"
    assert kind_of(with_images("Describe the listing image in detail.", "data:x")) == "describe"


def test_other_replies() -> None:
    answerer = truthful_answerer(hash_truth, ["a?", "b?"], lambda body: "an image")
    assert json.loads(answerer(chat(["a"], [], "mine"))) == {"description": "as the texts say", "characteristics": ["a?", "b?"]}
    assert json.loads(answerer(chat(["a"], [], "suggest"))) == {"questions": ["a?", "b?"]}
    assert answerer(with_images("Describe the listing image in detail.", "data:x")) == "an image"
    assert json.loads(truthful_answerer(hash_truth, lambda body: [body["model"]])(chat([], [], "mine"))) == {
        "description": "as the texts say",
        "characteristics": ["tiny"],
    }
    assert constant_answerer("yes")(BODY) == "yes"
    shown = with_images('{"feature": 1, "text": "pool?"}', "data:pool", "data:x")
    assert json.loads(truthful_answerer(contains_truth)(shown))["features"] == [{"feature": 1, "matched_items": [1]}]
