"""Whatever a server does wrong: answers are right or missing, never wrong; each fault costs what it must and no more."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from answerers import numbered_lines
from content_faults import CONTENT_FAULTS
from fault_server import FAULTS, FaultServer, always, contains_truth, every, script, truthful_answerer

from genz_ppl.errors import GenzWarning, ModelError
from genz_ppl.llm.served import calling

SLOW = ("hang", "hang_amid", "trickle", "trickle_body")
TIMEOUT = 0.3
ONCE_MORE, HALVES, PLAINER, NOTHING, END = "the same call again", "two halves", "a plainer format", "nothing", "the run ends"
CHECKED = "a harmless call, and then two halves"
# What follows a fault that happens now and then.
TABLE = {
    **dict.fromkeys(["chunked", *(name for name in FAULTS if name.startswith("usage"))], NOTHING),
    **dict.fromkeys(["think_draft", "think_tagged", "think_unpaired", "content_parts", "reasoning_only"], NOTHING),
    **dict.fromkeys(["finish_eos", "finish_end_turn", "finish_STOP", "finish_unheard_of"], NOTHING),
    **dict.fromkeys(["logprobs_high", "logprobs_infinite", "logprobs_nan", "logprobs_huge", "logprobs_number"], NOTHING),
    **dict.fromkeys(["422_max_completion_tokens", "400_temperature", "400_logprobs"], NOTHING),  # which are not sent
    **dict.fromkeys(["429_zero", "429_negative", "429_past", "429_no_date", "500_zero"], ONCE_MORE),
    **dict.fromkeys(["endless", "endless_chunked", "endless_chunks", "endless_head", "endless_line"], ONCE_MORE),
    **dict.fromkeys(["gzip_bomb", "gzip_endless", "deflate_bomb", "encoding_unknown"], ONCE_MORE),
    **dict.fromkeys(["429", "429_seconds", "429_date", "429_nonsense", "500", "503_html"], ONCE_MORE),
    **dict.fromkeys(["200_html", "200_error", "empty_body", "bad_json", "bad_utf8"], ONCE_MORE),
    **dict.fromkeys(["close_before", "reset_before", "reset_head", "reset_amid", "chunked_cut"], ONCE_MORE),
    **dict.fromkeys(["content_length_long", "content_length_short"], ONCE_MORE),
    "finish_error": ONCE_MORE,
    **dict.fromkeys(SLOW, CHECKED),
    **dict.fromkeys(["choices_missing", "choices_empty", "choices_two"], ONCE_MORE),
    **dict.fromkeys(
        ["400_context", "400_context_top", "400_content_filter", "truncated", "length_invalid", "length_valid"], HALVES
    ),
    **dict.fromkeys(["refusal", "content_filter", "content_filter_valid", "null_content", "empty_content"], HALVES),
    **dict.fromkeys(["prose", "content_object", "wrong_types", "extra_key", "two_objects"], HALVES),
    **dict.fromkeys(["index_out_of_range", "index_zero", "index_duplicated", "index_string"], HALVES),
    **dict.fromkeys(["index_boolean", "index_float", "item_duplicated", "feature_out_of_range"], HALVES),
    **dict.fromkeys(["feature_missing", "answer_boolean", "answer_nan", "duplicate_keys"], HALVES),
    **dict.fromkeys(["huge_integer", "nesting_bomb"], HALVES),
    **dict.fromkeys(["think_open", "think_open_amid", "think_last", "reasoning_draft"], HALVES),
    **dict.fromkeys(["draft_in_prose", "tool_call", "tool_call_open", "finish_MAX_TOKENS", "finish_tool_calls"], HALVES),
    **dict.fromkeys(["400_policy", "403_firewall", "413_html", "422_policy", "451_policy", "endless_error"], HALVES),
    **dict.fromkeys(["400_json_schema", "400_response_format", "fenced"], PLAINER),
    **dict.fromkeys(["400_max_tokens", "400_max_tokens_top", "422_max_tokens"], PLAINER),
    **dict.fromkeys(["429_quota", "401_key", "429_days", "500_days", "529_ages"], END),
}
# What ends a run where nothing else ever comes: at once, or when a harmless call has shown that it is not about the items.
ALWAYS_END = {name for name, follows in TABLE.items() if follows in (END, ONCE_MORE, CHECKED)}
ALWAYS_END |= {"400_policy", "403_firewall", "422_policy", "451_policy", "endless_error"}
DEAF = {"400_context", "400_context_top", "400_content_filter", "413_html", "refusal", "content_filter", "content_object"}
DEAF |= {"null_content", "empty_content"}


def doubts(name: str) -> AbstractContextManager[Any]:
    """What is said of usage that cannot be."""
    return pytest.warns(GenzWarning, match="how many tokens a call used") if name.startswith("usage") else nullcontext()


@pytest.fixture
def houses(make_world: Any) -> Any:
    """12 items and 3 features: 8 calls of up to 3 items and 2 features."""
    texts = [f"house number {i} with " + "granite " * (i % 3 == 0) + "pool" * (i % 2) for i in range(12)]
    return make_world(texts, ["granite", "pool", "house"])


def test_every_fault_is_in_the_table() -> None:
    assert TABLE.keys() == FAULTS.keys()


@pytest.mark.parametrize(("name", "per_call"), [*((name, 3) for name in FAULTS), *((name, 1) for name in CONTENT_FAULTS)])
def test_a_fault_now_and_then(serving: Any, houses: Any, name: str, per_call: int) -> None:
    pattern = script(None, None, name) if name in (*SLOW, "429_date") else every(3, name)
    with FaultServer(truthful_answerer(contains_truth), pattern, retry_after=0.05, trickle_seconds=0.05) as server:
        model = serving(
            server.base_url, items_per_call=per_call, features_per_call=2, timeout=TIMEOUT if name in SLOW else 5, workers=1
        )
        started = time.monotonic()
        if TABLE[name] == END:
            with pytest.raises(ModelError, match="what was answered is stored"):
                model.answer(houses.items, houses.features)
            answers = None
        else:
            with doubts(name):
                answers = model.answer(houses.items, houses.features)
        seconds = time.monotonic() - started
        faulty = [numbered_lines(request.body) for request in server.requests if request.fault]
        total = server.total
    values, known = serving.stored(model, houses)
    assert houses.wrong(values) == 0
    assert not np.isnan(values[known == 1]).any()
    assert model.spent.calls == total
    assert serving.rows("SELECT count(*) FROM attempts WHERE settled IS NOT NULL") == [(total,)]
    assert serving.rows("SELECT count(*) FROM leases") == [(0,)]
    if answers is None:
        assert known.sum() == 2 * 2 * per_call  # the first two calls
        return
    np.testing.assert_array_equal(answers, houses.truth)
    np.testing.assert_array_equal(values, answers)
    more = {
        NOTHING: 0,
        ONCE_MORE: len(faulty),
        HALVES: sum(2 if len(items) * len(features) > 1 else 1 for items, features in faulty),
        CHECKED: 3 * len(faulty),
        PLAINER: min(2, len(faulty)),  # replies as plain text may be fenced
    }
    assert total == (8 if per_call == 3 else 24) + more[TABLE[name]]
    assert seconds < 2 + len(faulty) * TIMEOUT


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_in_every_reply(serving: Any, make_world: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The end is an error, or no answer for a reason; calls and time are bounded, and nothing that was said is believed."""
    monkeypatch.setattr(calling, "PATIENCE", 0.1)
    world = make_world(["granite", "brick"], ["granite", "brick", "tall"])
    with FaultServer(truthful_answerer(contains_truth), always(name), retry_after=0.03, trickle_seconds=0.05) as server:
        model = serving(server.base_url, timeout=0.1 if name in SLOW else 5, attempts=2, workers=2)
        if name in ALWAYS_END:
            with pytest.raises(ModelError) as caught:
                model.answer(world.items, world.features)
            assert caught.value.__cause__ is None
            assert server.total <= (4 if "429" not in name else 20)
        elif name in DEAF:  # twenty faults, and the harmless call that follows them brings nothing either
            with pytest.raises(ModelError, match=r"failed 2 times in a row .* what was answered is stored"):
                model.answer(world.items, world.features)
            assert 20 + 2 <= server.total <= 20 + 2 + 1
        elif TABLE[name] == HALVES:
            answers = model.answer(world.items, world.features)
            assert world.wrong(answers) == 0
            if name not in ("item_duplicated", "answer_boolean"):  # which do not apply to one item, or to several
                assert np.isnan(answers).all()
                assert model.failures.total() == 6
                # Halves down to single questions, those three times, and amid them a harmless call.
                assert server.total == 1 + 2 + 4 + 4 + 6 * 2 + 1
        else:
            with doubts(name):
                np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
            assert server.total <= 3
        values, known = serving.stored(model, world)
        assert world.wrong(values) == 0
        assert model.spent.calls == server.total
        if name in ALWAYS_END or (TABLE[name] == HALVES and np.isnan(values).all()):
            assert known.sum() == 0  # what nothing was ever answered beside may be asked again
    assert serving.rows("SELECT count(*) FROM leases") == [(0,)]
