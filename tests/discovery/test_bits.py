from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.discovery.run.bits import from_bits, to_bits


@given(st.integers(0, 13), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_answers_come_back_from_two_bits_each(n_items: int, n_questions: int, seed: int) -> None:
    answers = np.random.default_rng(seed).integers(-2, 2, (n_questions, n_items)).astype(np.int8)
    packed = to_bits(list(answers))
    assert packed.dtype == np.uint8
    assert packed.nbytes == n_questions * ((n_items + 3) // 4)
    found = from_bits(packed, n_items)
    assert all(column.dtype == np.int8 for column in found)
    np.testing.assert_array_equal(np.array(found).reshape(answers.shape), answers)


def test_a_byte_an_answer_is_read_as_earlier_versions_wrote_it() -> None:
    earlier = np.array([[1, 0, -1, -2, 1]], dtype=np.int8)
    np.testing.assert_array_equal(from_bits(earlier, 5), earlier)


@pytest.mark.parametrize("packed", [np.zeros((1, 2), dtype=np.uint8), np.zeros((1, 5)), np.zeros(3, dtype=np.uint8)])
def test_answers_of_other_items_are_refused(packed: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not those of these items"):
        from_bits(packed, 3)
