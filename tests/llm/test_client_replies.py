"""What of a reply's body is taken, and what is not believed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.reading import Reply, read_completion, read_object
from genz_ppl.llm.served.spending import Usage


def reply(**changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}, **changes}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def test_a_right_reply() -> None:
    assert read_completion(reply()) == Reply("yes", Usage(5, 2))
    assert read_completion(reply(finish_reason=None)).text == "yes"
    assert read_completion(read_object(json.dumps(reply()).encode())).usage == Usage(5, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"message": None},
        {"message": []},
        {"message": {"content": ["yes"]}},
        {"message": {"content": 1}},
        {"message": {"content": " \n"}},
        {"message": {"content": "yes", "refusal": "no"}},
        {"finish_reason": "tool_calls"},
        {"finish_reason": "max_tokens", "message": {"content": "{}"}},
        {"finish_reason": "model_length", "message": {"content": "{}"}},
        {"finish_reason": "SAFETY", "message": {"content": "{}"}},
        {"finish_reason": "error", "message": {"content": "{}"}},
        {"finish_reason": "insufficient_system_resource", "message": {"content": "{}"}},
        {"finish_reason": "natural"},
        {"finish_reason": ""},
        {"finish_reason": 1},
        {"finish_reason": "LENGTH"},
    ],
    ids=str,
)
def test_replies_of_no_use(changes: dict[str, Any]) -> None:
    with pytest.raises(CallError) as caught:
        read_completion(reply(**changes))
    assert caught.value.usage == Usage(5, 2)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"1", b'{"a": 1, "a": 2}', b"{} {}", b"\xff\xfe{\x00}\x00", b"[" * 10**5, b"1" * 5000]
)
def test_bodies_that_are_no_object(content: bytes) -> None:
    with pytest.raises(CallError) as caught:
        read_object(content)
    assert caught.value.remedy is Remedy.AGAIN


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"prompt_tokens": 1},
        *({"prompt_tokens": wrong, "completion_tokens": 1} for wrong in (True, -1, 1.5, "1", 0, None)),
        *({"prompt_tokens": 1, "completion_tokens": wrong} for wrong in (True, -1, 1.5, "1", 0, None)),
    ],
    ids=str,
)
def test_usage_that_cannot_be_true_is_none(usage: Any) -> None:
    assert read_completion(reply() | {"usage": usage}).usage is None


@pytest.mark.parametrize("end", ["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", None])
def test_names_of_the_end_of_a_whole_reply(end: str | None) -> None:
    assert read_completion(reply(finish_reason=end)).text == "yes"


@pytest.mark.parametrize("end", ["natural", "", 1])
def test_an_end_of_another_name_after_a_whole_object(end: object) -> None:
    assert read_completion(reply(finish_reason=end, message={"content": ' {"a": 1}'})).text == ' {"a": 1}'
    with pytest.raises(CallError, match="ended in an unknown way"):
        read_completion(reply(finish_reason=end, message={"content": '{"a": 1} yes'}))


@pytest.mark.parametrize("end", ["content_filter", "length"])
def test_a_reply_without_text_may_have_used_none(end: str) -> None:
    body = reply(finish_reason=end, message={"content": None}) | {"usage": {"prompt_tokens": 5, "completion_tokens": 0}}
    with pytest.raises(CallError) as caught:
        read_completion(body)
    assert caught.value.usage == Usage(5, 0)


def test_log_probabilities() -> None:
    tops = [
        {"token": "1", "logprob": -0.1},
        {"token": "0", "logprob": -2.0},
        {"token": 3, "logprob": 0},
        {"token": "x", "logprob": None},
    ]
    content = [{"token": "{", "logprob": 0.0}, {"token": "1", "logprob": -0.1, "top_logprobs": tops}]
    found = read_completion(reply(logprobs={"content": content})).tokens
    assert found == (("{", {"{": 0.0}), ("1", {"1": -0.1, "0": -2.0}))
    odd: Any
    for odd in (None, [], {}, {"content": None}, {"content": [None]}, {"content": [{"token": 1}]}, {"content": [*content, "x"]}):
        assert read_completion(reply(logprobs=odd)).tokens == ()
    assert math.isclose(math.exp(found[1][1]["1"]), 0.9048, rel_tol=1e-3)
