from __future__ import annotations

import copy
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl import cells
from genz_ppl.cells import MOST_DISTINCT, Cells, CodedCells, NarrowCells, NumberCells, TextCells, are_unique, cells_of, coded

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, "1", 2**53 + 1])
)


def exactly(values: Any) -> list[str]:
    """Values with their types; -0.0 is not 0.0."""
    return [repr(value) for value in values]


@given(st.lists(VALUES) | st.lists(st.integers(-9, 9) | st.none()) | st.lists(st.integers(-9, 9) | st.floats(allow_nan=False)))
def test_cells_hold_the_values_that_they_are_made_of(values: list[Any]) -> None:
    cells = cells_of(values)
    assert exactly(cells) == exactly(cells.tolist()) == exactly(values)
    assert cells.present.tolist() == [value is not None for value in values]
    assert cells.kinds() == {type(value) for value in values if value is not None}
    assert exactly(cells[1:4]) == exactly(values[1:4])
    assert exactly(cells.take(np.arange(len(values))[::-2])) == exactly(values[::-2])
    found, counts = cells.counted()
    assert sorted(exactly(found)) == sorted(set(exactly(value for value in values if value is not None)))
    assert counts.sum() == sum(value is not None for value in values)
    assert exactly(cells.changed(str)) == exactly(None if value is None else str(value) for value in values)
    assert cells.scored(lambda value: len(repr(value))).tolist() == [len(repr(value)) for value in values]
    for place, value in enumerate(values):
        assert repr(cells[place - len(values)]) == repr(value)
    with pytest.raises(IndexError):
        cells[len(values)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], NumberCells),
        ([1, 2.5], NumberCells),
        ([2**53 + 1, 0.5], CodedCells),  # as floats they would be other numbers
        ([2**63], CodedCells),
        ([True, 1], CodedCells),
        (["a", "b"], CodedCells),
        ([f"text {number}" for number in range(MOST_DISTINCT + 1)], TextCells),
        ([f"half \ud800 {number}" for number in range(MOST_DISTINCT + 1)], CodedCells),
        ([date(2020, 1, 1), datetime(2020, 1, 1)], CodedCells),
        ([], CodedCells),
    ],
)
def test_values_are_held_in_the_form_that_costs_least(values: list[Any], kind: type[Cells]) -> None:
    cells = cells_of(values)
    assert type(cells) is kind
    assert exactly(copy.copy(cells)) == exactly(values)


def test_changing_asks_once_for_each_distinct_value() -> None:
    asked: list[str] = []

    def change(value: str) -> str:
        asked.append(value)
        return value.upper()

    assert list(coded(["b", None, "a", "b"]).changed(change)) == ["B", None, "A", "B"]
    assert asked == ["b", "a"]


def test_texts_side_by_side_may_have_gaps() -> None:
    cells = TextCells(pyarrow.array(["x", None, "y", "x"], pyarrow.large_string()))
    assert list(cells) == ["x", None, "y", "x"]
    assert cells.counted()[0] == ["x", "y"]
    assert cells.counted()[1].tolist() == [2, 1]
    assert list(cells.take(np.array([3, 1]))) == ["x", None]


NARROW = st.lists(st.none() | st.floats(width=32, allow_nan=False) | st.sampled_from([0.1, 1 / 3, 16777217.0, -0.0]))


@given(NARROW)
def test_narrow_cells_are_the_numbers_that_are_written_the_shortest(values: list[float | None]) -> None:
    stored = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    written = [None if np.isnan(value) else float(str(value)) for value in stored]
    cells, wide = (
        NarrowCells(stored),
        NumberCells(
            np.array([value or 0.0 for value in written], dtype=np.float64),
            np.array([value is not None for value in written], dtype=bool),
        ),
    )
    assert exactly(cells) == exactly(cells.tolist()) == exactly(written)
    np.testing.assert_array_equal(
        cells.floats(), np.array([np.nan if value is None else value for value in written], dtype=np.float64)
    )
    for one, other in ((cells, wide), (cells[1:4], wide[1:4]), (cells.take(np.arange(len(values))[::-2]), wide[::-2])):
        assert isinstance(one, NumberCells)
        assert isinstance(other, NumberCells)
        assert list(one) == list(other)
        assert (one.kinds(), one.infinite()) == (other.kinds(), other.infinite())
        assert one.present.tolist() == other.present.tolist()
        assert one.counted()[1].tolist() == other.counted()[1].tolist()
        assert (
            one.scored(lambda value: -1.0 if value is None else float(value == 0)).tolist()
            == other.scored(lambda value: -1.0 if value is None else float(value == 0)).tolist()
        )


@given(st.lists(st.text("ab", max_size=3), max_size=30))
def test_texts_are_compared_part_by_part_where_they_are_many(texts: list[str]) -> None:
    expected = len({*texts}) == len(texts) and "" not in texts
    array = pyarrow.array(["", *texts, ""], pyarrow.large_string()).slice(1, len(texts))
    with pytest.MonkeyPatch.context() as patch:
        for many in (cells.MANY, 1):
            patch.setattr(cells, "MANY", many)
            assert are_unique(array) == expected
    assert not are_unique(pyarrow.array(["a", None], pyarrow.large_string()))
