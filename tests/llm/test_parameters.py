"""Parameters of a call: one name for the limit, what a server refuses is changed once, and the user has the last word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_server import BatchServer
from fault_server import FaultServer, always, contains_truth, truthful_answerer
from http_faults import refuses

from genz_ppl.errors import GenzWarning, ModelError, OptionError
from genz_ppl.llm.served import batching
from genz_ppl.llm.served.faults import Remedy
from genz_ppl.llm.served.reading import status_error
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Prompts
from genz_ppl.types import Contrast, Item

TRUE = truthful_answerer(contains_truth, ["It is old", "It is new"])
LIMITS = {"max_tokens", "max_completion_tokens"}
REQUEST = Request("extract", "m", Prompts.load().extract(["a house of granite, 1234 metres up"], ["granite"]), 2000)


def body(base_url: str | None = "http://h/v1", refused: tuple[str, ...] = (), **settings: Any) -> dict[str, Any]:
    return REQUEST.body("json_schema", ModelSettings(base_url=base_url, **settings), refused)


@pytest.fixture
def houses(make_world: Any) -> Any:
    """12 items and a feature; a call for three of them."""
    return make_world([f"house {i}" + " of granite" * (i % 2) for i in range(12)], ["granite"])


def fill(model: Any, world: Any) -> None:
    np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)


# ---- one name


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        (None, "max_completion_tokens"),
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://localhost:8080/v1", "max_tokens"),
        ("https://api.openai.com.example/v1", "max_tokens"),
        ("https://proxy.example/api.openai.com/v1", "max_tokens"),
    ],
)
def test_one_name_for_the_limit(base_url: str | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = body(base_url)
    assert found.keys() & LIMITS == {name}
    assert found[name] == 2000
    assert body(base_url, (name,)).keys() & LIMITS == LIMITS - {name}
    if base_url is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        assert body(None) == found


@pytest.mark.parametrize("name", ["400_max_tokens", "400_max_tokens_top", "422_max_tokens"])
def test_the_other_name_where_a_server_refuses_one(serving: Any, houses: Any, name: str) -> None:
    with FaultServer(TRUE, always(name), latency=0.02) as server:
        fill(serving(server.base_url, items_per_call=3, workers=4), houses)
        assert server.counts == {name: 4, "right": 4}  # all four workers are told at once; later calls know
        model = serving(server.base_url, items_per_call=3, workers=1)
        assert model.propose(Contrast((Item("a", "x"),), (Item("b", "y"),)), 2) == ["It is old", "It is new"]
        assert server.counts == {name: 5, "right": 5}
        for request in server.requests:
            assert request.body.keys() & LIMITS == ({"max_tokens"} if request.fault else {"max_completion_tokens"})
        assert model.spent.calls == 2


def test_each_model_has_ways_of_its_own(serving: Any, houses: Any, saying: Any) -> None:
    """One model knows one name, the other the other; a temperature that one refuses is still the other's."""

    def pattern(number: int, sent: dict[str, Any]) -> str | None:
        if sent["model"] == "miner":
            return "400_temperature" if "temperature" in sent else "400_max_tokens"
        return "422_max_completion_tokens"

    with FaultServer(TRUE, pattern) as server:
        model = serving(server.base_url, mining_model="miner", temperature=0.5, items_per_call=3, workers=1)
        with pytest.warns(GenzWarning, match="^miner takes no --temperature; it is asked without, at the server's own$"):
            assert len(model.propose(Contrast((Item("a", "x"),), (Item("b", "y"),)), 2)) == 2
        fill(model, houses)
        assert server.counts == {"400_temperature": 1, "400_max_tokens": 1, "right": 1 + 4}
        assert [request.body.get("temperature") for request in server.requests] == [0.5, None, None, 0.5, 0.5, 0.5, 0.5]


def test_neither_name(serving: Any, houses: Any) -> None:
    def pattern(number: int, sent: dict[str, Any]) -> str | None:
        return "422_max_tokens" if "max_tokens" in sent else "422_max_completion_tokens"

    with FaultServer(TRUE, pattern) as server:
        with pytest.raises(ModelError, match="m takes no max_completion_tokens; change that with --body"):
            fill(serving(server.base_url, workers=1), houses)
        assert server.total == 2
        fill(serving(server.base_url, workers=1, body={"max_tokens": None}), houses)
        assert server.requests[-1].body.keys() & LIMITS == set()


