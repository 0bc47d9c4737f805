"""Which wordings deserve answers on all items: a race on a few items that tell most, the clearly worse dropped first.

A wording is proposed for a split of the items; how far its answers follow that split can be told from a few items at the two
ends of it. Answers on those are asked in rounds, each four times as large as the one before, of the wordings that still look
right; the best one left is then asked about on all items. What was asked stays in the pool. A wording that is proposed again
for a later split counts with the answers it has, as far as they tell of that split: items in the middle of it tell little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from genz_ppl.discovery.mine.rounds import FEWER, FIRST_ROUND, MOST_CLOSE, MOST_FALLEN, WAVE, checkpoints, growing
from genz_ppl.discovery.run.progress import UNASKED, asked
from genz_ppl.types import FloatArray, IntArray

# The mean of (2 q - 1)^2 over items up to which a split is vague: the sharper, the fewer items tell as much.
VAGUE = 0.4
# The score (in standard errors) that a wording needs after the first round, and after the last; in between in proportion.
FIRST_SCORE, LAST_SCORE = 1.2, 2.3
# With care a wording is given up once its score is so many standard errors below that of one just worth its price.
SLACK = 1.0
# A round is over for a wording whose answers so far tell at least this share of what those of the round would.
ENOUGH = 0.8
# Wordings that differ on a smaller share of the items are one feature, if either answer was given at least so often.
SAME, FEW_OF_EITHER = 0.01, 4

Ask = Callable[[Sequence[int], Sequence[str]], FloatArray]
Pool = dict[str, np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """How a wording's answers go with a split. score: the slope in standard errors. gain: nats on all items if it holds."""

    n_answers: int
    score: float
    gain: float


def normal_scores(posterior: FloatArray) -> FloatArray:
    """A split's posterior, (T,), as a standard normal variable in the order of q, (T,): the side and depth of every item."""
    order = np.argsort(np.argsort(posterior, kind="stable"), kind="stable")
    share = torch.from_numpy((order + 0.5) / len(posterior))
    scores: FloatArray = torch.special.ndtri(share).numpy()
    return scores


def evidence(answers: np.ndarray, depth: FloatArray) -> Evidence:
    """Evidence of one pool entry, (T,), for a split, (T,).

    The regression of answers on depth is the same whichever depths were looked at, so items may be chosen by depth. Answers
    that are all alike so far count as one yes and one no more.
    """
    valid = answers >= 0
    n = int(valid.sum())
    if n < 2:
        return Evidence(n, 0.0, 0.0)
    x, h = depth[valid] - depth[valid].mean(), answers[valid].astype(np.float64)
    share = (h.sum() + 1) / (n + 2)
    spread, size = share * (1 - share), float((x**2).sum())
    if size == 0.0:
        return Evidence(n, 0.0, 0.0)
    slope = float(x @ h) / size
    correlation = min(abs(slope) / spread**0.5, 0.999)
    return Evidence(n, slope * (size / spread) ** 0.5, -0.5 * len(depth) * np.log1p(-(correlation**2)))


def telling_items(depth: FloatArray, compared: IntArray) -> IntArray:
    """Items in the order in which they are asked about: from the two ends of a split in turn, then inwards.

    Those among which the contrast was drawn, `compared`, come first: it is there that a wording is to tell the sides apart.
    """
    others = np.setdiff1d(np.arange(len(depth)), compared)
    order = []
    for part in (np.asarray(compared, dtype=np.int64), others):
        ranked = part[np.argsort(depth[part], kind="stable")]
        inwards = np.empty(len(ranked), dtype=np.int64)
        half = (len(ranked) + 1) // 2
        inwards[0::2], inwards[1::2] = ranked[:half], ranked[half:][::-1]
        order.append(inwards)
    return np.concatenate(order)


