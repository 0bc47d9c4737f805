"""Models that are worse than they could be: an annotator who errs, more about some items than others, and a miner who guesses.

All of it is fixed by a seed: the same question has the same wrong answer whenever it is asked, as a server at temperature 0 has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genz_ppl.types import FloatArray

# No answer is worse than a coin.
WORST = 0.5


def chance(*words: object) -> float:
    """A number in [0, 1) that these words decide, the same in every process."""
    digest = hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True)
class Noise:
    """Wrong answers. share: of all answers to a wording, in the mean; lean: how much likelier a yes is missed than a no is.

    An item is between 0 and 2 times as hard as the mean item, for all wordings alike.
    """

    share: float
    seed: int = 0
    lean: float = 3.0

    def difficulty(self, item: str) -> float:
        """Of one item, by its id."""
        return 2.0 * chance(self.seed, "item", item)

    def rates(self, prevalence: float) -> tuple[float, float]:
        """How often an answer is wrong where no and where yes is true, for a wording that is true of so many items."""
        of_no = self.share / (1 - prevalence + self.lean * prevalence)
        return of_no, self.lean * of_no

    def applied(self, items: Sequence[str], wordings: Sequence[str], truth: FloatArray, prevalence: FloatArray) -> FloatArray:
        """The answers, (T, N) of 1, 0 and NaN, of such an annotator. items: ids; prevalence: (N,), of each wording."""
        answers = truth.copy()
        for t, item in enumerate(items):
            hard = self.difficulty(item)
            for n, wording in enumerate(wordings):
                if np.isnan(truth[t, n]):
                    continue
                rate = min(hard * self.rates(float(prevalence[n]))[int(truth[t, n])], WORST)
                if chance(self.seed, item, wording) < rate:
                    answers[t, n] = 1 - truth[t, n]
        return answers


def better_half(ranked: Sequence[str], n: int, seed: int, *occasion: object) -> list[str]:
    """A weak miner: n of the better half of what could be proposed, in random order. ranked: all of it, the best first.

    occasion: what is asked, so that another question has another outcome.
    """
    half = list(ranked[: (len(ranked) + 1) // 2])
    return sorted(half, key=lambda wording: chance(seed, *occasion, wording))[:n]
