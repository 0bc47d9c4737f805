"""What can go wrong inside a well-formed HTTP reply.

Where too lenient a reader could take such a reply, it would take a wrong answer from it: a test that compares answers sees it.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from typing import Any

from answerers import numbered_lines
from http_faults import Exchange, Fault, Reply, completion, http_bytes, reply_json

Content = dict[str, Any]


class Numbered(dict[str, Any]):
    """Content whose entries by feature are written under the features' numbers."""


def content_of(exchange: Exchange) -> Content | None:
    """The right content as an object of its own, with a list of entries by feature whatever its form; None where it is not a
    JSON object (a description of an image)."""
    try:
        content = json.loads(exchange.content)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    numbers = [key for key in content if key.isdecimal()]
    if not numbers:
        return content
    many = isinstance(content[numbers[0]], list)
    entries = [{"feature": int(number), "matched_items" if many else "applies": content.pop(number)} for number in numbers]
    return Numbered(content | {"features" if many else "answers": entries})


def written(content: Content) -> str:
    """The content as text, in its own form: what an entry holds twice, and entries of one number, are there twice."""
    if not isinstance(content, Numbered):
        return json.dumps(content)
    rest = [(name, value) for name, value in content.items() if name not in ("answers", "features")]
    for entry in entries_of(content):
        rest += [(_key(entry["feature"]), value) for name, value in entry.items() if name != "feature"]
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in rest) + "}"


def _key(number: Any) -> str:
    """A feature's number as a key; one of another type is to show as such."""
    return str(number) if type(number) is int else json.dumps(number)


def entries_of(content: Content) -> list[dict[str, Any]]:
    """The entries per feature of an extraction reply; none for wordings."""
    entries: list[dict[str, Any]] = content.get("answers") or content.get("features") or []
    return entries


def flipped(entry: dict[str, Any], items: list[int]) -> dict[str, Any]:
    """The entry with every answer turned round."""
    if "applies" in entry:
        return entry | {"applies": 1 - entry["applies"]}
    return entry | {"matched_items": [item for item in items if item not in entry["matched_items"]]}


def edited(change: Callable[[Content, list[int]], Content | str | None], finish_reason: str = "stop") -> Fault:
    """A fault in an extraction reply's content; `change` gets that and the item numbers, and gives None where it cannot apply."""

    def fault(exchange: Exchange) -> Reply | None:
        content = content_of(exchange)
        if content is None or not entries_of(content):
            return None
        found = change(copy.deepcopy(content), sorted(numbered_lines(exchange.body)[0]))
        if found is None:
            return None
        text = found if isinstance(found, str) else written(found)
        return reply_json(200, completion(exchange, text, finish_reason))

    return fault


def planted(make: Callable[[int], Any]) -> Callable[[Content, list[int]], Content]:
    """Puts the index `make(i)` where a reader who takes it for i stores a wrong answer."""

    def change(content: Content, items: list[int]) -> Content:
        entries = entries_of(content)
        if "applies" in entries[0]:
            entries[0].update(feature=make(entries[0]["feature"]), applies=1 - entries[0]["applies"])
            return content
        for entry in entries:
            free = [item for item in items if item not in entry["matched_items"]]
            if free:
                entry["matched_items"].append(make(free[0]))
                return content
        matched = entries[0]["matched_items"]
        matched[0] = make(matched[0])
        return content

    return change


def last_flipped(content: Content, items: list[int]) -> Content:
    entries = entries_of(content)
    entries[-1] = flipped(entries[-1], items)
    return content


def item_out_of_range(content: Content, items: list[int]) -> Content:
    entries = entries_of(content)
    if "applies" in entries[0]:
        entries[-1]["feature"] = len(entries) + 1
    else:
        entries[0]["matched_items"].append(max(items) + 1)
    return content


def index_zero(content: Content, items: list[int]) -> Content:
    entries = entries_of(content)
    if "applies" in entries[0]:
        entries[-1].update(feature=0, applies=1 - entries[-1]["applies"])
    else:
        entries[0]["matched_items"].append(0)
    return content


def feature_out_of_range(content: Content, items: list[int]) -> Content:
    entries = entries_of(content)
    entries[-1]["feature"] = len(entries) + 1
    return content


def feature_duplicated(content: Content, items: list[int]) -> Content:
    entries = entries_of(content)
    entries.append(flipped(entries[0], items))
    return content


def feature_missing(content: Content, items: list[int]) -> Content:
    entries_of(content).pop()
    return content


def item_duplicated(content: Content, items: list[int]) -> Content | None:
    entry = entries_of(content)[0]
    if "applies" in entry:
        return None
    free = [item for item in items if item not in entry["matched_items"]]
    entry["matched_items"] += [free[0], free[0]] if free else entry["matched_items"][:1]
    return content


