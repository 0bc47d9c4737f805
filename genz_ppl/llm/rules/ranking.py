"""Which statements tell two groups apart: a Bayes factor, a prior against many tries, and a choice without near-repeats."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.types import FloatArray, IntArray

# Later cut points of one number must answer differently for at least this share of the shown items.
NEAR_REPEAT = 0.1

TruthArray = NDArray[np.int8]
Complexity = tuple[int, int, int]


@dataclass(frozen=True)
class Statement:
    """A statement that may be proposed.

    text: its wording. key: equal for two wordings of one feature, its opposite included. score: how well it fits, in nats.
    complexity: the smaller the simpler. truth: (shown,) int8 of 1, 0 and -1 (no answer). family: statements of one family
    that answer nearly alike are near-repeats; None for a statement without relatives.
    """

    text: str
    key: Hashable
    score: float
    complexity: Complexity
    truth: TruthArray
    family: Hashable | None = None


def log_bayes_factor(yes_first: IntArray, total_first: IntArray, yes_second: IntArray, total_second: IntArray) -> FloatArray:
    """Evidence, in nats, that "yes" has two different rates in two groups rather than one; uniform priors on the rates.

    All arguments are counts of one shape; the result has that shape. Without observations it is 0.
    """
    top = int(np.max(total_first + total_second, initial=0)) + 2
    log_factorial = np.concatenate([np.zeros(1), np.cumsum(np.log(np.arange(1, top, dtype=np.float64)))])

    def log_beta(yes: IntArray, total: IntArray) -> FloatArray:
        value: FloatArray = log_factorial[yes] + log_factorial[total - yes] - log_factorial[total + 1]
        return value

    together = log_beta(yes_first + yes_second, total_first + total_second)
    return log_beta(yes_first, total_first) + log_beta(yes_second, total_second) - together


def rate_difference(yes_first: IntArray, total_first: IntArray, yes_second: IntArray, total_second: IntArray) -> IntArray:
    """A whole number with the sign of (rate in the first group - rate in the second); 0 where a group has no observation."""
    return yes_first * total_second - yes_second * total_first


def choose(candidates: Sequence[Statement], taken: Collection[Hashable], n: int) -> list[str]:
    """Up to n texts, best first, by score, then simplicity, then alphabet; the same for the same candidates in any order.

    Left out: candidates whose key is in `taken`; of those that answer alike on all shown items all but the simplest; and
    near-repeats of a better one of the same family.
    """
    alike: dict[bytes, Statement] = {}
    best_score: dict[bytes, float] = {}
    for candidate in candidates:
        if candidate.key in taken:
            continue
        truth = candidate.truth.tobytes()
        known = alike.get(truth)
        if known is None or _simplicity(candidate) < _simplicity(known):
            alike[truth] = candidate
        best_score[truth] = max(candidate.score, best_score.get(truth, candidate.score))
    # Rounded, so that sums taken in another order do not decide.
    ranked = sorted(alike.items(), key=lambda entry: (-round(best_score[entry[0]], 9), _simplicity(entry[1])))
    chosen: list[Statement] = []
    for _, candidate in ranked:
        if len(chosen) >= n:
            break
        if not any(_near_repeat(candidate, other) for other in chosen):
            chosen.append(candidate)
    return [candidate.text for candidate in chosen]


def _simplicity(candidate: Statement) -> tuple[Complexity, str]:
    return candidate.complexity, candidate.text


def _near_repeat(candidate: Statement, other: Statement) -> bool:
    if candidate.key == other.key:
        return True
    if candidate.family is None or candidate.family != other.family:
        return False
    return float(np.mean(candidate.truth != other.truth)) < NEAR_REPEAT
