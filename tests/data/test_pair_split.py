from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.data.pair_split import PAIR_PARTS, split_pairs
from genz_ppl.data.split import LARGEST_SEED
from genz_ppl.errors import OptionError
from genz_ppl.types import Pairs

SHARES = st.one_of(st.just(0.0), st.floats(0.1, 0.7))


def grid(n_rows: int, n_columns: int, seed: int = 0, share: float = 0.7) -> Pairs:
    rows, columns = np.nonzero(np.random.default_rng(seed).random((n_rows, n_columns)) < share)
    return Pairs(rows, columns, np.arange(len(rows), dtype=np.float64), n_rows, n_columns)


@given(
    sizes=st.tuples(st.integers(4, 25), st.integers(4, 25)),
    seed=st.integers(0, LARGEST_SEED),
    fractions=st.tuples(SHARES, SHARES),
    pair_fraction=SHARES,
)
def test_parts_share_nothing_and_hold_all(
    sizes: tuple[int, int], seed: int, fractions: tuple[float, float], pair_fraction: float
) -> None:
    pairs = grid(*sizes)
    try:
        split = split_pairs(pairs, seed, fractions, pair_fraction)
    except OptionError as error:
        assert "the split leaves" in str(error)  # noqa: PT017
        return
    parts = split.parts()
    assert tuple(parts) == PAIR_PARTS
    assert all(part.dtype == np.int64 for part in parts.values())
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(pairs)))
    for n_items, fraction, train, test in (
        (sizes[0], fractions[0], split.train_rows, split.test_rows),
        (sizes[1], fractions[1], split.train_columns, split.test_columns),
    ):
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(n_items))
        assert len(train) == round(n_items * (1 - fraction))
    new = {"train": (0, 0), "held_out": (0, 0), "new_rows": (1, 0), "new_columns": (0, 1), "new_both": (1, 1)}
    for name, part in parts.items():
        chosen = pairs.select(part)
        assert set(np.isin(chosen.rows, split.test_rows).tolist()) <= {bool(new[name][0])}
        assert set(np.isin(chosen.columns, split.test_columns).tolist()) <= {bool(new[name][1])}
    assert len(split.train) > 0
    assert len(split.held_out) == round((len(split.train) + len(split.held_out)) * pair_fraction)


def test_rows_are_split_as_items_are_and_columns_otherwise() -> None:
    split = split_pairs(grid(30, 30), 7, 0.2, 0.1)
    np.testing.assert_array_equal(split.train_rows, np.random.RandomState(7).permutation(30)[:24])
    assert sorted(split.train_columns.tolist()) != sorted(split.train_rows.tolist())
    again = split_pairs(grid(30, 30), 7, 0.2, 0.1)
    for name, part in split.parts().items():
        np.testing.assert_array_equal(part, again.parts()[name])
    # The pairs held out do not decide who is known, nor the rows which columns are.
    np.testing.assert_array_equal(split.train_columns, split_pairs(grid(30, 30), 7, (0.0, 0.2), 0.5).train_columns)


def test_the_split_is_the_one_of_every_version() -> None:
    split = split_pairs(grid(6, 5, share=1.0), 0, (0.34, 0.4), 0.25)
    assert split.train_rows.tolist() == [5, 2, 1, 3]
    assert split.train_columns.tolist() == [0, 1, 3]
    assert split.held_out.tolist() == [5, 8, 11]


def test_a_side_may_stay_whole() -> None:
    split = split_pairs(grid(12, 3), 0, (0.25, 0.0), 0.0)
    assert (len(split.test_rows), len(split.test_columns)) == (3, 0)
    assert len(split.held_out) == len(split.new_columns) == len(split.new_both) == 0
    assert split.train_columns.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("seed", "fractions", "pair_fraction", "message"),
    [
        (0, (0.2, 0.2), 1.0, "held-out pairs must be at least 0 and below 1, not 1.0"),
        (0, (0.2, 0.2), -0.1, "held-out pairs must be at least 0 and below 1, not -0.1"),
        (0, (1.0, 0.2), 0.1, "--test-fraction must lie between 0 and 1"),
        (0, (0.2, -1.0), 0.1, "--test-fraction must lie between 0 and 1"),
        (-1, (0.0, 0.0), 0.1, "--seed must lie between 0 and"),
        (2**32, (0.0, 0.2), 0.1, "--seed must lie between 0 and"),
        (1.5, (0.0, 0.2), 0.1, "--seed must be a whole number"),
        (0, (0.95, 0.2), 0.1, "the split leaves 0 train"),
    ],
)
def test_numbers_out_of_range(seed: int, fractions: tuple[float, float], pair_fraction: float, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        split_pairs(grid(8, 8), seed, fractions, pair_fraction)


def test_pairs_to_fit_with_are_needed() -> None:
    one = Pairs(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.ones(1), 8, 8)
    messages = []
    for seed in range(20):
        try:
            split_pairs(one, seed, 0.5, 0.0)
        except OptionError as error:
            messages.append(str(error))
    assert messages
    assert all("leaves none of 1 pairs to fit with" in message for message in messages)
    with pytest.raises(OptionError, match="to fit with"):
        split_pairs(one, 0, 0.0, 0.9)
