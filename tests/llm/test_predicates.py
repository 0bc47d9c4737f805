from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.predicates import Comparison, Equals, OneOf, Predicate, StartsWith, mentions, parse
from genz_ppl.types import FieldValue

NAMES = st.one_of(
    st.sampled_from(["is", "is not", "at least", "modulo", "n modulo 8", "not", 'a "b"', "c\\", "d.", "-3", "", " e ", "f\ng"]),
    st.text(max_size=12),
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: not v.is_integer()))


@pytest.mark.slow
@given(field=NAMES, value=NAMES, negated=st.booleans())
@example(field="is", value="not", negated=False)
@example(field="x", value="3.", negated=True)
def test_equality_and_prefix_parse_back(field: str, value: str, negated: bool) -> None:
    for predicate in (Equals(field, value, negated), StartsWith(field, value)):
        assert parse(predicate.wording) == predicate
        assert parse(f"  {predicate.wording} . ") == predicate
        assert "\n" not in predicate.wording


@given(field=NAMES, values=st.sets(NAMES, min_size=2, max_size=5))
@example(field="is", values={"one of", "a, b"})
def test_sets_parse_back_and_hold_for_their_values_alone(field: str, values: set[str]) -> None:
    predicate = OneOf(field, tuple(sorted(values)))
    assert parse(predicate.wording) == predicate
    assert all(predicate.answer(value) == 1.0 for value in values)
    assert predicate.answer("none of these, surely") == 0.0
    assert math.isnan(predicate.answer(None))


@given(field=NAMES, phrase=st.text(max_size=20))
@example(field="text", phrase="don't")
@example(field="text", phrase="Ünïcode's İ ß")
@example(field="text", phrase="x's's ''a")
def test_mentions_parse_back(field: str, phrase: str) -> None:
    predicate = mentions(field, phrase)
    if predicate is None:
        assert not any(character.isalnum() for character in phrase)
    else:
        assert parse(predicate.wording) == predicate
        assert predicate.answer(phrase) == 1.0


@given(field=NAMES, numbers=st.tuples(NUMBERS, NUMBERS), modulus=st.one_of(st.none(), st.integers(2, 10**6)))
def test_comparisons_parse_back(field: str, numbers: tuple[int | float, int | float], modulus: int | None) -> None:
    statements = [
        Comparison(field, "at least", numbers[:1], modulus),
        Comparison(field, "less than", numbers[:1], modulus),
        Comparison(field, "between", (min(numbers), max(numbers)), modulus),
    ]
    if modulus is not None:
        statements += [Comparison(field, "is", numbers[:1], modulus), Comparison(field, "is not", numbers[:1], modulus)]
    for predicate in statements:
        assert parse(predicate.wording) == predicate


@pytest.mark.parametrize(
    ("wording", "value", "answer"),
    [
        ("zipcode is 92276", 92276, 1.0),
        ("zipcode is 92276", "92276", 1.0),
        ("zipcode is 92276", "92277", 0.0),
        ("zipcode IS 92276.", 92276.0, 1.0),
        ("x is 3", 3.0, 1.0),
        ("x is 3.0", 3, 1.0),
        ("x is 1", True, 0.0),
        ("x is 9007199254740993", 9007199254740993, 1.0),
        ("x is 9007199254740992", 9007199254740993, 0.0),
        ("pool is true", True, 1.0),
        ("pool is not true", False, 1.0),
        ("roof is tile", None, math.nan),
        ("zipcode is one of 92276, 93510", 93510, 1.0),
        ("zipcode is ONE OF 92276 , 93510.", "92276", 1.0),
        ("roof is one of tile, slate", "shingle", 0.0),
        ("roof is not tile", None, math.nan),
        ("roof is tile", math.nan, math.nan),
        ("roof is Tile", "tile", 0.0),
        ("zipcode starts with 92", 92276, 1.0),
        ("zipcode starts with 92", "19276", 0.0),
        ("zipcode starts with 92", 92276.0, 1.0),
        ("pool starts with t", True, math.nan),
        ("area is at least 3000", 3000, 1.0),
        ("area is at least 3000", 2999.5, 0.0),
        ("area is at least 3000", "3001", 1.0),
        ("area is less than 3000", 3000, 0.0),
        ("area is at least 3000", math.inf, 1.0),
        ("area is at least 3000", "large", math.nan),
        ("area is at least 0", True, math.nan),
        ("area is between 1500 and 2200", 2200, 1.0),
        ("area is between 1500 and 2200", 2201, 0.0),
        ("text mentions 'granite'", "Granite, counters", 1.0),
        ("text mentions 'granite'", "granites", 0.0),
        ("text mentions 'Single-Storey home'", "a single-storey home.", 1.0),
        ("text mentions 'owner'", "the owner’s é suite", 1.0),
        ("text mentions '3'", 3, math.nan),
        ("n modulo 128 is at least 64", 64, 1.0),
        ("n modulo 128 is at least 64", "192", 1.0),
        ("n modulo 128 is less than 64", 128, 1.0),
        ("n modulo 8 is between 2 and 5", 13, 1.0),
        ("n MODULO 7 is 3", -4, 1.0),
        ("n modulo 7 is not 3", 10, 0.0),
        ("n modulo 7 is 3", 3.5, math.nan),
    ],
)
def test_answers_are_exact(wording: str, value: FieldValue, answer: float) -> None:
    assert parse(wording).answer(value) == pytest.approx(answer, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x is less than 5", "x is at least 5", True),
        ("x is not a", "x is a", True),
        ("pool is true", "pool is false", True),
        ("n modulo 2 is at least 1", "n modulo 2 is 1", True),
        ("n modulo 2 is 0", "n modulo 2 is 1", True),
        ("n modulo 8 is between 0 and 3", "n modulo 8 is at least 4", True),
        ("n modulo 8 is less than 4", "n modulo 8 is between 4 and 7", True),
        ("x is at least 5", "x is at least 6", False),
        ("n modulo 8 is at least 4", "n modulo 16 is at least 4", False),
        ("roof is Tile", "roof is tile", False),
        ("x is 3", "x is 3.0", True),
    ],
)
def test_a_statement_and_its_opposite_are_one_feature(one: str, other: str, same: bool) -> None:
    assert (parse(one).key == parse(other).key) is same


@pytest.mark.parametrize(
    "wording",
    [
        "",
        "is a house with a garage",
        "roof is clay tile",
        "area is at least many",
        "area is at least 1e999",
        "area is between 5 and 3",
        "n modulo 1 is 0",
        "n modulo 2.5 is at least 1",
        "text mentions '!!'",
        'roof is "tile',
    ],
)
def test_other_wordings_are_refused_with_the_accepted_forms(wording: str) -> None:
    with pytest.raises(
        OptionError, match=r"the rules model cannot read the feature .* F is at least N; .*double quotes"
    ) as caught:
        parse(wording)
    assert wording in str(caught.value)
    assert "\n" not in str(caught.value)


def test_canonical_wordings_are_the_documented_ones() -> None:
    statements: dict[str, Predicate] = {
        "zipcode is 92276": Equals("zipcode", "92276"),
        "roof is not tile": Equals("roof", "tile", negated=True),
        '"living area" is at least 3000': Comparison("living area", "at least", (3000,)),
        "n modulo 8 is between 2 and 5": Comparison("n", "between", (2, 5), 8),
        "x is less than 0.25": Comparison("x", "less than", (0.25,)),
    }
    assert {text: parse(text) for text in statements} == statements
    assert [predicate.wording for predicate in statements.values()] == list(statements)
