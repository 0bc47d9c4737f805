"""Wrong options for a model behind a server are found out before any call is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, contains_truth, truthful_answerer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-cost", "1"), "--max-cost: the price of m is not known"),
        (("--max-cost", "-1"), "--max-cost"),
        (("--max-calls", "0"), "--max-calls"),
        (("--price", "1"), "--price"),
        (("--price", "a,b"), "--price"),
        (("--items-per-call", "0"), "--items-per-call"),
        (("--workers", "0"), "--workers"),
        (("--timeout", "0"), "--timeout"),
        (("--temperature", "3"), "--temperature"),
        (("--images", "maybe"), "--images"),
        (("--prompts", "nowhere"), "--prompts"),
        (("--log-probabilities", "--batch"), "--log-probabilities"),
        (("--model", "openai:"), "names none of the server's models"),
        (("--model", "rules"), "only for --model openai:NAME, and the model is 'rules'"),
        (("--base-url", "localhost"), "--base-url"),
        (("--base-url", "http://me:secret@localhost/v1"), "--base-url"),
        (("--base-url", "http://localhost:99999/v1"), "--base-url: expected an address such as http://localhost:8080/v1"),
        (("--base-url", "http://[::1"), "--base-url: expected an address"),
        (("--base-url", "http://localhost/v1?api-key=secret"), "--base-url: holds the parameter api-key"),
        (("--body", '{"top_k"'), "--body"),
        (("--body", "[1]"), "--body"),
        (("--body", "null"), "--body"),
        (("--body", '{"model": "other"}'), "--body: model is part of what is asked"),
        (("--body", '{"max_tokens": null}', "--max-tokens", "10"), "--body: without max_tokens a reply has no end"),
        (("--store", "."), "expected a file for the store of answers"),
        (("--target", "cost"), "cost"),
    ],
    ids=str,
)
def test_wrong_options_cost_nothing(
    fit: Any, table: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    with FaultServer(truthful_answerer(contains_truth)) as server:
        where = ("--model", "openai:m", "--base-url", server.base_url, "--store", "answers.sqlite")
        outcome = fit(table.name, "out", *where, *options)
        assert server.total == server.connected == 0
    assert outcome.code == (4 if "--store" in options else 2)
    assert words in outcome.message
    assert "secret" not in outcome.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://secret@127.0.0.1:9", "ALL_PROXY: names a SOCKS proxy, which is not supported; unset it"),
        ("OPENAI_API_KEY", "sk-\nsecret", "OPENAI_API_KEY: holds a line break"),
        ("OPENAI_BASE_URL", "http://secret@h", "OPENAI_BASE_URL: holds a name or password"),
    ],
)
def test_a_wrong_environment_costs_nothing(
    fit: Any, table: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with FaultServer(truthful_answerer(contains_truth)) as server:
        address = () if name == "OPENAI_BASE_URL" else ("--base-url", server.base_url)
        outcome = fit(table.name, "out", "--model", "openai:m", "--store", "answers.sqlite", *address)
        assert server.connected == 0
    assert outcome.code == 2
    assert words in outcome.message
    assert "secret" not in outcome.err
    assert not Path("out").exists()


def test_an_address_without_a_path_and_a_key_of_ones_own(fit: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    with FaultServer(truthful_answerer(contains_truth, ["colour is red"])) as server:
        address = server.base_url.removesuffix("/v1")
        where = ("--model", "openai:m", "--base-url", address, "--store", "answers.sqlite", "--quiet")
        outcome = fit(table.name, "out", *where, "--body", '{"top_k": 1, "seed": 7}')
        assert outcome.code == 0
        assert outcome.message == f"genz: note: --base-url {address} has no path; calls go to {server.base_url}"
        assert {(request.body["top_k"], request.body["seed"]) for request in server.requests} == {(1, 7)}
    assert json.loads(Path("out/run.json").read_text())["model_settings"]["body"] == {"top_k": 1, "seed": 7}
