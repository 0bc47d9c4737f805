"""Wrong options for a model behind a server are found out before any call is made."""

from __future__ import annotations

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
