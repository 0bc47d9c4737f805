"""Replies: the asked form gives its answers back, anything else is refused, and no refusal repeats what the reply says."""

from __future__ import annotations

import json
import pickle
import re
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genz_ppl.errors import GenzError
from genz_ppl.llm.served.replies import LONGEST_REPLY, InvalidReplyError, find_object, parse_both, parse_extract, parse_wordings
from genz_ppl.types import IntArray

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))
MATRICES = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 1)))
PROSE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def reply_of(matrix: IntArray, characteristics: str = "plain") -> dict[str, Any]:
    """A right reply with the answers of the matrix, (items, features)."""
    columns = list(enumerate(matrix.T.tolist(), start=1))
    if len(matrix) == 1:
        answers = [{"feature": number, "applies": column[0]} for number, column in columns]
        return {"characteristics": characteristics, "answers": answers}
    matches = [
        {"feature": number, "matched_items": [item for item, answer in enumerate(column, start=1) if answer]}
        for number, column in columns
    ]
    return {"characteristics": characteristics, "features": matches}


def numbered_of(matrix: IntArray, characteristics: str = "plain") -> dict[str, Any]:
    """The same under the features' numbers."""
    reply = reply_of(matrix, characteristics)
    entries = reply.pop("answers" if len(matrix) == 1 else "features")
    return reply | {str(entry["feature"]): entry.get("applies", entry.get("matched_items")) for entry in entries}


@given(matrix=MATRICES, prose=PROSE, data=st.data())
def test_answers_under_the_numbers_of_features_come_back(matrix: IntArray, prose: str, data: st.DataObject) -> None:
    reply = numbered_of(matrix, prose)
    shuffled = dict(data.draw(st.permutations(list(reply.items()))))
    for found in (found for found in shuffled.values() if isinstance(found, list)):
        found[:] = data.draw(st.permutations(found))
    short = {key: value for key, value in shuffled.items() if key != "characteristics"}
    for text in (json.dumps(reply, separators=(",", ":")), json.dumps(shuffled, indent=2)):
        np.testing.assert_array_equal(parse_extract(text, *matrix.shape), matrix)
    n_items, n_features = matrix.shape
    np.testing.assert_array_equal(parse_extract(json.dumps(short), n_items, n_features, described=False), matrix)
    check_refused(lambda: parse_extract(json.dumps(short), n_items, n_features))


@given(matrix=MATRICES, prose=PROSE, data=st.data())
def test_any_answers_come_back_whatever_the_order_and_the_prose(matrix: IntArray, prose: str, data: st.DataObject) -> None:
    reply = reply_of(matrix, prose)
    key = "answers" if len(matrix) == 1 else "features"
    reply[key] = data.draw(st.permutations(reply[key]))
    for entry in reply[key]:
        if "matched_items" in entry:
            entry["matched_items"] = data.draw(st.permutations(entry["matched_items"]))
    reply = dict(data.draw(st.permutations(list(reply.items()))))
    for text in (json.dumps(reply), json.dumps(reply, ensure_ascii=False, indent=2), f"\n {json.dumps(reply)}\r\n\t"):
        parsed = parse_extract(text, *matrix.shape)
        assert parsed.dtype == np.int64
        np.testing.assert_array_equal(parsed, matrix)


# --- one fault each, in a right reply about 1 item or 3 items, 2 features