def test_batches_are_sent_as_calls_are(serving: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    with FaultServer(TRUE, always("400_max_tokens")) as server:
        batches = BatchServer(server)
        model = serving(server.base_url, batch=True, mining_model="m", body={"top_k": 3})
        model.suggest(houses.items[:1], "a task", 2)
        fill(model, houses)
    assert [sent.keys() & {*LIMITS, "top_k"} for sent in batches.asked] == [{"max_completion_tokens", "top_k"}] * 2


# ---- what stops, in words


def test_certainties_that_are_needed_stop_the_run_by_name(serving: Any, houses: Any) -> None:
    with FaultServer(TRUE, always("400_logprobs")) as server:
        words = (
            r"the server refuses logprobs \(status 400\): Unsupported parameter: 'logprobs' is not supported with this model\."
        )
        with pytest.raises(ModelError, match=words):
            fill(serving(server.base_url, workers=1, log_probabilities=True), houses)
        assert server.total == 1


@pytest.mark.parametrize("own", [{"temperature": 0.2}, {"top_k": 1}])
def test_what_the_user_gave_is_not_dropped(serving: Any, houses: Any, saying: Any, own: dict[str, Any]) -> None:
    (name,) = own
    with FaultServer(TRUE, saying(refuses(name, "vllm"))) as server:
        with pytest.raises(ModelError, match=rf"{name}.*(change that with --body|is not supported with this model)"):
            fill(serving(server.base_url, workers=1, body=own), houses)
        assert server.total == 1


SENT = body(temperature=0.3, body={"top_k": 40, "reasoning_effort": "low"})
UNSUPPORTED = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def top(**error: Any) -> dict[str, Any]:
    return {"object": "error", "type": "BadRequestError", "param": None, "code": 400, **error}


@pytest.mark.parametrize(
    ("status", "content", "parameter"),
    [
        (400, {"error": {"message": UNSUPPORTED, "param": "max_tokens", "code": "unsupported_parameter"}}, "max_tokens"),
        (400, {"error": {"message": UNSUPPORTED, "param": None, "code": None}}, "max_tokens"),
        (400, {"error": {"message": "Unrecognized request argument supplied: max_tokens"}}, "max_tokens"),
        (400, {"error": {"message": "", "param": "temperature", "code": "unsupported_value"}}, "temperature"),
        (400, {"error": {"message": "temperature: Extra inputs are not permitted", "type": "x"}}, "temperature"),
        (400, [{"error": {"code": 400, "message": 'Unknown name "temperature": Cannot find field.'}}], "temperature"),
        (400, top(message=UNSUPPORTED), "max_tokens"),
        (400, top(message="[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens'), 'msg': 'not permitted'}]"), "max_tokens"),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs"}]}, "max_tokens"),
        (422, {"detail": "max_tokens is not supported"}, "max_tokens"),
        (422, top(message={"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": ""}]}), "temperature"),
    ],
)
def test_refusals_in_every_style(status: int, content: Any, parameter: str) -> None:
    error = status_error(status, {}, json.dumps(content).encode(), SENT, "sk-planted")
    assert (error.remedy, error.parameter, error.free) == (Remedy.PLAINER, parameter, True)
    assert error.reason.startswith(f"the server refuses {parameter} (status {status}")


@pytest.mark.parametrize(
    ("message", "parameter", "shown"),
    [
        ("max_tokens is too large: 2000. This model supports at most 500 completion tokens.", "max_tokens", True),
        ("Invalid value for 'top_k': must be less than 20", "top_k", True),
        ("reasoning_effort 'xhigh' is unsupported", "reasoning_effort", True),
        ("top_k " + "and so on " * 50, "top_k", True),
        ("top_k is wrong for 'a house of granite'", "top_k", False),
        ("top_k is wrong for 'grani'", "top_k", False),
        ("top_k is wrong for item_granite", "top_k", False),
        ("top_k is wrong at 1234", "top_k", False),
        ("top_k is wrong, sk-planted-0123456789", "top_k", False),
        ("top_k is wrong, sk-pl****6789", "top_k", False),
        ("top_k is \x1b[31mwrong", "top_k", False),
        ("granite is wrong", "", False),
        ("something is wrong", "", False),
        ("", "", False),
        (None, "", False),
        ({"a": 1}, "", False),
    ],
)
def test_the_servers_own_words_only_about_what_was_sent(message: Any, parameter: str, shown: bool) -> None:
    content = json.dumps({"error": {"message": message, "code": "invalid_value"}}).encode()
    error = status_error(400, {}, content, SENT, "sk-planted-0123456789")
    what = parameter or "the request"
    words = f": {' '.join(str(message).split())[:200]}" if shown else ""
    remedy = Remedy.STOP if parameter else Remedy.WITHOUT
    assert (error.remedy, error.reason) == (remedy, f"the server refuses {what} (status 400){words}")
    assert len(error.reason) < 260


