"""Which rows, columns and pairs are for fitting, and which pairs test what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.data.split import check_seed, random_split
from genz_ppl.errors import OptionError
from genz_ppl.types import IntArray, Pairs

PAIR_PARTS = ("train", "held_out", "new_rows", "new_columns", "new_both")
_COLUMNS, _PAIRS = 1, 2  # streams of the seed; the rows take the seed itself


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Positions of rows, columns and pairs, all int64; the five parts share nothing and together hold every pair.

    train_rows, test_rows: share out the n_rows rows; train_columns, test_columns: the n_columns columns.
    train: pairs of a train row and a train column, to fit with. held_out: other pairs of such. new_rows: a test row and a
    train column. new_columns: a train row and a test column. new_both: a test row and a test column.
    """

    train_rows: IntArray
    test_rows: IntArray
    train_columns: IntArray
    test_columns: IntArray
    train: IntArray
    held_out: IntArray
    new_rows: IntArray
    new_columns: IntArray
    new_both: IntArray

    def parts(self) -> dict[str, IntArray]:
        """The five parts of the pairs by name, train first."""
        return {name: getattr(self, name) for name in PAIR_PARTS}


def split_pairs(
    pairs: Pairs, seed: int, test_fraction: float | tuple[float, float] = 0.2, pair_fraction: float = 0.1
) -> PairSplit:
    """Rows as `Items.split_indices` splits them, columns and pairs by seeds derived from this one.

    test_fraction: the share of rows and of columns to test with, or one for each: (rows, columns); 0 keeps a whole side for
    fitting. pair_fraction: the share of pairs of known rows and columns to hold out, 0 for none. Rows: the first
    round(n_rows * (1 - fraction)) of `numpy.random.RandomState(seed).permutation(n_rows)` are train.

    Raises OptionError for a seed or fraction out of range, if fewer than 2 train or 1 test items are left on a side that is
    split, and if no pair is left to fit with.
    """
    seed = check_seed(seed)
    fractions = test_fraction if isinstance(test_fraction, tuple) else (test_fraction, test_fraction)
    if not 0 <= pair_fraction < 1:
        raise OptionError(f"the fraction of held-out pairs must be at least 0 and below 1, not {pair_fraction}")
    train_rows, test_rows = _side(pairs.n_rows, seed, fractions[0])
    train_columns, test_columns = _side(pairs.n_columns, _derived(seed, _COLUMNS), fractions[1])
    new_row = _members(pairs.n_rows, test_rows)[pairs.rows]
    new_column = _members(pairs.n_columns, test_columns)[pairs.columns]
    known = np.flatnonzero(~new_row & ~new_column)
    order = np.random.RandomState(_derived(seed, _PAIRS)).permutation(known)
    n_held_out = round(len(known) * pair_fraction)
    if n_held_out == len(known):
        raise OptionError(
            f"the split leaves none of {len(pairs)} pairs to fit with: {len(known)} are between the {len(train_rows)} rows and "
            f"{len(train_columns)} columns for fitting; take smaller fractions or another seed"
        )
    new = (new_row & ~new_column, ~new_row & new_column, new_row & new_column)
    parts = (np.sort(order[n_held_out:]), np.sort(order[:n_held_out]), *(np.flatnonzero(mask) for mask in new))
    return PairSplit(train_rows, test_rows, train_columns, test_columns, *parts)


def _side(n_items: int, seed: int, fraction: float) -> tuple[IntArray, IntArray]:
    if fraction == 0:
        return np.arange(n_items, dtype=np.int64), np.zeros(0, dtype=np.int64)
    split = random_split(n_items, seed, fraction)
    return split.train, split.test


def _members(n_items: int, chosen: IntArray) -> NDArray[np.bool_]:
    found = np.zeros(n_items, dtype=bool)
    found[chosen] = True
    return found


def _derived(seed: int, stream: int) -> int:
    """A seed of its own for another thing to split."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
