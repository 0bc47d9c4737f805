from __future__ import annotations

import json

from answerers import truthful_answerer
from content_faults import CONTENT_FAULTS
from http_faults import Exchange
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import WHOLE, Seen, chat

DOES_NOT_APPLY = {("answer_boolean", "extract_many"), ("item_duplicated", "extract_one")}
CONTENT_IS_RIGHT = {"choices_two", *(name for name in CONTENT_FAULTS if name.startswith("usage"))}
CONTENT_IS_RIGHT |= {"finish_eos", "finish_end_turn", "finish_STOP", "finish_unheard_of"}
CONTENT_IS_WRONG_BUT_VALID = {"length_valid", "content_filter_valid", "finish_MAX_TOKENS", "finish_tool_calls"}
NO_CONTENT = {"choices_missing", "choices_empty", "bad_utf8"}
CERTAINTIES = {name for name in CONTENT_FAULTS if name.startswith("logprobs")}
REFUSED = CONTENT_FAULTS.keys() - CONTENT_IS_RIGHT - CONTENT_IS_WRONG_BUT_VALID - NO_CONTENT - CERTAINTIES


def is_strictly_right(text: str, items: int, features: int, many_items: bool) -> bool:
    """Whether a strict reader can take this content."""
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else None)
        entries = content.pop("features" if many_items else "answers")
        numbers = [entry["feature"] for entry in entries]
        answers = [entry["matched_items" if many_items else "applies"] for entry in entries]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False
    if content.keys() != {"characteristics"} or repr(sorted(numbers, key=repr)) != repr([*range(1, features + 1)]):
        return False
    if not many_items:
        return all(type(answer) is int and answer in (0, 1) for answer in answers)
    allowed = set(range(1, items + 1))
    return all(
        type(matched) is list and all(type(item) is int for item in matched) and len(allowed & {*matched}) == len(matched)
        for matched in answers
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), items=st.integers(1, 4), features=st.integers(1, 4))
def test_no_wrong_reply_can_be_taken_for_a_right_one(data: st.DataObject, items: int, features: int) -> None:
    answers = data.draw(st.lists(st.booleans(), min_size=items * features, max_size=items * features))
    truth = {(str(i), str(k)): answers[i * features + k] for i in range(items) for k in range(features)}
    kind = data.draw(st.sampled_from(["extract_many"] if items > 1 else ["extract_one", "extract_many"]))
    body = chat([str(i) for i in range(items)], [str(k) for k in range(features)], kind)
    exchange = Exchange(body, {}, truthful_answerer(lambda item, feature: truth[item, feature])(body))
    assert is_strictly_right(exchange.content, items, features, kind == "extract_many")
    for name in sorted(REFUSED):
        reply = CONTENT_FAULTS[name](exchange)
        assert (reply is None) == ((name, kind) in DOES_NOT_APPLY)
        if reply is not None:
            content = Seen(reply.parts[0][1], WHOLE).content
            assert not is_strictly_right(content, items, features, kind == "extract_many"), name
    for name in sorted(CONTENT_IS_WRONG_BUT_VALID | CONTENT_IS_RIGHT):
        reply = CONTENT_FAULTS[name](exchange)
        assert reply is not None
        content = Seen(reply.parts[0][1], WHOLE).content
        assert (content == exchange.content) == (name in CONTENT_IS_RIGHT)
        assert is_strictly_right(content, items, features, kind == "extract_many")
