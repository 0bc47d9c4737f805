"""Questions about dates and times: found, worded, read back, and answered exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.dates import ROUNDS, Before, DatePart
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.rules.predicates import parse
from genz_ppl.llm.rules.quoting import quoted
from genz_ppl.types import Contrast, Item

FIELDS = st.text(min_size=1, max_size=8) | st.sampled_from(["sold", "month", "is", "date of sale", "on or after"])
RUNS = st.sampled_from(sorted(ROUNDS)).flatmap(
    lambda part: st.tuples(st.just(part), *(st.integers(0, len(ROUNDS[part]) - 1) for _ in "12"))
)


@given(field=FIELDS, moment=st.datetimes(), negated=st.booleans(), value=st.datetimes())
def test_before_reads_back(field: str, moment: datetime, negated: bool, value: datetime) -> None:
    statement = Before(field, moment, negated)
    assert parse(statement.wording) == statement
    assert (
        parse(statement.wording.upper().replace(quoted(field).upper(), quoted(field))) == statement
        or not field.isascii()
        or field.lower() != field
    )
    assert statement.answer(value) == float((value >= moment) if negated else (value < moment))


@given(field=FIELDS, run=RUNS, value=st.datetimes())
def test_parts_read_back_and_have_opposites(field: str, run: tuple[str, int, int], value: datetime) -> None:
    statement = DatePart(field, *run)  # type: ignore[arg-type]
    assert parse(statement.wording) == statement
    assert statement.opposite.opposite == statement
    assert statement.opposite.key == statement.key
    if (run[1] - run[2]) % len(ROUNDS[statement.part]) != 1:  # else all of them
        assert statement.answer(value) + statement.opposite.answer(value) == 1


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("sold is before 1 June 2021", date(2021, 5, 31), datetime(2021, 6, 1)),
        ("sold is after 1 June 2021", date(2021, 6, 2), datetime(2021, 6, 1, 23, 59)),
        ("sold is on or after 1 June 2021 18:30", datetime(2021, 6, 1, 18, 30), date(2021, 6, 1)),
        ("sold is in 2020", date(2020, 12, 31), date(2021, 1, 1)),
        ("sold is in 2018 to 2020", date(2018, 1, 1), date(2017, 12, 31)),
        ("month of sold is June to August", date(1999, 8, 31), date(1999, 9, 1)),
        ("month of sold is November to February", date(2020, 1, 5), date(2020, 3, 1)),
        ("weekday of sold is Saturday or Sunday", date(2021, 6, 6), date(2021, 6, 7)),
        ("hour of sold is at least 18", datetime(2021, 6, 6, 18), datetime(2021, 6, 6, 17, 59)),
        ("hour of sold is less than 6", datetime(2021, 6, 6, 5, 59), datetime(2021, 6, 6, 6)),
        ("sold is 2021-06-06", date(2021, 6, 6), date(2021, 6, 7)),
    ],
)
def test_what_a_statement_means(text: str, yes: date, no: date) -> None:
    items = [
        Item("a", "", {"sold": yes}),
        Item("b", "", {"sold": no}),
        Item("c", "", {"sold": None}),
        Item("d", "", {"sold": "soon"}),
    ]
    answers = RulesModel().answer(items, [text])[:, 0]
    assert answers[:3].tolist()[:2] == [1.0, 0.0]
    assert math.isnan(answers[2])
    assert math.isnan(answers[3]) or text.startswith("sold is 2021")


def test_a_date_without_a_time_has_no_hour() -> None:
    assert math.isnan(parse("hour of sold is less than 6").answer(date(2021, 6, 6)))


@pytest.mark.parametrize("text", ["sold is before 30 February 2021", "month of sold is Saturday", "hour of sold is less than 0"])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(OptionError, match="cannot read the feature"):
        parse(text)


def found(positive: list[datetime], negative: list[datetime]) -> str:
    first, second = (
        tuple(Item(str(number), "", {"sold": value}) for number, value in enumerate(side)) for side in (positive, negative)
    )
    return RulesModel().propose(Contrast(first, second), 1)[0]


def test_what_is_found() -> None:
    random = np.random.default_rng(0)
    moments = [datetime(2018, 1, 1) + timedelta(hours=int(hours)) for hours in random.integers(0, 4 * 365 * 24, 400)]
    wordings: dict[str, Callable[[datetime], bool]] = {
        "month of sold is June to August": lambda one: one.month in (6, 7, 8),
        "weekday of sold is Saturday or Sunday": lambda one: one.weekday() >= 5,
        "hour of sold is at least 18": lambda one: one.hour >= 18,
        "sold is in 2020": lambda one: one.year == 2020,
    }
    for wording, holds in wordings.items():
        sides = [one for one in moments if holds(one)], [one for one in moments if not holds(one)]
        assert found(sides[0], sides[1]) == wording
    sides = [one for one in moments if one >= datetime(2020, 5, 1)], [one for one in moments if one < datetime(2020, 5, 1)]
    assert found(sides[0], sides[1]) == "sold is on or after 1 May 2020"


def test_thresholds_fall_on_the_roundest_moment_between() -> None:
    pairs = [
        (datetime(2019, 5, 3), datetime(2021, 2, 3), "1 January 2021"),
        (datetime(2021, 5, 3), datetime(2021, 6, 20), "1 June 2021"),
        (datetime(2021, 6, 1, 7, 15), datetime(2021, 6, 1, 9, 40), "1 June 2021 09:00"),
        (datetime(2021, 6, 1, 9, 15, 20), datetime(2021, 6, 1, 9, 15, 21), "1 June 2021 09:15:21"),
    ]
    for low, high, moment in pairs:
        assert found([high, high + timedelta(days=1000)] * 4, [low] * 8) == f"sold is on or after {moment}"


def test_the_price_of_searching_counts_parts_of_dates() -> None:
    items = [Item(str(day), "", {"sold": date(2019 + day % 3, 1, 1 + day)}) for day in range(20)]
    texts = [
        "sold is before 1 June 2021",
        "sold is in 2020",
        "month of sold is June",
        "weekday of sold is Monday",
        "hour of sold is 1",
    ]
    assert RulesModel().searched(items, texts) == pytest.approx([13.1, 3, 72, 21, 288], abs=0.1)