ONE = '{"characteristics": "a house", "answers": [{"feature": 1, "applies": 1}, {"feature": 2, "applies": 0}]}'
MANY = '{"characteristics": "houses", "features": [{"feature": 1, "matched_items": [1, 3]}, {"feature": 2, "matched_items": []}]}'
HUGE = "9" * 5000
NOT_A_NUMBER = [
    '"1"',
    "true",
    "false",
    "null",
    "1.0",
    "1e0",
    "[1]",
    "{}",
    "NaN",
    "Infinity",
    "-Infinity",
    '"yes"',
    "٣",
    "01",
    "+1",
    "0x1",
    "1_0",
]
NOT_A_COUNT = [*NOT_A_NUMBER, "-1", "-0", "0", HUGE, f"-{HUGE}", "4294967297", "18446744073709551617"]
OF_ONE = [
    *(ONE.replace('"applies": 1', f'"applies": {wrong}') for wrong in [*NOT_A_NUMBER, "2", "-1", "-0", HUGE, "4294967296"]),
    *(ONE.replace('"feature": 1', f'"feature": {wrong}') for wrong in [*NOT_A_COUNT, "3", "2"]),
    ONE.replace(', {"feature": 2, "applies": 0}', ""),  # a feature left out
    ONE.replace(', {"feature": 2', ', {"feature": 1, "applies": 1}, {"feature": 2'),  # one twice, in agreement
    ONE.replace(', {"feature": 2', ', {"feature": 3, "applies": 1}, {"feature": 2'),  # one too many
    ONE.replace('"applies": 1', '"applies": 0, "applies": 1'),
    ONE.replace('"applies": 1', '"applies": 1, "applies": 1'),
    ONE.replace('"feature": 2', '"feature": 1, "feature": 2'),
    ONE.replace('"applies": 1', '"applies": 1, "sure": 1'),
    ONE.replace('"applies": 1', '"Applies": 1'),
    ONE.replace('"applies": 1', '"applіes": 1'),  # a Cyrillic letter
    ONE.replace(', "applies": 1', ""),
    ONE.replace('"feature": 1, ', ""),
    ONE.replace("answers", "features"),
    ONE.replace('"characteristics": "a house", ', ""),
    ONE.replace('"a house"', "null"),
    ONE.replace('"a house"', '["a house"]'),
    ONE.replace('"a house"', '"a \n house"'),  # a line end that is not escaped
    ONE.replace("{", '{"more": NaN, ', 1),
    ONE.replace("{", '{"characteristics": "", ', 1),
    ONE.replace("}]", '}], "answers": []'),
    ONE.replace("[{", '{"1": {').replace("}]", "}}"),
]
OF_MANY = [
    *(MANY.replace("[1, 3]", f"[1, {wrong}]") for wrong in [*NOT_A_COUNT, "4", "1"]),
    *(
        MANY.replace("[1, 3]", wrong)
        for wrong in ("null", "1", '"1, 3"', "{}", '{"1": 1}', "[[1, 3]]", "[1, 2, 3, 4]", "[1, 3, 3]")
    ),
    *(MANY.replace('"feature": 1', f'"feature": {wrong}') for wrong in [*NOT_A_COUNT, "3", "2"]),
    MANY.replace(', {"feature": 2, "matched_items": []}', ""),
    MANY.replace(', {"feature": 2', ', {"feature": 1, "matched_items": [2]}, {"feature": 2'),
    MANY.replace('"matched_items": []', '"matched_items": [], "matched_items": [1]'),
    MANY.replace('"matched_items": []', '"matched": []'),
    MANY.replace(', "matched_items": []', ""),
    MANY.replace('"matched_items": []', '"matched_items": [], "unmatched_items": [1, 2, 3]'),
    MANY.replace('"characteristics": "houses", ', ""),
    MANY.replace('"features"', '"answers"'),
]
NUMBERED_ONE = '{"characteristics": "a house", "1": 1, "2": 0}'
NUMBERED_MANY = '{"characteristics": "houses", "1": [1, 3], "2": []}'
KEYS = ["01", "0", "-1", "+1", "3", "1.0", " 1", "1 ", "one", "", "٣", "feature 1", "1e0", HUGE, "4294967297"]
OF_NUMBERED_ONE = [
    *(NUMBERED_ONE.replace('"1": 1', f'"1": {wrong}') for wrong in [*NOT_A_NUMBER, "2", "-1", "-0", HUGE, "[]"]),
    *(NUMBERED_ONE.replace('"1":', f"{json.dumps(wrong)}:") for wrong in KEYS),
    NUMBERED_ONE.replace(', "2": 0', ""),
    NUMBERED_ONE.replace('"2"', '"1"'),
    NUMBERED_ONE.replace('"1": 1', '"1": 1, "1": 1'),
    NUMBERED_ONE.replace("}", ', "3": 0}'),
    NUMBERED_ONE.replace("}", ', "answers": []}'),
    NUMBERED_ONE.replace("}", ', "features": []}'),
    NUMBERED_ONE.replace("}", ', "note": 1}'),
    NUMBERED_ONE.replace('"a house"', "1"),
]
OF_NUMBERED_MANY = [
    *(NUMBERED_MANY.replace("[1, 3]", f"[1, {wrong}]") for wrong in [*NOT_A_COUNT, "4", "1"]),
    *(NUMBERED_MANY.replace("[1, 3]", wrong) for wrong in ("null", "1", '"1, 3"', "{}", '{"1": 1}', "[[1, 3]]", "[1, 3, 3]")),
    *(NUMBERED_MANY.replace('"1":', f"{json.dumps(wrong)}:") for wrong in KEYS),
    NUMBERED_MANY.replace(', "2": []', ""),
    NUMBERED_MANY.replace('"2"', '"1"'),
    NUMBERED_MANY.replace("}", ', "features": []}'),
    NUMBERED_MANY.replace("}", ', "3": []}'),
    NUMBERED_MANY.replace('"houses"', "[]"),
]
OF_BOTH: list[Callable[[str], str]] = [
    lambda text: "",
    lambda text: " ",
    lambda text: "null",
    lambda text: "1",
    lambda text: "[]",
    lambda text: "{}",
    lambda text: "I cannot help with that.",
    lambda text: "<html><body>503</body></html>",
    lambda text: f"[{text}]",
    lambda text: json.dumps(text),
    lambda text: json.dumps({"reply": json.loads(text)}),
    lambda text: text + text,
    lambda text: f"{text} {{}}",
    lambda text: f"{text},",
    lambda text: f"{text}]",
    lambda text: f"```json\n{text}\n```",
    lambda text: f"Here it is: {text}",
    lambda text: f"{text}\nI hope this helps.",
    lambda text: f"\ufeff{text}",
    lambda text: f"\x00{text}",
    lambda text: f"{text}\x00",
    lambda text: f"\u00a0{text}",
    lambda text: text.replace('"', "'"),
    lambda text: text.replace("]", ",]"),
    lambda text: text.replace("{", "{// a remark\n", 1),
    lambda text: text.replace('"characteristics": ', "").replace('"a house", ', "").replace('"houses", ', ""),
    lambda text: text + " " * LONGEST_REPLY,
    lambda text: text.replace("house", "a" * LONGEST_REPLY),
]


