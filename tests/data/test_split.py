from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.data import Items, Split
from genz_ppl.data.split import LARGEST_SEED, group_split, random_split, set_aside
from genz_ppl.errors import InputError, OptionError

SEEDS = st.integers(0, LARGEST_SEED)
FRACTIONS = st.floats(0.01, 0.99)


def items(n: int, **columns: Sequence[str | None]) -> Items:
    frame = pd.DataFrame({"a": [f"word {row}" for row in range(n)], "y": range(n), **columns})
    return Items.from_frame(frame, target="y", **{name: name for name in columns})  # type: ignore[arg-type]


def assert_partition(split: Split, n: int) -> None:
    assert split.train.dtype == split.test.dtype == np.int64
    assert sorted([*split.train.tolist(), *split.test.tolist()]) == list(range(n))


@given(n=st.integers(3, 60), seed=SEEDS, fraction=FRACTIONS)
def test_random_split_is_the_documented_one(n: int, seed: int, fraction: float) -> None:
    n_train = round(n * (1 - fraction))
    if n_train < 2 or n_train >= n:
        with pytest.raises(OptionError, match="--test-fraction"):
            items(n).split_indices(seed, fraction)
        return
    split = items(n).split_indices(seed, fraction)
    assert_partition(split, n)
    np.testing.assert_array_equal(split.train, np.random.RandomState(seed).permutation(n)[:n_train])
    np.testing.assert_array_equal(split.test, items(n).split_indices(seed, fraction).test)


@given(labels=st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=60), seed=SEEDS, fraction=FRACTIONS)
def test_groups_stay_whole_and_train_is_filled_first(labels: list[str], seed: int, fraction: float) -> None:
    wanted = round(len(labels) * (1 - fraction))
    order = list(dict.fromkeys(labels))
    permuted = [order[index] for index in np.random.RandomState(seed).permutation(len(order))]
    sizes = np.cumsum([labels.count(name) for name in permuted])
    n_train = int(sizes[np.argmax(sizes >= wanted)]) if wanted else 0
    if n_train < 2 or n_train == len(labels):
        with pytest.raises(OptionError, match=r"--test-fraction .* of column 'g'"):
            group_split(labels, seed, fraction, "g")
        return
    split = group_split(labels, seed, fraction, "g")
    assert_partition(split, len(labels))
    train_groups = [labels[position] for position in split.train]
    assert not set(train_groups) & {labels[position] for position in split.test}
    assert len(split.train) == n_train
    assert list(dict.fromkeys(train_groups)) == permuted[: len(set(train_groups))]


def test_a_split_leaves_numpys_own_generator_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    items(20).split_indices(3)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_split_column_wins_whatever_the_seed() -> None:
    data = items(5, split=["train", " Test ", "TRAIN", "test", "train"])
    for seed in (0, 1):
        split = data.split_indices(seed, 0.5)
        assert split.train.tolist() == [0, 2, 4]
        assert split.test.tolist() == [1, 3]
    assert "split" not in data[0].fields


def test_group_column_is_used_and_readable() -> None:
    data = items(6, group=["u", "u", "v", "v", "w", "w"])
    split = data.split_indices(0, 0.3)
    assert (len(split.train), len(split.test)) == (4, 2)
    assert data[0].fields["group"] == "u"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(OptionError, match="--test-fraction must lie between 0 and 1"):
        items(10).split_indices(0, fraction)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(OptionError, match=f"--seed must lie between 0 and {LARGEST_SEED}, not {seed}"):
        items(10).split_indices(seed)


def test_a_seed_must_be_whole() -> None:
    with pytest.raises(OptionError, match=r"--seed must be a whole number, not 0\.5"):
        items(10).split_indices(0.5)  # type: ignore[arg-type]


def test_too_small_a_side_says_the_numbers() -> None:
    with pytest.raises(OptionError, match=r"leaves 3 train and 0 test items.*--test-fraction 0\.1"):
        items(3).split_indices(0, 0.1)
    with pytest.raises(OptionError, match=r"leaves 1 train and 3 test items.*split column 'split'"):
        items(4, split=["test", "train", "test", "test"]).split_indices(0)
    with pytest.raises(OptionError, match=r"leaves 4 train and 0 test items.*the 1 groups of column 'group'"):
        items(4, group=["u"] * 4).split_indices(0)


def test_bad_labels_say_the_row() -> None:
    with pytest.raises(InputError, match=r"split column 'split', row 2 \(id '1'\): expected 'train' or 'test', found 'valid'"):
        items(3, split=["train", "valid", "test"])
    with pytest.raises(InputError, match=r"row 3 .* found nothing"):
        items(3, split=["train", "test", None])
    with pytest.raises(InputError, match=r"group column 'group', row 2 \(id '1'\): the cell is empty"):
        items(3, group=["u", None, "v"])


def test_held_back_items_are_the_last_of_train_and_the_rest_is_as_ever() -> None:
    data = items(50)
    plain, honest = data.split_indices(3, 0.2), data.split_indices(3, 0.2, 0.3)
    np.testing.assert_array_equal(honest.test, plain.test)
    np.testing.assert_array_equal(honest.train, np.random.RandomState(3).permutation(50)[:25])
    np.testing.assert_array_equal(honest.held, plain.train[25:])
    assert len(plain.held) == 0


def test_of_a_column_held_back_items_are_drawn_and_of_groups_whole_ones() -> None:
    marked = items(40, split=["train"] * 30 + ["test"] * 10)
    split = marked.split_indices(0, 0.2, 0.25)
    assert sorted([*split.train, *split.held]) == list(range(30))
    assert len(split.held) == 10
    assert split.held.tolist() != list(range(20, 30))
    assert split.held.tolist() != marked.split_indices(1, 0.2, 0.25).held.tolist()
    labels = [f"g{(7 * row) % 10}" for row in range(40)]
    grouped = items(40, group=labels).split_indices(0, 0.2, 0.2)
    assert len(grouped.held) >= 8
    assert not {labels[row] for row in grouped.held} & {labels[row] for row in (*grouped.train, *grouped.test)}


def test_holding_back_all_there_is_to_train_on_is_refused() -> None:
    with pytest.raises(OptionError, match=r"honest: 0\.8 of all items held back leaves 0 to train on"):
        items(50).split_indices(0, 0.2, 0.8)


def test_a_part_of_the_training_items_is_set_aside_at_random() -> None:
    split = random_split(100, 0, 0.2)
    some = set_aside(split, 30, 7)
    assert (len(some.train), len(some.rest)) == (30, 50)
    np.testing.assert_array_equal(np.sort(np.concatenate([some.train, some.rest])), np.sort(split.train))
    np.testing.assert_array_equal(some.test, split.test)
    np.testing.assert_array_equal(some.train, split.train[np.isin(split.train, some.train)])  # in their order
    np.testing.assert_array_equal(set_aside(split, 30, 7).train, some.train)
    assert not np.array_equal(set_aside(split, 30, 8).train, some.train)
    assert set_aside(split, 80, 7) is split
