from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.llm.rules.quantities import Quantity, read_quantity, roundness, simplest_cut, simplest_end, write_quantity

NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_nan=False))


@pytest.mark.parametrize(
    ("low", "high", "cut"),
    [(2987, 3011, 3000), (240, 270, 256), (3, 4, 4), (95, 1005, 512), (-5, 7, 0), (2.0, 2.5, 2.2), (0.31, 0.29 + 0.2, 0.4)],
)
def test_the_simplest_number_of_a_gap(low: Quantity, high: Quantity, cut: Quantity) -> None:
    assert simplest_cut(low, high) == cut


@given(NUMBERS, NUMBERS)
def test_cuts_and_ends_lie_in_the_gap_and_read_back(one: Quantity, other: Quantity) -> None:
    low, high = min(one, other), max(one, other)
    if low == high:
        return
    cut, end = simplest_cut(low, high), simplest_end(low, high)
    assert low < cut <= high
    assert low <= end < high
    assert read_quantity(write_quantity(cut)) == cut


@given(st.integers(-3000, 3000), st.integers(1, 200))
def test_no_number_of_the_gap_is_simpler(low: int, width: int) -> None:
    cut = simplest_cut(low, low + width)
    ranks = {value: (roundness(value), abs(2 * value - 2 * low - width), value) for value in range(low + 1, low + width + 1)}
    assert ranks[int(cut)] == min(ranks.values())