@pytest.mark.parametrize("fault", OF_ONE)
def test_faults_in_a_reply_about_one_item(fault: str) -> None:
    assert parse_extract(ONE, 1, 2).tolist() == [[1, 0]]
    assert fault != ONE
    check_refused(lambda: parse_extract(fault, 1, 2))


@pytest.mark.parametrize("fault", OF_MANY)
def test_faults_in_a_reply_about_many_items(fault: str) -> None:
    assert parse_extract(MANY, 3, 2).tolist() == [[1, 0], [0, 0], [1, 0]]
    assert fault != MANY
    check_refused(lambda: parse_extract(fault, 3, 2))


@pytest.mark.parametrize("fault", OF_NUMBERED_ONE)
def test_faults_in_numbers_about_one_item(fault: str) -> None:
    assert parse_extract(NUMBERED_ONE, 1, 2).tolist() == [[1, 0]]
    assert fault != NUMBERED_ONE
    check_refused(lambda: parse_extract(fault, 1, 2))


@pytest.mark.parametrize("fault", OF_NUMBERED_MANY)
def test_faults_in_numbers_about_many_items(fault: str) -> None:
    assert parse_extract(NUMBERED_MANY, 3, 2).tolist() == [[1, 0], [0, 0], [1, 0]]
    assert fault != NUMBERED_MANY
    check_refused(lambda: parse_extract(fault, 3, 2))


@pytest.mark.parametrize("spoil", OF_BOTH)
def test_faults_around_a_reply(spoil: Callable[[str], str]) -> None:
    check_refused(lambda: parse_extract(spoil(ONE), 1, 2))
    check_refused(lambda: parse_extract(spoil(MANY), 3, 2))
    check_refused(lambda: parse_extract(spoil(NUMBERED_MANY), 3, 2))
    if spoil(NUMBERED_ONE) != NUMBERED_ONE:  # there is no list in it
        check_refused(lambda: parse_extract(spoil(NUMBERED_ONE), 1, 2))
    check_refused(lambda: parse_wordings(spoil('{"description": "", "characteristics": ["a house"]}'), 2))


def check_refused(call: Callable[[], object]) -> None:
    """InvalidReplyError with a short reason of a few known words, and nothing of the reply anywhere in it."""
    with pytest.raises(InvalidReplyError) as caught:
        call()
    error = caught.value
    assert error.__context__ is None
    assert error.__cause__ is None
    assert 0 < len(error.reason) < 50
    assert "hous" not in error.reason + str(error)
    assert "house" not in "".join(traceback.format_exception_only(error))


def test_a_reply_of_one_form_is_no_reply_of_the_other() -> None:
    check_refused(lambda: parse_extract(ONE, 2, 2))
    check_refused(lambda: parse_extract(MANY, 1, 2))
    check_refused(lambda: parse_extract(MANY, 2, 2))  # item 3 is out of range
    check_refused(lambda: parse_extract(MANY, 3, 1))
    check_refused(lambda: parse_extract(MANY, 3, 3))


