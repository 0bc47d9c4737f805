"""The search of the embedded model: from shown items to ranked statements."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.rules.columns import read_columns
from genz_ppl.llm.rules.groups import Group, Kind, part_groups, range_group, simple_groups
from genz_ppl.llm.rules.predicates import Comparison, Predicate
from genz_ppl.llm.rules.quantities import roundness
from genz_ppl.llm.rules.ranking import NEAR_REPEAT, Candidate, TruthArray, choose, log_bayes_factor, rate_difference
from genz_ppl.llm.rules.remainders import remainder_groups
from genz_ppl.llm.rules.sets import set_groups
from genz_ppl.types import FloatArray, IntArray, Item

# Nats against a kind, whatever the field. One question in twenty or so is about a remainder: without this, a field of many
# numbers has one that fits by chance. The second end of a range must leave out more than one stray item.
_RARITY = {Kind.RANGE: math.log(4.0), Kind.REMAINDER_HALF: math.log(20.0), Kind.REMAINDER: math.log(20.0)}
_FAMILIES = {Kind.THRESHOLD: "size", Kind.RANGE: "size", Kind.REMAINDER_HALF: "remainder", Kind.REMAINDER: "remainder"}
_LEAST_BALANCE = 0.02  # a statement that fewer items than this share meet (or miss) cannot explain much


@dataclass(frozen=True)
class Pool:
    """All candidates of a contrast, the best first, not worded yet.

    owner: (C,) index of the group; row: (C,) index in the group; opposite: (C,) whether the opposite is meant;
    score: (C,) nats.
    """

    groups: tuple[Group, ...]
    owner: IntArray
    row: IntArray
    opposite: NDArray[np.bool_]
    score: FloatArray

    def worded(self, end: int) -> Iterator[Candidate]:
        """The candidates before `end`, those that the language has words for."""
        for place in range(min(end, len(self.score))):
            group, row, opposite = self.groups[self.owner[place]], int(self.row[place]), bool(self.opposite[place])
            predicate = group.word(row, opposite)
            if predicate is not None:
                yield _candidate(group, predicate, group.truth[row] != opposite, float(self.score[place]))


def propose(positive: Sequence[Item], negative: Sequence[Item], taken: Collection[Hashable], n: int) -> list[str]:
    """Up to n statements that hold for the positive items rather than the negative ones, best first; none with a taken key.

    A statement's score is the log Bayes factor of two rates against one, less the logarithm of the number of statements of
    its kind tried on its field (so a free text of a thousand words has no better chance than one yes/no field) and what its
    kind is rarer than the plain ones.
    """
    if n <= 0 or not positive or not negative:
        return []
    pool = _pool([*positive, *negative], len(positive))
    end = max(64, 8 * n)
    while True:
        chosen = choose(list(pool.worded(end)), taken, n)
        if len(chosen) >= n or end >= len(pool.score):
            return chosen
        end *= 4


def _pool(items: Sequence[Item], positives: int) -> Pool:
    groups: list[Group] = []
    for column in read_columns(items):
        groups += [*simple_groups(column), *range_group(column, positives), *remainder_groups(column), *part_groups(column)]
        groups += set_groups(column, positives)
    if not groups:
        nothing = np.zeros(0, dtype=np.int64)
        return Pool((), nothing, nothing, nothing.astype(np.bool_), nothing.astype(np.float64))
    counts = np.concatenate([_counts(group, positives) for group in groups], axis=1)
    sizes = [len(group.truth) for group in groups]
    prior = np.repeat([_log_prior(group) for group in groups], sizes)
    owner = np.repeat(np.arange(len(groups), dtype=np.int64), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])
    difference = rate_difference(*counts)
    score = log_bayes_factor(*counts) + prior
    order = np.argsort(-score, kind="stable")
    order = order[difference[order] != 0]
    return Pool(tuple(groups), owner[order], row[order], difference[order] < 0, score[order])


def _counts(group: Group, positives: int) -> IntArray:
    """(4, C): yes and answered among the positives, yes and answered among the negatives."""
    truth = group.truth & group.valid[None, :]
    parts = (truth[:, :positives], truth[:, positives:])
    totals = (group.valid[:positives].sum(), group.valid[positives:].sum())
    rows = [row for part, total in zip(parts, totals, strict=True) for row in (part.sum(axis=1), np.full(len(truth), total))]
    return np.array(rows, dtype=np.int64)


def _log_prior(group: Group) -> float:
    return -math.log(group.tried) - _RARITY.get(group.kind, 0.0)


def _candidate(group: Group, predicate: Predicate, truth: NDArray[np.bool_], score: float) -> Candidate:
    text = predicate.wording
    digits = sum(map(roundness, predicate.numbers)) if isinstance(predicate, Comparison) else 0
    relation = _FAMILIES.get(group.kind)
    return Candidate(
        text=text,
        key=predicate.key,
        score=score,
        complexity=(int(group.kind), digits, len(text)),
        truth=np.where(group.valid, truth, -1).astype(np.int8),
        family=None if relation is None else (group.field, relation),
    )


def suggest(items: Sequence[Item], n: int) -> list[str]:
    """Up to n statements that about half of the items meet: the best of each field, then the second best, and so on.

    Ranges and remainders are left out: without a contrast there is no reason to prefer one of them to a hundred others.
    """
    waiting = [_balanced(list(simple_groups(column)), n) for column in read_columns(items)]
    chosen: list[Candidate] = []
    while len(chosen) < n and any(waiting):
        heads = [candidates.pop(0) for candidates in waiting if candidates]
        for candidate in sorted(heads, key=lambda head: (-head.score, head.complexity, head.text)):
            if len(chosen) < n and not any(_same_or_opposite(candidate.truth, other.truth) for other in chosen):
                chosen.append(candidate)
    return [candidate.text for candidate in chosen]


def _balanced(groups: Sequence[Group], n: int) -> list[Candidate]:
    """The statements of one field, the most balanced first, without near-repeats."""
    ranked: list[tuple[float, Kind, int, Group]] = []
    for group in groups:
        answered = int(group.valid.sum())
        share = (group.truth & group.valid[None, :]).sum(axis=1) / answered
        balance = np.minimum(share, 1.0 - share) * answered / len(group.valid)
        ranked += [(float(b), group.kind, row, group) for row, b in enumerate(balance) if b >= _LEAST_BALANCE]
    ranked.sort(key=lambda entry: (-round(entry[0], 9), *entry[1:3]))
    chosen: list[Candidate] = []
    for balance_of, _, row, group in ranked:
        if len(chosen) >= n:
            break
        predicate = group.word(row, False)
        if predicate is None:
            continue
        candidate = _candidate(group, predicate, group.truth[row], round(balance_of, 9))
        if not any(_nearly_alike(candidate.truth, other.truth) for other in chosen):
            chosen.append(candidate)
    return chosen


def _same_or_opposite(first: TruthArray, second: TruthArray) -> bool:
    both = (first >= 0) & (second >= 0)
    agreeing = first[both] == second[both]
    return bool(both.any()) and bool(agreeing.all() or not agreeing.any())


def _nearly_alike(first: TruthArray, second: TruthArray) -> bool:
    both = (first >= 0) & (second >= 0)
    agreement = float(np.mean(first[both] == second[both])) if both.any() else 0.0
    return agreement > 1.0 - NEAR_REPEAT or agreement < NEAR_REPEAT