@pytest.mark.parametrize(
    "content",
    [
        top(message="This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."),
        top(message="max_tokens is too large: 2000. This model's maximum context length is 4096 tokens.", param="max_tokens"),
        {"message": "prompt is too long: 210000 tokens > 200000 maximum"},
        {"detail": "the context window is full"},
        {"detail": [{"type": "x", "loc": ["body"], "msg": "maximum context"}]},
        [{"error": {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}}],
    ],
)
def test_too_long_wherever_it_is_said(content: Any) -> None:
    assert status_error(400, {}, json.dumps(content).encode(), SENT, "").remedy is Remedy.SPLIT


SHAPES = """[] [1] null {"error":null} {"error":[]} {"detail":[1]} {"detail":[{"loc":"x","msg":3}]} {"message":{"detail":{}}}
{"detail":[{"loc":[[]],"msg":null}]} {"error":{"param":{},"code":[]}} {"error":[{"message":1}]}""".split()


@pytest.mark.parametrize("content", ["", *SHAPES])
def test_errors_of_any_shape(content: str) -> None:
    assert status_error(400, {}, content.encode(), SENT, "").reason == "the server refuses the request (status 400)"


# ---- the user's own keys


def test_own_keys_are_added_and_left_out() -> None:
    own = {"top_k": 1, "chat_template_kwargs": {"enable_thinking": False}, "temperature": None, "logprobs": None}
    found = body(temperature=0.5, body=own, log_probabilities=True)
    assert found["top_k"] == 1
    assert found["chat_template_kwargs"] == {"enable_thinking": False}
    assert not found.keys() & {"temperature", "logprobs"}
    assert body(temperature=0.5, body={"temperature": 0.7})["temperature"] == 0.7
    assert body(body={}) == body()
    for name in LIMITS:
        assert not body(body={name: None}).keys() & LIMITS


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ([], "expected an object"),
        ("top_k", "expected an object"),
        ({"top_k": float("nan")}, "expected an object"),
        ({1: 2}, "expected an object"),
        ({"a": {1, 2}}, "expected an object"),
        *(({name: "x"}, f"body: {name} is part of what is asked") for name in ("model", "messages", "stream", "response_format")),
        ({"n": 2}, "n is part of what is asked"),
        ({"max_tokens": 10}, "max_tokens is part of what is asked and counted; leave it out, or use an option"),
        ({"max_completion_tokens": 10}, "max_completion_tokens is part of what is asked"),
    ],
)
def test_own_keys_that_are_refused(own: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ModelSettings(body=own)


@pytest.mark.parametrize("cap", [{"max_cost": 1.0}, {"max_tokens": 1000}])
def test_no_cap_without_a_limit(cap: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="body: without max_tokens a reply has no end, so no cap holds"):
        ModelSettings(body={"max_tokens": None}, price=(1.0, 1.0), **cap)
    ModelSettings(body={"max_tokens": None}, max_calls=10)


def test_settings_with_a_body_go_through_json() -> None:
    settings = ModelSettings(model="m", body={"top_k": 1, "stop": ["a", None]})
    assert ModelSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    old = {name: value for name, value in ModelSettings(model="m").to_dict().items() if name != "body"}
    assert ModelSettings.from_dict(old) == ModelSettings(model="m")
    with pytest.raises(OptionError, match="body: cannot change when a run goes on"):
        settings.changed(body={"top_k": 2})


def test_a_body_is_part_of_what_was_asked(serving: Any, houses: Any, tmp_path: Path) -> None:
    """And nothing that was stored before there was one is asked again."""
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    seen = Item("p", "a picture", {}, (picture,))
    contrast = Contrast((Item("a", "x"),), (Item("b", "y"),))
    uses: list[Callable[[Any], Any]] = [
        lambda model: fill(model, houses),
        lambda model: model.propose(contrast, 2),
        lambda model: model.suggest([Item("a", "x")], "a task", 2),
        lambda model: model.answer([seen], ["granite"]),
    ]
    with FaultServer(TRUE) as server:
        counts = []
        for own in (None, {}, {"top_k": 1}, {"top_k": 1}, {"top_k": 2}):
            model = serving(server.base_url, body=own)
            for use in uses:
                use(model)
            counts.append(server.total)
    assert np.diff(counts).tolist() == [0, counts[0], 0, counts[0]]
    model = serving("http://h/v1", model="m")
    sampling = {"temperature": None, "text_limit": 20000, "images": "describe", "log_probabilities": False, "describer": "m"}
    sampling["describe"] = version = model.prompts.version("describe")
    assert model._question("granite", 0).sampling == json.dumps(sampling, sort_keys=True, separators=(",", ":"))
    assert model._sampling("describe") == ["m", "http://h/v1/", version, None]