@pytest.mark.parametrize(("text", "shape"), [(ONE, (1, 2)), (MANY, (3, 2))])
def test_a_reply_cut_anywhere_is_refused(text: str, shape: tuple[int, int]) -> None:
    for end in range(len(text)):
        check_refused(lambda: parse_extract(text[:end], *shape))  # noqa: B023
        check_refused(lambda: parse_extract(find_object(text[:end]), *shape))  # noqa: B023
        check_refused(lambda: parse_extract(find_object("It says " + text[-end - 1 : -1]), *shape))  # noqa: B023


LETTERS = st.sampled_from(list('{}[]",:0123456789-.e \\ntrufalsNI\x00٣é'))


@given(matrix=MATRICES, data=st.data())
def test_a_changed_letter_is_refused_or_means_what_it_says(matrix: IntArray, data: st.DataObject) -> None:
    """What is taken after an edit is a reply that says these very answers: written anew from them, it reads the same."""
    text = json.dumps(reply_of(matrix))
    at = data.draw(st.integers(0, len(text)))
    edited = text[:at] + data.draw(st.text(LETTERS, max_size=2)) + text[at + data.draw(st.integers(0, 2)) :]
    try:
        parsed = parse_extract(edited, *matrix.shape)
    except InvalidReplyError:
        return
    said = json.loads(edited)
    assert json.loads(json.dumps(reply_of(parsed, said["characteristics"]))) == in_order(said)


def in_order(reply: dict[str, Any]) -> dict[str, Any]:
    entries = reply.get("answers") or reply["features"]
    entries.sort(key=lambda entry: entry["feature"])
    for entry in entries:
        entry.get("matched_items", []).sort()
    return reply


@pytest.mark.parametrize(
    "bomb",
    [
        "[" * 400_000,
        '{"a":' * 150_000,
        '{"characteristics": ' + "[" * 300_000,
        ONE.replace('"a house"', "[" * 100_000 + "]" * 100_000),
        ONE.replace("1}", "9" * 900_000 + "}"),
        ONE.replace("1}", "1." + "9" * 900_000 + "}"),
        ONE.replace("1}", "1e" + "9" * 900_000 + "}"),
        MANY.replace("[1, 3]", f"[{'1,' * 400_000}1]"),
        MANY.replace("[1, 3]", f"[{'{},' * 200_000}1]"),
        "{" * 900_000,
        "{}" * 450_000,
        "\\" * 900_000,
        '{"' + "\\u0000" * 150_000,
    ],
)
def test_bombs_are_refused_in_no_time(bomb: str) -> None:
    started = time.perf_counter()
    check_refused(lambda: parse_extract(bomb, 1, 2))
    check_refused(lambda: parse_extract(bomb, 3, 2))
    check_refused(lambda: parse_wordings(bomb, 2))
    check_refused(lambda: parse_extract(find_object(bomb), 1, 2))
    assert time.perf_counter() - started < 5.0  # a tenth of it on an idle machine


# --- wordings


@pytest.mark.parametrize(("key", "rest"), [("characteristics", {"description": "a"}), ("questions", {})])
def test_wordings_are_cleaned_and_in_order(key: str, rest: dict[str, str]) -> None:
    given = ["  Has a pool? ", "", "has a POOL?", "On\ntwo\tlines\x00", " \n", "Größe über 100 m²", "sixth", "seventh"]
    assert parse_wordings(json.dumps({**rest, key: given}), 4) == ["Has a pool?", "On two lines", "Größe über 100 m²", "sixth"]
    assert parse_wordings(json.dumps({**rest, key: ["only one", "\ud83d half an emoji", "\U0001f3e0"]}), 4) == [
        "only one",
        "\U0001f3e0",
    ]


def test_wordings_both_ways_round() -> None:
    sides = {"positive": [" a  pool", "A POOL", "a garden", "old"], "negative": ["new", "a garden", ""]}
    assert parse_both(json.dumps({"description": "", **sides}), 2) == (["a pool", "a garden"], ["new", "a garden"])
    one_side = {"description": "", "positive": [], "negative": ["new"]}
    assert parse_both(json.dumps(one_side), 3) == ([], ["new"])
    for wrong in (
        {**one_side, "negative": [" "]},
        {"description": "", "positive": ["a house"]},
        {**one_side, "characteristics": ["a house"]},
        {**one_side, "positive": "a house"},
    ):
        check_refused(lambda wrong=wrong: parse_both(json.dumps(wrong), 3))  # type: ignore[misc]


