"""Where an item that nobody has chosen stands in one list with the others: by the chance that it is liked, as was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from genz_ppl.recommend.factors import Factors
from genz_ppl.recommend.splits import TEST_SHARE, Split
from genz_ppl.types import FloatArray, IntArray

USERS_AT_ONCE, MOST_USERS, BINS = 1024, 4096, 200


@dataclass(frozen=True, eq=False)
class Placing:
    """A rising map of scores: knots (n,) and values (n,), straight between, shifted beyond."""

    knots: FloatArray
    values: FloatArray

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """The scores that known items of the same chance have."""
        moved = np.interp(scores, self.knots, self.values)
        beyond = np.maximum(scores - self.knots[-1], 0) + np.minimum(scores - self.knots[0], 0)
        found: NDArray[np.float32] = (moved + beyond).astype(np.float32)
        return found


def placing_of(split: Split, model: Factors, favour: float) -> Placing | None:
    """From a split that hid some items whole: the map from a hidden item's score to that of a known item as likely to be liked.

    model: trained on split.train. All pairs of a hidden item are tested but only a fifth of a known one's, so hits of
    hidden items count a fifth, and `favour` times that. The chances are rates of hits in bins of scores, made to rise
    (isotonic regression). None where no hidden item has a score.
    """
    hidden = split.cold & (np.asarray(split.test.sum(axis=0)).ravel() > 0) & model.scored
    if not hidden.any():
        return None
    users = np.flatnonzero(np.diff(split.test.indptr))
    users = np.sort(np.random.RandomState(0).permutation(users)[:MOST_USERS])
    known = _rates(split, model, users, ~split.cold)
    scores, rates = _rates(split, model, users, hidden)
    chances = np.clip(TEST_SHARE * favour * rates, known[1][0], known[1][-1])
    return Placing(scores, np.maximum.accumulate(_inverse(chances, *known)))


def _inverse(chances: FloatArray, scores: FloatArray, rates: FloatArray) -> FloatArray:
    """The score of known items at each chance; the middle one of a step of the curve."""
    steps, first = np.unique(rates, return_index=True)
    last = np.append(first[1:], len(rates)) - 1
    found: FloatArray = np.interp(chances, steps, (scores[first] + scores[last]) / 2)
    return found


def _rates(split: Split, model: Factors, users: IntArray, items: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """(n,) mean scores and (n,) rates of hits of bins, both rising; bins are finer at the top, where lists are made."""
    scores, hits = [], []
    for start in range(0, len(users), USERS_AT_ONCE):
        rows = users[start : start + USERS_AT_ONCE]
        block, open_ = model(rows)[:, items], split.train[rows].toarray()[:, items] == 0
        scores.append(block[open_])
        hits.append(split.test[rows].toarray()[:, items][open_] > 0)
    score, hit = np.concatenate(scores).astype(np.float64), np.concatenate(hits).astype(np.float64)
    order = np.argsort(score, kind="stable")
    edges = np.unique(np.rint(len(score) * (1 - np.geomspace(1, 2e-5, BINS + 1))).astype(np.int64).clip(0, len(score) - 1))
    counts = np.diff(np.append(edges, len(score)))
    means = np.add.reduceat(score[order], edges) / counts
    rates = np.add.reduceat(hit[order], edges) / counts
    return means, _rising(rates, counts.astype(np.float64))


def _rising(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The rising values nearest to these by weighted squares: neighbours that fall are pooled."""
    return np.asarray(isotonic_regression(values, weights=weights).x)
