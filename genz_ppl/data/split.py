"""Which items are for fitting, which for testing, and which are held back until the end."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from genz_ppl.data.values import shorten
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import IntArray

LARGEST_SEED = 2**32 - 1
_LEAST_TRAIN, _LEAST_TEST = 2, 1


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of the items: int64 arrays that share nothing and together hold every position. held: see `hold_back`; rest: see
    `set_aside`."""

    train: IntArray
    test: IntArray
    held: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    rest: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def random_split(n_items: int, seed: int, test_fraction: float) -> Split:
    """`numpy.random.RandomState(seed).permutation(n_items)`, the first round(n_items * (1 - test_fraction)) of it train.

    Raises OptionError for a seed or fraction out of range and if fewer than 2 train or 1 test items are left.
    """
    n_train = _train_size(n_items, test_fraction)
    order = _generator(seed).permutation(n_items)
    return _checked(order[:n_train], order[n_train:], f"--test-fraction {test_fraction:g}: take another fraction or add items")


def group_split(labels: Sequence[str], seed: int, test_fraction: float, column: str) -> Split:
    """Whole groups: in permuted order they go to train until at least round(n * (1 - test_fraction)) items are there.

    labels: the group of each item. The groups are numbered by first appearance and permuted by `RandomState(seed)`.
    Raises OptionError as `random_split` does.
    """
    n_train = _train_size(len(labels), test_fraction)
    members: dict[str, list[int]] = {}
    for position, name in enumerate(labels):
        members.setdefault(name, []).append(position)
    groups = list(members.values())
    train: list[int] = []
    test: list[int] = []
    for index in _generator(seed).permutation(len(groups)):
        (train if len(train) < n_train else test).extend(groups[index])
    cause = f"--test-fraction {test_fraction:g} by the {len(groups)} groups of column '{column}'"
    return _checked(np.array(train), np.array(test), f"{cause}: take another fraction or finer groups")


def hold_back(split: Split, share: float, seed: int, labels: Sequence[str] | None = None, shuffled: bool = True) -> Split:
    """A split that holds back round(n * share) of all n items: the last of train, the test items staying as they are.

    labels: the group of each item, of which whole ones are held back until there are as many. shuffled: whether train is in
    random order; else it is permuted by `RandomState(seed)` first. Raises OptionError where fewer than 2 train items are left.
    """
    n_held = round((len(split.train) + len(split.test)) * share)
    if n_held == 0:
        return split
    train = split.train if shuffled else split.train[_generator(seed).permutation(len(split.train))]
    kept = max(0, len(train) - n_held)
    while labels is not None and 0 < kept < len(train) and labels[train[kept - 1]] == labels[train[kept]]:
        kept -= 1
    if kept < _LEAST_TRAIN:
        raise OptionError(
            f"honest: {share:g} of all items held back leaves {kept} to train on, at least {_LEAST_TRAIN} are needed; "
            "hold back less, or add items"
        )
    return replace(split, train=train[:kept] if shuffled else np.sort(train[:kept]), held=train[kept:])


def set_aside(split: Split, most: int, seed: int) -> Split:
    """A split with at most so many training items, drawn at random and in their order; the others are `rest`, rising."""
    n_items = len(split.train)
    if n_items <= most:
        return split
    drawn = np.zeros(n_items, dtype=np.bool_)
    drawn[np.random.default_rng([seed, n_items]).choice(n_items, most, replace=False)] = True
    return replace(split, train=split.train[drawn], rest=np.sort(split.train[~drawn]))


def column_split(labels: Sequence[str], column: str) -> Split:
    """By a column of "train" and "test". Raises OptionError if fewer than 2 train or 1 test items are named."""
    is_train = np.array([name == "train" for name in labels], dtype=bool)
    way_out = f"the split column '{column}': mark more rows as 'train' or 'test'"
    return _checked(np.flatnonzero(is_train), np.flatnonzero(~is_train), way_out)


def check_split_labels(labels: Sequence[str | None], ids: Sequence[object], column: str, source: str) -> tuple[str, ...]:
    """The labels in lower case. Raises InputError for one that is neither "train" nor "test"."""
    lowered = [None if name is None else sys.intern(name.lower()) for name in labels]
    for position, name in enumerate(lowered):
        if name not in ("train", "test"):
            shown = "nothing" if name is None else shorten(labels[position])
            place = f"{source}: split column {shorten(column)}, row {position + 1} (id {shorten(ids[position])})"
            raise InputError(f"{place}: expected 'train' or 'test', found {shown}; write one of the two")
    return tuple(name for name in lowered if name is not None)


def _train_size(n_items: int, test_fraction: float) -> int:
    if not 0 < test_fraction < 1:
        raise OptionError(f"--test-fraction must lie between 0 and 1, both excluded, not {test_fraction}")
    return round(n_items * (1 - test_fraction))


def check_seed(seed: int) -> int:
    """The seed as a whole number. Raises OptionError for none that can be used."""
    try:
        value = operator.index(seed)
    except TypeError:
        raise OptionError(f"--seed must be a whole number, not {seed!r}") from None
    if not 0 <= value <= LARGEST_SEED:
        raise OptionError(f"--seed must lie between 0 and {LARGEST_SEED}, not {value}")
    return value


def _generator(seed: int) -> np.random.RandomState:
    return np.random.RandomState(check_seed(seed))  # the documented split: it must not change with numpy's newer generators


def _checked(train: IntArray, test: IntArray, way_out: str) -> Split:
    if len(train) < _LEAST_TRAIN or len(test) < _LEAST_TEST:
        raise OptionError(
            f"the split leaves {len(train)} train and {len(test)} test items, at least {_LEAST_TRAIN} and {_LEAST_TEST} "
            f"are needed; it comes from {way_out}"
        )
    return Split(train.astype(np.int64), test.astype(np.int64))