@given(wordings=st.lists(PROSE, max_size=8), n=st.integers(1, 8))
def test_wordings_are_distinct_and_at_most_n(wordings: list[str], n: int) -> None:
    text = json.dumps({"questions": wordings})
    if not any(re.search(r"[^\s\x00-\x1f\x7f-\x9f]", wording) for wording in wordings):
        check_refused(lambda: parse_wordings(text, n))
        return
    found = parse_wordings(text, n)
    assert 1 <= len(found) <= n
    assert len({wording.casefold() for wording in found}) == len(found)
    assert all(wording == " ".join(wording.split()) and wording for wording in found)
    assert parse_wordings(json.dumps({"description": "", "characteristics": found}), n) == found


def test_long_wordings_are_cut() -> None:
    (found,) = parse_wordings(json.dumps({"questions": ["é" * 299 + " " + "b" * 100]}), 3)
    assert found == "é" * 299
    assert len(parse_wordings(json.dumps({"questions": ["a" * 1000, "b"]}), 3)[0]) == 300


@pytest.mark.parametrize(
    "wrong",
    [
        '{"description": "", "characteristics": "a house"}',
        '{"description": "", "characteristics": ["a house", 1]}',
        '{"description": "", "characteristics": ["a house", null]}',
        '{"description": "", "characteristics": [["a house"]]}',
        '{"description": "", "characteristics": [{"text": "a house"}]}',
        '{"description": "", "characteristics": {"1": "a house"}}',
        '{"description": "", "characteristics": ["a house"], "questions": ["a house"]}',
        '{"description": "", "characteristics": ["a house"], "why": "a house"}',
        '{"description": "", "characteristics": ["a house"], "characteristics": ["a house"]}',
        '{"characteristic": ["a house"]}',
        '{"description": "", "characteristics": []}',
        '{"description": "", "characteristics": ["", " \\n "]}',
        '{"description": "", "characteristics": ["\\ud800 house", "\\udfff\\ud800"]}',
        '["a house"]',
        '{"description": "", "characteristics": ["a house", "a hou',
    ],
)
def test_other_forms_of_wordings_are_refused(wrong: str) -> None:
    check_refused(lambda: parse_wordings(wrong, 3))


# --- replies of servers without a JSON mode


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "```json\n{}\n```",
        "```\n{}```",
        "Here is the JSON object: {}",
        "The house is [large].\n\n{}\n\n",
        "\ufeff{}\n\n",
        '<think>A house with "quotes" and a \\ backslash.</think>\n{}',
        "\x00{}",
    ],
)
def test_the_only_object_is_found(around: str) -> None:
    for text in (ONE, json.dumps(json.loads(ONE), indent=4), ONE.replace("a house", '{[}] \\" ``` {}')):
        found = find_object(around.replace("{}", text, 1))
        assert found == text
        assert parse_extract(found, 1, 2).tolist() == [[1, 0]]


QUOTED = ONE.replace('"applies": 0', '"applies": 1')  # what an item may say that its answer is
AMBIGUOUS = [
    "no object, a house",
    "[1, 2]",
    f"[{ONE}]",
    f"[\n{ONE}\n]",
    f"[{ONE}",
    f"{ONE}]",
    f"[1, {ONE} ",
    f"{ONE}, 1]",
    f"{ONE} {ONE}",
    f"{QUOTED} is what the house says. My answer: {ONE}",
    f"{QUOTED} is what the house says. My answer: {ONE[:40]}",
    f"{ONE} Note: {{feature 2}} was hard.",
    f"{ONE}\n\nLet me know (or not).",
    f"{ONE}\x00",
    f"{{feature 2}} was hard. {ONE}",
    f"}} {ONE}",
    f"{ONE} }}",
    f'{{"reply": {ONE}',
    f"{{{ONE}}}",
    ONE[:-1],
    ONE[1:],
    "```json\n" + ONE[:-4] + "\n```",
    ONE.replace('"', "'"),
    ONE.replace('"feature": 2', '"feature": 2, "feature": 1'),
    ONE.replace('"applies": 0', '"applies": NaN'),
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_second_object_or_a_part_of_one_is_ambiguous(text: str) -> None:
    check_refused(lambda: find_object(text))


@given(text=st.text(st.sampled_from(list('{}[]",:01a\\ \n')), max_size=40))
def test_what_is_found_is_one_object_and_all_braces(text: str) -> None:
    try:
        found = find_object(text)
    except InvalidReplyError:
        return
    assert isinstance(json.loads(found), dict)
    before, _, after = text.partition(found)
    assert not {"{", "}"} & set(before + after)


def test_the_error_is_one_of_the_package_and_crosses_processes() -> None:
    error = InvalidReplyError("a key twice")
    assert isinstance(error, GenzError)
    assert str(error) == "invalid reply: a key twice"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert again.reason == error.reason