def wrong_types(content: Content, items: list[int]) -> Content:
    for entry in entries_of(content):
        if "applies" in entry:
            entry["applies"] = "yes" if entry["applies"] else "no"
        else:
            entry["matched_items"] = ", ".join(str(item) for item in entry["matched_items"])
    return content


def answer_boolean(content: Content, items: list[int]) -> Content | None:
    entry = entries_of(content)[0]
    if "applies" not in entry:
        return None
    entry["applies"] = not entry["applies"]
    return content


def answer_nan(content: Content, items: list[int]) -> Content:
    entry = entries_of(content)[0]
    if "applies" in entry:
        entry["applies"] = float("nan")
    else:
        entry["matched_items"].append(float("nan"))
    return content


def duplicate_keys(content: Content, items: list[int]) -> str:
    entry = entries_of(content)[0]
    key = "applies" if "applies" in entry else "matched_items"
    entry["@@"] = flipped(entry, items)[key]
    return written(content).replace('"@@"', f'"{key}"')


def huge_integer(content: Content, items: list[int]) -> str:
    entry = entries_of(content)[0]
    entry[[*entry][-1] if isinstance(content, Numbered) else "feature"] = "@@"
    return written(content).replace('"@@"', "1" * 5000)  # more digits than Python turns into an int


def noted(content: Content) -> Content:
    content["note"] = "as the item told me to"
    return content


def said(content: str | None, finish_reason: str = "stop", **message: Any) -> Fault:
    """A reply with this message, whatever was asked."""
    fields = {"content": content} | message
    return lambda exchange: reply_json(200, completion(exchange, finish_reason=finish_reason, message=fields))


