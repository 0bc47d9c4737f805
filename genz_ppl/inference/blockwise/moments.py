"""What a fit to blocks needs to know of them once: means and spreads, how many answers there are, and which agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genz_ppl.inference.blockwise.files import read_block
from genz_ppl.types import FloatArray

# Items handled at once.
PART = 8192


@dataclass(frozen=True)
class Moments:
    """Of a block: numbers of items and of targets; of targets and covariates, (D + P,), means and summed squared deviations; and
    how many answers there are, and answers yes, (N,), of all columns of answers or of some."""

    n: int
    n_targets: int
    mean: FloatArray
    squares: FloatArray
    answered: FloatArray
    yes: FloatArray

    def of(self, features: Sequence[int]) -> Moments:
        """The same for some of the columns of answers, in this order."""
        chosen = list(features)
        return replace(self, answered=self.answered[chosen], yes=self.yes[chosen])

    @property
    def spread(self) -> FloatArray:
        """Standard deviations, (D + P,), 1 where they are 0."""
        spread = np.sqrt(self.squares / self.n)
        found: FloatArray = np.where(spread > 0, spread, 1.0)
        return found


@dataclass(frozen=True)
class Agreement:
    """Of all pairs of columns of answers, (N, N): items with an answer to both, and those on which these are the same."""

    both: FloatArray
    same: FloatArray

    def disagreement(self, one: int, other: int) -> float:
        """The share of items on which two columns, or one and the opposite of the other, differ; as `finalists` has it."""
        both = self.both[one, other]
        share = float((both - self.same[one, other]) / both) if both else 0.5
        return min(share, 1 - share)


def moments_of(path: str) -> Moments:
    """The moments of a block."""
    block = read_block(path)
    values = np.concatenate([block.targets.astype(np.float64), block.covariates], axis=1)
    mean = values.mean(axis=0)
    answered, yes = (np.count_nonzero(part, axis=1) * 1.0 for part in (block.signs, block.signs > 0))
    return Moments(len(values), block.targets.shape[1], mean, ((values - mean) ** 2).sum(axis=0), answered, yes)


def joined_moments(several: Sequence[Moments]) -> Moments:
    """The moments of blocks together, in this order."""
    total = several[0]
    for other in several[1:]:
        n, difference = total.n + other.n, other.mean - total.mean
        mean = total.mean + difference * (other.n / n)
        squares = total.squares + other.squares + difference**2 * (total.n * other.n / n)
        total = Moments(n, total.n_targets, mean, squares, total.answered + other.answered, total.yes + other.yes)
    return total


def agreement_of(path: str) -> Agreement:
    """The agreement of the answers in a block: counts, which floats hold exactly."""
    signs = read_block(path).signs
    both, balance = np.zeros((2, len(signs), len(signs)))
    for start in range(0, signs.shape[1], PART):
        part = signs[:, start : start + PART].astype(np.float64)
        there = np.abs(part)
        both += there @ there.T
        balance += part @ part.T
    return Agreement(both, 0.5 * (both + balance))


def joined_agreement(several: Sequence[Agreement]) -> Agreement:
    """The agreement in blocks together."""
    return Agreement(sum(each.both for each in several), sum(each.same for each in several))  # type: ignore[arg-type]