def unfinished(pool: Pool, wordings: Mapping[str, int]) -> dict[str, int]:
    """Wordings that lack answers on some training items, with their sides."""
    return {text: side for text, side in wordings.items() if text not in pool or not asked(pool[text]).all()}


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pool entries, or one and the other's opposite, agree wherever both have answers, and that says something."""
    both = (one >= 0) & (other >= 0)
    first, second = one[both], other[both]
    n, yes = len(first), int(first.sum())
    if min(yes, n - yes) < FEW_OF_EITHER:
        return False
    differing = int((first != second).sum())
    return min(differing, n - differing) <= SAME * n


class Race:
    """One split's search among wordings. pool is extended in place. order: items in the order of asking.

    ask: answers of some items (positions) to some wordings, (items, wordings). most: items of the last round. price: nats of
    a wording just worth having. used: the entries of features in use. care: 0 at first, when the best wording is sought and
    the others are given up soon; then a wording goes on as long as it may be worth its price, each degree doubles the items of
    the last round, and the closest entries of the pool have another chance. sharpness: of the split, the mean of (2 q - 1)^2
    over items.
    """

    def __init__(
        self,
        pool: Pool,
        depth: FloatArray,
        order: IntArray,
        ask: Ask,
        most: int,
        price: float,
        used: Sequence[np.ndarray] = (),
        care: int = 0,
        sharpness: float = 0.0,
    ) -> None:
        self.pool, self.depth, self.ask, self.used, self.price = pool, depth, ask, used, price
        self.order, self.care = order, care
        first = int(FIRST_ROUND * max(FEWER, min(1.0, VAGUE / max(sharpness, VAGUE))))
        sizes = growing(first * (2 if care else 1), most * 2**care, len(depth))
        self.rounds = list(zip(sizes, _scores(len(sizes)), strict=True))
        self.signs: dict[str, int] = {}
        self.fallen = 0

    def recall(self, known: Sequence[str]) -> str | None:
        """A wording of the pool that its answers so far already qualify for this split; it then has answers on all items."""
        self.signs = {}
        size, least = self.rounds[-1]
        left = [text for text in self._partial(known) if asked(self.pool[text]).sum() >= size]
        return self._completed([text for text in self._distinct(left) if self._score(text) >= least])

    def look_at(self, texts: Sequence[str]) -> None:
        """Answers on the items of the last round to all of these."""
        self.pool.update({text: np.full(len(self.depth), UNASKED, dtype=np.int8) for text in texts if text not in self.pool})
        self._ask(texts, self.order[: self.rounds[-1][0]])

    def promising(self, known: Sequence[str], least: float) -> str | None:
        """The wording of the pool that by its answers so far would bring most, at least so many nats; it then has them all.

        One that answers like a feature in use at the ends of an earlier split may differ between them; what is the same has
        nothing to tell of a split of what the features leave over.
        """
        self.signs = {}
        good = [text for text in self._partial(known) if self._score(text) >= LAST_SCORE and self._evidence(text).gain >= least]
        return self._completed(good)

    def run(self, proposed: Mapping[str, int], known: Sequence[str]) -> str | None:
        """The wording that is worth answers on all items, if there is one; it then has them.

        proposed: in the order of the proposer, each with the side of the split it is to name, +1 or -1; some may have answers
        already. known: pool entries that are not in use. At first waves of wordings are tried only until one is good enough;
        with care, the best of all is sought.
        """
        self.signs = dict(proposed)
        texts = list(dict.fromkeys([*self._closest(known), *proposed])) if self.care else list(proposed)
        wave = len(texts) if self.care else WAVE
        for start in range(0, len(texts), max(wave, 1)):
            some = texts[start : start + wave]
            self.pool.update({text: np.full(len(self.depth), UNASKED, dtype=np.int8) for text in some if text not in self.pool})
            winner = self._completed(self._heats(some))
            if winner is not None:
                return winner
        return None

    def _closest(self, known: Sequence[str]) -> list[str]:
        """The few entries of the pool that come closest to passing."""
        left = [text for text in self._partial(known) if self._score(text) >= self._least(text)]
        return sorted(left, key=lambda text: -self._score(text))[:MOST_CLOSE]

    def _least(self, text: str) -> float:
        """The score that a wording needs after as many answers as it has."""
        there = asked(self.pool[text])
        if self.care:
            told = float((self.depth[there] ** 2).sum() / (self.depth**2).sum())
            return float((2 * self.price * told) ** 0.5 - SLACK)
        sizes, scores = zip(*self.rounds, strict=True)
        return float(np.interp(np.log(max(1, there.sum())), np.log(sizes), scores))

    def _heats(self, left: list[str]) -> list[str]:
        """Those that pass every round."""
        for size, least in self.rounds:
            short = [text for text in left if self._is_short(text, size)]
            self._ask(short, self.order[:size])
            if self.care:
                left = [text for text in left if self._score(text) >= self._least(text)]
            else:
                # Being proposed again speaks for a wording: where its answers are enough for this round, the next one decides.
                left = [text for text in left if self._score(text) >= least or text not in short]
            left = self._distinct(left)
        return [text for text in left if self._score(text) >= LAST_SCORE]

    def _is_short(self, text: str, size: int) -> bool:
        """Whether a wording's answers tell less of this split than answers on the first `size` items would."""
        there, told = asked(self.pool[text]), self.depth**2
        return bool(not there.all() and told[there].sum() < ENOUGH * told[self.order[:size]].sum())

    def _distinct(self, texts: Sequence[str]) -> list[str]:
        """Without those that answer like a feature in use or an earlier one: they are not worth their answers."""
        kept: list[str] = []
        for text in texts:
            others = [*self.used, *(self.pool[other] for other in kept)]
            if not any(alike(self.pool[text], other) for other in others):
                kept.append(text)
        return kept

    def _partial(self, known: Sequence[str]) -> list[str]:
        return [text for text in known if not asked(self.pool[text]).all()]

    def _completed(self, finalists: Sequence[str]) -> str | None:
        """The best of these by its answers so far that stays good with more of them; it then has them all."""
        for text in sorted(finalists, key=lambda text: -self._evidence(text).gain):
            if self.fallen == MOST_FALLEN:
                return None
            if self._stays_good(text):
                self._ask([text], np.arange(len(self.depth)))
                return text
            self.fallen += 1
        return None

    def _stays_good(self, text: str) -> bool:
        """Whether a wording is good after each checkpoint: now and then the best of many is so by luck in the last round."""
        for size in checkpoints(self.rounds[-1][0], len(self.depth)):
            if self._is_short(text, size):
                self._ask([text], self.order[:size])
            if self._score(text) < max(LAST_SCORE, self._least(text)):
                return False
        return True

    def _score(self, text: str) -> float:
        """Standard errors of the slope on the side that the wording was proposed for; on either side for those of the pool."""
        score = self._evidence(text).score
        return score * self.signs.get(text, 1 if score >= 0 else -1)

    def _evidence(self, text: str) -> Evidence:
        return evidence(self.pool[text], self.depth)

    def _ask(self, texts: Sequence[str], items: IntArray) -> None:
        """Ask what is not known yet; wordings with the same gaps in one question."""
        alike: dict[bytes, list[str]] = {}
        for text in texts:
            alike.setdefault(asked(self.pool[text])[items].tobytes(), []).append(text)
        for members in alike.values():
            missing = items[~asked(self.pool[members[0]])[items]]
            if len(missing):
                answers = self.ask(missing.tolist(), members)
                for text, column in zip(members, answers.T, strict=True):
                    self.pool[text][missing] = np.where(np.isnan(column), -1, column).astype(np.int8)


def _scores(n_rounds: int) -> list[float]:
    """The score needed after each round where the best wording is sought."""
    return np.linspace(FIRST_SCORE, LAST_SCORE, n_rounds).tolist() if n_rounds > 1 else [LAST_SCORE]
