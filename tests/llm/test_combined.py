"""Questions put together from others: their text, their logic with missing answers, and that only parts are asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.llm.combined import Combination, Part, answers_by_parts, conjunction, implied, parse, parts_of, rules_of

texts = st.text(alphabet="ab ()AND ORT\"'", min_size=1, max_size=12)
parts = st.builds(Part, texts, st.booleans())
rules = st.lists(st.lists(parts, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
combinations = st.builds(Combination, rules).filter(lambda combination: 1 < len(combination.parts) < 7)


def test_the_text_says_it_all() -> None:
    both = conjunction([("math is A", False), ("roof is tile (red)", True)])
    assert both.text == "(math is A) AND NOT (roof is tile (red))"
    assert parse(both.text) == both
    assert parts_of(both.text) == ("math is A", "roof is tile (red)")


def test_opposites_of_all_are_any_of_them() -> None:
    neither = conjunction([("a", True), ("b", True)])
    assert neither.text == "(a) OR (b)"
    answers = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    assert neither.answer(answers).tolist() == [0, 1, 1, 1]


def test_opposites_of_opposites_are_the_question_itself() -> None:
    both = conjunction([("not (Is it old?)", True), ("not (is red (dark))", False), ("not (a) or (b)", False)])
    assert both.text == "(Is it old?) AND (not (a) or (b)) AND NOT (is red (dark))"
    assert rules_of("not (not (a))") == ((Part("a"),),)
    assert rules_of("not (a)") == ((Part("a", True),),)


@pytest.mark.parametrize(
    "text", ["math is A", "(math is A)", "(a) AND (b) OR c", "(a) AND b", "() AND (b)", "(a AND (b)", "(a) and (b)"]
)
def test_other_texts_are_questions_of_their_own(text: str) -> None:
    assert parse(text) is None
    assert parts_of(text) == (text,)


@given(combinations)
def test_what_is_readable_comes_back(combination: Combination) -> None:
    if combination.is_readable:
        assert parse(combination.text) == combination


@given(combinations, st.data())
def test_a_missing_answer_counts_only_if_it_matters(combination: Combination, data: st.DataObject) -> None:
    size = len(combination.parts)
    known = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=size, max_size=size)))
    filled = [[one] if one == one else [0.0, 1.0] for one in known]
    possible = {logic(combination, values) for values in itertools.product(*filled)}
    found = combination.answer(known[None, :])[0]
    assert (found != found) if len(possible) == 2 else possible == {found}


def logic(combination: Combination, values: tuple[float, ...]) -> float:
    """1. where all parts of any rule hold."""
    ends = np.cumsum([len(rule) for rule in combination.rules]).tolist()
    pairs = [bool(value) != part.negated for value, part in zip(values, combination.parts, strict=True)]
    return float(any(all(pairs[end - len(rule) : end]) for rule, end in zip(combination.rules, ends, strict=True)))


def test_and_binds_more_closely_than_or() -> None:
    either = parse("(a) AND NOT (b) OR NOT (a) AND (b)")
    assert either == Combination(((Part("a"), Part("b", True)), (Part("a", True), Part("b"))))
    assert parts_of(either.text) == ("a", "b")
    assert implied(either.text) == ()
    assert answers_by_parts([either.text], lambda texts: np.array([[1.0, 1.0], [1.0, 0.0]]))[:, 0].tolist() == [0.0, 1.0]


def test_each_part_is_asked_once() -> None:
    asked: list[list[str]] = []

    def ask(texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        asked.append(texts)
        return np.array([[float(text == "a") for text in texts], [1.0] * len(texts)])

    answers = answers_by_parts(["(a) AND NOT (b)", "b", "(a) OR (b)"], ask)
    assert asked == [["a", "b"]]
    assert answers.tolist() == [[1, 0, 1], [0, 1, 1]]
