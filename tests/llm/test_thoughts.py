"""Of a reply with thoughts, drafts and words in it the answer is taken, or nothing: never a draft."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.llm.served.probabilities import probability_of_yes
from genz_ppl.llm.served.reading import read_completion
from genz_ppl.llm.served.replies import InvalidReplyError, after_thinking, find_object, own_words, parse_extract

RIGHT = '{"characteristics": "a house", "answers": [{"feature": 1, "applies": 1}, {"feature": 2, "applies": 0}]}'
DRAFT = RIGHT.replace('"applies": 0', '"applies": 1')
PRETTY = json.dumps(json.loads(RIGHT), indent=2)
QUOTING = RIGHT.replace("a house", "it says </think> and <think> and ``` and [/THINK]")
TAKEN = {
    "bare": RIGHT,
    "blanks": f" \n{RIGHT}\r\n",
    "over lines": PRETTY,
    "a fence": f"```json\n{PRETTY}\n```",
    "a fence without a name": f"```\n{RIGHT}```\n",
    "a closing fence only": f"{RIGHT}\n```",
    "words before": f"Here is the JSON object: {RIGHT}",
    "an arrow before": f"The answer -> {RIGHT}",
    "words with brackets before": f"The house is [large].\n\n{RIGHT}",
    "words in brackets before": f"The house is [large]\n{RIGHT}",
    "a thought": f"<think>Hm.</think>{RIGHT}",
    "a thought with a draft": f"<think>\nPerhaps {DRAFT}? No.\n</think>\n\n{RIGHT}",
    "a thought with two drafts": f"<think>{DRAFT} or {DRAFT}</think>\n{RIGHT}",
    "a thought with a broken draft": f"<think>{DRAFT[:50]}</think>\n{RIGHT}",
    "a thought with a list": f"<think>[{DRAFT}, 1]</think>\n{RIGHT}",
    "an empty thought": f"<think>\n\n</think>\n\n{RIGHT}",
    "two thoughts": f"<think>{DRAFT}</think><think>{DRAFT}</think>{RIGHT}",
    "a thought in a thought": f"<think>a <think>{DRAFT}</think> b {DRAFT}</think>{RIGHT}",
    "a thought and a fence": f"<think>{DRAFT}</think>\n```json\n{RIGHT}\n```",
    "a thought and words": f"<think>{DRAFT}</think>\nThe answer is: {RIGHT}",
    "words and a thought": f"Let me see.\n<think>{DRAFT}</think>\n{RIGHT}",
    "a thought that quotes its mark": f"<think>a <think> mark</think>{RIGHT}",
    "an unpaired end": f"Perhaps {DRAFT}\n</think>\n{RIGHT}",
    "an unpaired end right after a draft": f"{DRAFT}</think>{RIGHT}",
    "an unpaired end and a thought": f"{DRAFT}</think>\n<think>{DRAFT}</think>{RIGHT}",
    "thinking": f"<thinking>{DRAFT}</thinking>{RIGHT}",
    "Thinking": f"<Thinking>{DRAFT}</THINKING>{RIGHT}",
    "reasoning": f"<reasoning>{DRAFT}</reasoning>{RIGHT}",
    "thought": f"<thought>{DRAFT}</thought>{RIGHT}",
    "a name with a prefix": f"<seed:think>{DRAFT}</seed:think>{RIGHT}",
    "attributes": f'<think time="3">{DRAFT}</think >{RIGHT}',
    "brackets": f"[THINK]{DRAFT}[/THINK]{RIGHT}",
    "triangles": f"◁think▷{DRAFT}◁/think▷{RIGHT}",
    "bars": f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{RIGHT}",
    "bars in small letters": f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{RIGHT}",
    "channels": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{RIGHT}",
    "marks in its strings": QUOTING,
    "marks in its strings and a fence": f"```json\n{RIGHT.replace('a house', 'a <think> mark')}\n```",
}
NOTHING = {
    "nothing": "",
    "a thought and no more": "<think>Hm.</think>",
    "a thought with a draft and no more": f"<think>{DRAFT}</think>",
    "an open thought": f"<think>Perhaps {DRAFT}",
    "an open thought right before": f"<think>{DRAFT}",
    "an open thought with a fence": f"<think>\n```json\n{DRAFT}\n```",
    "an open thought after a closed one": f"<think>a</think> b <think> {DRAFT}",
    "an open thought in other words": f"<thinking>{DRAFT}",
    "an open thought in brackets": f"[THINK] so {DRAFT}",
    "an open thought in triangles": f"◁think▷ so {DRAFT}",
    "an open thought in bars": f"<|START_THINKING|> so {DRAFT}",
    "an open channel": f"<|channel|>analysis<|message|>So {DRAFT}",
    "a thought last": f"{DRAFT}<think>Is it?</think>",
    "an open thought last": f"{DRAFT}<think>Is it?",
    "a thought amid the object": f"{DRAFT[:40]}<think>Is it?</think>{DRAFT[40:]}",
    "only an end": f"{DRAFT}</think>",
    "an end and words": f"{DRAFT}</think> I do not know.",
    "a draft amid words": f"It could be {DRAFT}, but then it would be large.",
    "a draft and a full stop": f"It could be {DRAFT}.",
    "a draft and an answer": f"It could be {DRAFT}. No: {RIGHT}",
    "an answer and a draft": f"{RIGHT} rather than {DRAFT}",
    "a draft and half an answer": f"It could be {DRAFT}. No: {RIGHT[:40]}",
    "a fence and words": f"```json\n{DRAFT}\n```\nLet me check that again.",
    "two fences": f"```json\n{DRAFT}\n```\n```json\n{RIGHT}\n```",
    "a call of a tool": f'<tool_call>\n{{"name": "answer", "arguments": {DRAFT}}}\n</tool_call>',
    "a bare call of a tool": f"<tool_call>{DRAFT}</tool_call>",
    "an open call of a tool": f"<tool_call>\n{DRAFT}",
    "an open call of a tool with words": f"<tool_call> Should I say {DRAFT}",
    "a call in brackets": f"[TOOL_CALLS]answer{DRAFT}",
    "a call in brackets with arguments": f"[TOOL_CALLS]answer[ARGS]{DRAFT}",
    "a call in bars": f"<|python_tag|>{DRAFT}",
    "a call in wide bars": f"<｜tool▁calls▁begin｜>answer {DRAFT}",
    "a function": f"<function=answer>{DRAFT}",
    "a tag": f"<draft>{DRAFT}",
    "a tag and its end": f"<answer>{DRAFT}</answer>",
    "the end of a text": f"{DRAFT}<|im_end|>",
    "a list": f"[{DRAFT}]",
    "an empty object": "<think>a</think>{}",
}


def taken(text: str) -> list[int] | None:
    try:
        found: list[int] = parse_extract(find_object(text), 1, 2)[0].tolist()
    except InvalidReplyError:
        return None
    return found


@pytest.mark.parametrize("name", TAKEN)
def test_the_answer_is_taken(name: str) -> None:
    assert taken(TAKEN[name]) == [1, 0]


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_taken(name: str) -> None:
    assert taken(NOTHING[name]) is None


ENDS = ["</think>", "</Reasoning>", "[/THINK]"]
WORDS = ["<think>", "<reasoning>", "[THINK]", "```json\n", "\n```", "<tool_call>", "{", "}", "So", " or ", "\n"]
PIECES = st.lists(st.sampled_from([*WORDS, *ENDS]), max_size=6).map("".join)
OPEN = st.lists(st.sampled_from([*WORDS, DRAFT]), max_size=6).map("".join)


@given(before=PIECES, after=PIECES)
def test_a_draft_that_something_follows_is_never_taken(before: str, after: str) -> None:
    if after.strip() not in ("", "```"):
        assert taken(f"{before}{DRAFT}{after}") is None
    assert taken(f"{before}{DRAFT}{after}{RIGHT}") in (None, [1, 0])


@given(before=OPEN)
def test_a_draft_in_thoughts_is_never_taken(before: str) -> None:
    for thoughts in (f"<think>{before}{DRAFT}", f"{before}<thinking> {DRAFT} ", f"{before}{DRAFT}</think>"):
        assert taken(thoughts) is None
    assert taken(f"<think>{before}{DRAFT}</think>{RIGHT}") == [1, 0]
    assert taken(f"{before}{DRAFT}\n</think>\n{RIGHT}") == [1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A brick house.", "A brick house."),
        (" <think>Is it brick?</think>\nA brick house.\n", "A brick house."),
        ("Is it brick?</think>A brick house.", "A brick house."),
        ("<think>Is it brick?", None),
        ("<think>Is it brick?</think>\n", None),
        ("A house.\n<think>Or not?", None),
        (" ", None),
    ],
)
def test_words_without_thoughts(text: str, words: str | None) -> None:
    if words is not None:
        assert own_words(text) == words
        return
    with pytest.raises(InvalidReplyError, match="thoughts and no reply"):
        own_words(text)


def test_what_is_no_thought_stays() -> None:
    assert after_thinking(f" {QUOTING}\n") == QUOTING
    assert after_thinking(f"Here: {RIGHT}") == f"Here: {RIGHT}"
    assert own_words("A sign reads <thinkpad>.") == "A sign reads <thinkpad>."


CHOICE = {"index": 0, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "reasoning_content": RIGHT}, RIGHT),
        ({"content": "", "reasoning_content": RIGHT}, RIGHT),
        ({"content": " \n", "reasoning": f"\n{RIGHT}\n"}, f"\n{RIGHT}\n"),
        ({"reasoning_content": RIGHT}, RIGHT),
        ({"content": RIGHT, "reasoning_content": DRAFT}, RIGHT),
        ({"content": "", "reasoning_content": f"Perhaps {DRAFT}"}, None),
        ({"content": "", "reasoning_content": f"{DRAFT}</think>{RIGHT}"}, None),
        ({"content": "", "reasoning_content": [RIGHT]}, None),
        ({"content": 5, "reasoning_content": RIGHT}, None),
        ({"content": [{"type": "text", "text": RIGHT}]}, RIGHT),
        ({"content": [{"type": "text", "text": RIGHT[:9]}, {"type": "text", "text": RIGHT[9:]}]}, RIGHT),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}, {"type": "text", "text": RIGHT}]},
            RIGHT,
        ),
        ({"content": [{"type": "reasoning", "text": DRAFT}, {"type": "text", "text": RIGHT}]}, RIGHT),
        ({"content": [{"type": "thinking", "text": DRAFT}]}, None),
        ({"content": [{"type": "text", "text": 5}, {"type": "text", "text": RIGHT}]}, None),
        ({"content": [{"text": DRAFT}, RIGHT, None]}, None),
        ({"content": []}, None),
        ({"content": {"type": "text", "text": RIGHT}}, None),
        ({"content": None, "tool_calls": [{"function": {"name": "answer", "arguments": DRAFT}}]}, None),
    ],
)
def test_where_a_reply_stands(message: dict[str, object], text: str | None) -> None:
    body = {"choices": [CHOICE | {"message": message}]}
    if text is not None:
        assert read_completion(body).text == text
        return
    with pytest.raises(Exception, match="an empty reply"):
        read_completion(body)


def test_the_probability_is_that_of_the_answer() -> None:
    """Not of the draft: the tokens of thoughts are among those of the reply."""

    def said(starts: list[str], sure: float) -> list[tuple[str, dict[str, float]]]:
        start: list[tuple[str, dict[str, float]]] = [(token, {}) for token in starts]
        return [*start, ("1", {"1": sure, "0": 0.0}), ("}", {})]

    for starts in (['{"', "1", '":'], ['{"feature": 1, "applies": ']):  # as earlier prompts ask
        assert probability_of_yes([("<think>", {}), *said(starts, -9.0), ("</think>", {}), *said(starts, 0.0)]) == 0.5
