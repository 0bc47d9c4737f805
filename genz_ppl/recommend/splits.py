"""Who chose what, split into a training and a test side: at random, by items that nobody has chosen yet, by time, as given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from genz_ppl.errors import InputError, OptionError
from genz_ppl.recommend.interactions import Interactions
from genz_ppl.recommend.settings import SPLITS
from genz_ppl.types import FloatArray, IntArray

# Of a user's pairs, or of all by time, those that are tested; of the items, those that are kept out whole; those that are head.
TEST_SHARE, COLD_SHARE, HEAD_SHARE = 0.2, 0.15, 0.2


@dataclass(frozen=True, eq=False)
class Split:
    """train, test: (U, I) matrices of ones. Only users with pairs on both sides have a row in `test` that is not empty.

    cold: (I,) whether an item has no training pair. left_out: test pairs of users without a training pair, which nobody ranks.
    """

    train: sparse.csr_array
    test: sparse.csr_array
    left_out: int = 0

    @property
    def popularity(self) -> FloatArray:
        """(I,) training pairs of each item."""
        return np.asarray(self.train.sum(axis=0), dtype=np.float64).ravel()

    @property
    def cold(self) -> NDArray[np.bool_]:
        """(I,) items without a training pair."""
        cold: NDArray[np.bool_] = self.popularity == 0
        return cold

    def strata(self) -> dict[str, NDArray[np.bool_]]:
        """(I,) each: head, the fifth of the warm items that is chosen most; tail, the other warm ones; cold; and all."""
        counts, cold = self.popularity, self.cold
        order = np.argsort(-counts, kind="stable")
        head = np.zeros(len(counts), dtype=bool)
        head[order[: round(HEAD_SHARE * (~cold).sum())]] = True
        return {"all": np.ones(len(counts), dtype=bool), "head": head, "tail": ~head & ~cold, "cold": cold}


def split_of(known: Interactions, kind: str, seed: int) -> Split:
    """One split. Raises OptionError for a kind that does not go with the pairs, InputError for an empty side."""
    if kind not in SPLITS:
        raise OptionError(f"split: expected one of {', '.join(SPLITS)}, got {kind!r}")
    tested = {"random": _random, "cold": _cold, "time": _by_time, "column": _by_column}[kind](known, seed)
    split = _checked(known, tested, kind)
    strata = split.strata()
    needed = ("cold",) if kind == "cold" else ("cold", "tail")
    if not any(split.test[:, strata[name]].nnz for name in needed):
        raise InputError(f"split {kind}: no {' or '.join(needed)} item is tested; give more pairs and items, or a smaller --core")
    return split


def hidden_again(known: Interactions, train: sparse.csr_array, seed: int) -> Split:
    """A cold split of a training side alone: what a model may be tuned on."""
    rows, columns = train.nonzero()
    inner = Interactions(known.users, known.items, rows.astype(np.int64), columns.astype(np.int64))
    warm = np.flatnonzero(np.asarray(train.sum(axis=0)).ravel() > 0)
    return _checked(inner, _cold(inner, seed, warm), "cold")


def _checked(known: Interactions, tested: NDArray[np.bool_], kind: str) -> Split:
    train, test = known.matrix(~tested), known.matrix(tested)
    idle = np.asarray(train.sum(axis=1)).ravel() == 0
    lost = int(test[idle].sum()) if idle.any() else 0
    if lost:
        test = sparse.csr_array(sparse.diags_array((~idle).astype(np.float32)) @ test)
        test.eliminate_zeros()
    if not train.nnz or not test.nnz:
        raise InputError(f"split {kind}: no pair is left for {'training' if not train.nnz else 'testing'}; give more pairs")
    return Split(train, test, lost)


def _random(known: Interactions, seed: int) -> NDArray[np.bool_]:
    """A fifth of each user's pairs."""
    random = np.random.RandomState(seed)
    place = _place_in_user(known.rows, random.random_sample(len(known.rows)))
    counts = np.bincount(known.rows, minlength=len(known.users))
    tested: NDArray[np.bool_] = place < np.rint(TEST_SHARE * counts)[known.rows]
    return tested


def _cold(known: Interactions, seed: int, among: IntArray | None = None) -> NDArray[np.bool_]:
    """All pairs of some items, and a fifth of each user's other pairs."""
    among = np.arange(len(known.items)) if among is None else among
    random = np.random.RandomState(seed)
    chosen = np.zeros(len(known.items), dtype=bool)
    chosen[random.permutation(among)[: round(COLD_SHARE * len(among))]] = True
    tested = chosen[known.columns]
    warm = np.flatnonzero(~tested)
    inner = Interactions(known.users, known.items, known.rows[warm], known.columns[warm])
    tested[warm] = _random(inner, seed)
    return tested


def _by_time(known: Interactions, seed: int) -> NDArray[np.bool_]:
    """The last fifth of all pairs."""
    if known.times is None:
        raise OptionError("split: the pairs have no column 'time' or 'timestamp'; add one, or name another split")
    after = np.quantile(known.times, 1 - TEST_SHARE)
    tested: NDArray[np.bool_] = known.times > after
    return tested


def _by_column(known: Interactions, seed: int) -> NDArray[np.bool_]:
    """As the pairs' own column says."""
    if known.test is None:
        raise OptionError("split: the pairs have no column 'split' of train and test; add one, or name another split")
    return known.test


def _place_in_user(rows: IntArray, keys: FloatArray) -> IntArray:
    """The rank of each pair among those of its user by `keys`, from 0."""
    order = np.lexsort((keys, rows))
    starts = np.searchsorted(rows[order], rows[order], side="left")
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - starts
    return place