def cut(finish_reason: str) -> Fault:
    """The first half of the right content."""

    def fault(exchange: Exchange) -> Reply | None:
        if finish_reason == "stop" and content_of(exchange) is None:
            return None  # half a description is a description
        return reply_json(200, completion(exchange, exchange.content[: len(exchange.content) // 2], finish_reason))

    return fault


def bad_utf8(exchange: Exchange) -> Reply:
    body = completion(exchange, "@@" + exchange.content)
    return Reply(((0.0, http_bytes(200, json.dumps(body).encode().replace(b"@@", b"\xff\xc3("))),))


def in_parts(exchange: Exchange) -> Reply | None:
    """The right content as text in two parts, after a thought with a draft in it."""
    content = content_of(exchange)
    if content is None or not entries_of(content):
        return None
    draft = written(last_flipped(content, sorted(numbered_lines(exchange.body)[0])))
    texts = [exchange.content[:20], exchange.content[20:]]
    parts = [{"type": "thinking", "thinking": draft}, {"type": "reasoning", "text": draft}]
    parts += [{"type": "text", "text": text} for text in texts]
    return reply_json(200, completion(exchange, message={"content": parts}))


def thought(make: Callable[[str, str], str]) -> Fault:
    """No content, but thoughts: what `make` makes of the right content and a wrong draft."""

    def fault(exchange: Exchange) -> Reply | None:
        content = content_of(exchange)
        if content is None or not entries_of(content):
            return None
        draft = written(last_flipped(content, sorted(numbered_lines(exchange.body)[0])))
        return reply_json(
            200, completion(exchange, message={"content": None, "reasoning_content": make(exchange.content, draft)})
        )

    return fault


def drafted(template: str) -> Fault:
    """A reply with RIGHT and DRAFT in it: the right content, and a wrong one that the model does not stand by."""

    def change(content: Content, items: list[int]) -> str:
        right = written(content)
        return template.replace("RIGHT", right).replace("DRAFT", written(last_flipped(content, items)))

    return edited(change)


def ended(finish_reason: str) -> Fault:
    """The right completion with another word for its end."""
    return with_body(lambda body: body["choices"][0].update(finish_reason=finish_reason))


def used(tokens_in: Any, tokens_out: Any) -> Fault:
    """The right completion with these counts of tokens."""
    return with_body(lambda body: body.update(usage={"prompt_tokens": tokens_in, "completion_tokens": tokens_out}))


LIES: list[Any] = [0, 1, -1, -(10**9), 10**4, 10**8, 10**18, 10**30, 0.5, 3.0, 1e300, math.nan, True, "12", None, [], {}]


def usage_lies(exchange: Exchange) -> Reply:
    """The right completion with any counts of tokens, others for each request."""
    chance = random.Random(json.dumps(exchange.body))
    body = completion(exchange)
    body["usage"] = {name: chance.choice(LIES) for name in chance.sample(list(body["usage"]), chance.randint(0, 3))}
    return reply_json(200, body)


def content_object(exchange: Exchange) -> Reply | None:
    content = content_of(exchange)
    return None if content is None else reply_json(200, completion(exchange, message={"content": content}))


def with_body(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """The right completion after a change of its body."""

    def fault(exchange: Exchange) -> Reply:
        body = completion(exchange)
        change(body)
        return reply_json(200, body)

    return fault


def certain(value: Any, whole: bool = False) -> Fault:
    """The right reply with this as the log-probability of every alternative, or in place of each list of them."""

    def fault(exchange: Exchange) -> Reply | None:
        if not exchange.body.get("logprobs"):
            return None
        body = completion(exchange)
        for entry in body["choices"][0]["logprobs"]["content"]:
            entry["top_logprobs"] = value if whole else [top | {"logprob": value} for top in entry["top_logprobs"]]
        return reply_json(200, body)

    return fault


def two_choices(exchange: Exchange) -> Reply:
    body, content = completion(exchange), content_of(exchange)
    other = copy.deepcopy(body["choices"][0]) | {"index": 1}
    if content is not None and entries_of(content):
        other["message"]["content"] = written(last_flipped(content, sorted(numbered_lines(exchange.body)[0])))
    body["choices"].append(other)
    return reply_json(200, body)


def two_objects(content: Content, items: list[int]) -> str:
    first = written(content)
    return f"Either {first} or {written(last_flipped(content, items))}."


BAD_USAGE = {"prompt_tokens": "12", "completion_tokens": None, "total_tokens": -5}

CONTENT_FAULTS: dict[str, Fault] = {
    "truncated": cut("stop"),
    "length_invalid": cut("length"),
    "length_valid": edited(last_flipped, "length"),  # as where a server closes all brackets when the tokens run out
    "refusal": said(None, refusal="I'm sorry, I can't help with that."),
    "content_filter": said("", "content_filter"),
    "content_filter_valid": edited(last_flipped, "content_filter"),
    "null_content": said(None),
    "empty_content": said(""),
    "prose": said("Sure! All of the items match all of the features."),
    "content_object": content_object,
    "wrong_types": edited(wrong_types),
    "index_out_of_range": edited(item_out_of_range),
    "index_zero": edited(index_zero),
    "index_duplicated": edited(feature_duplicated),
    "index_string": edited(planted(str)),
    "index_boolean": edited(planted(lambda index: True)),
    "index_float": edited(planted(float)),
    "item_duplicated": edited(item_duplicated),
    "feature_out_of_range": edited(feature_out_of_range),
    "feature_missing": edited(feature_missing),
    "answer_boolean": edited(answer_boolean),
    "answer_nan": edited(answer_nan),
    "duplicate_keys": edited(duplicate_keys),
    "extra_key": edited(lambda content, items: noted(last_flipped(content, items))),
    "huge_integer": edited(huge_integer),
    "nesting_bomb": said("[" * 100_000),
    "two_objects": edited(two_objects),
    "think_draft": drafted("<think>Perhaps DRAFT? No.</think>\n\nRIGHT"),
    "think_tagged": drafted("<Thinking>\nDRAFT\n</Thinking>RIGHT"),
    "think_unpaired": drafted("DRAFT\nor not?\n</think>\n\nRIGHT"),
    "think_open": drafted("<think>\nI would say DRAFT"),
    "think_open_amid": drafted("Let me see. <think> DRAFT"),
    "think_last": drafted("DRAFT\n<think>Is that right?</think>"),
    "draft_in_prose": drafted("It could be DRAFT, but then it would be otherwise."),
    "tool_call": drafted('<tool_call>\n{"name": "answer", "arguments": DRAFT}\n</tool_call>'),
    "tool_call_open": drafted("<tool_call>\nDRAFT"),
    "content_parts": in_parts,
    "reasoning_only": thought(lambda right, draft: right),
    "reasoning_draft": thought(lambda right, draft: f"I would say {draft}"),
    "finish_eos": ended("eos"),
    "finish_end_turn": ended("end_turn"),
    "finish_STOP": ended("STOP"),
    "finish_unheard_of": ended("natural"),
    "finish_MAX_TOKENS": edited(last_flipped, "MAX_TOKENS"),
    "finish_tool_calls": edited(last_flipped, "tool_calls"),
    "finish_error": said("", "error"),
    "fenced": edited(lambda content, items: f"```json\n{written(content)}\n```"),
    "bad_utf8": bad_utf8,
    "usage_missing": with_body(lambda body: body.pop("usage")),
    "usage_wrong": with_body(lambda body: body.update(usage=BAD_USAGE)),
    "logprobs_high": certain(800),
    "logprobs_infinite": certain(float("inf")),
    "logprobs_nan": certain(float("nan")),
    "logprobs_huge": certain(-(10**400)),
    "logprobs_number": certain(5, whole=True),
    "usage_huge": used(10**8, 10**8),
    "usage_lies": usage_lies,
    "usage_zero": used(0, 0),
    "usage_nothing_said": used(100, 0),
    "usage_negative": used(-5, -100_000),
    "usage_decimals": used(12.5, 3.0),
    "choices_missing": with_body(lambda body: body.pop("choices")),
    "choices_empty": with_body(lambda body: body["choices"].clear()),
    "choices_two": two_choices,
}
