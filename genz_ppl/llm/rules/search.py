"""The search of the embedded model: from shown items to ranked statements."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.rules.columns import read_columns
from genz_ppl.llm.rules.predicates import Comparison, Predicate
from genz_ppl.llm.rules.quantities import roundness
from genz_ppl.llm.rules.ranking import NEAR_REPEAT, Statement, TruthArray, choose, log_bayes_factor, rate_difference
from genz_ppl.llm.rules.remainders import remainder_statements
from genz_ppl.llm.rules.sets import set_statements
from genz_ppl.llm.rules.statements import (
    Kind,
    Statements,
    part_statements,
    phrase_statements,
    range_statements,
    simple_statements,
)
from genz_ppl.types import FloatArray, IntArray, Item

# Nats against a kind, whatever the field. One question in twenty or so is about a remainder: without this, a field of many
# numbers has one that fits by chance. The second end of a range must leave out more than one stray item.
_RARITY = {Kind.RANGE: math.log(4.0), Kind.REMAINDER_HALF: math.log(20.0), Kind.REMAINDER: math.log(20.0)}
_FAMILIES = {Kind.THRESHOLD: "size", Kind.RANGE: "size", Kind.REMAINDER_HALF: "remainder", Kind.REMAINDER: "remainder"}
_LEAST_BALANCE = 0.02  # a statement that fewer items than this share meet (or miss) cannot explain much


@dataclass(frozen=True)
class Pool:
    """All candidates of a contrast, the best first, not worded yet.

    owner: (C,) which of the statements, kind by kind; row: (C,) which of these; opposite: (C,) whether the opposite is meant;
    score: (C,) nats.
    """

    statements: tuple[Statements, ...]
    owner: IntArray
    row: IntArray
    opposite: NDArray[np.bool_]
    score: FloatArray

    def worded(self, end: int) -> Iterator[Statement]:
        """The candidates before `end`, those that the language has words for."""
        for place in range(min(end, len(self.score))):
            some, row, opposite = self.statements[self.owner[place]], int(self.row[place]), bool(self.opposite[place])
            predicate = some.word(row, opposite)
            if predicate is not None:
                yield _candidate(some, predicate, some.truth[row] != opposite, float(self.score[place]))


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
    statements: list[Statements] = []
    for column in read_columns(items):
        statements += [
            *simple_statements(column),
            *phrase_statements(column),
            *range_statements(column, positives),
            *remainder_statements(column),
            *part_statements(column),
        ]
        statements += set_statements(column, positives)
    if not statements:
        nothing = np.zeros(0, dtype=np.int64)
        return Pool((), nothing, nothing, nothing.astype(np.bool_), nothing.astype(np.float64))
    counts = np.concatenate([_counts(some, positives) for some in statements], axis=1)
    sizes = [len(some.truth) for some in statements]
    prior = np.repeat([_log_prior(some) for some in statements], sizes)
    owner = np.repeat(np.arange(len(statements), dtype=np.int64), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])
    difference = rate_difference(*counts)
    score = log_bayes_factor(*counts) + prior
    order = np.argsort(-score, kind="stable")
    order = order[difference[order] != 0]
    return Pool(tuple(statements), owner[order], row[order], difference[order] < 0, score[order])


def _counts(some: Statements, positives: int) -> IntArray:
    """(4, C): yes and answered among the positives, yes and answered among the negatives."""
    truth = some.truth & some.valid[None, :]
    parts = (truth[:, :positives], truth[:, positives:])
    totals = (some.valid[:positives].sum(), some.valid[positives:].sum())
    rows = [row for part, total in zip(parts, totals, strict=True) for row in (part.sum(axis=1), np.full(len(truth), total))]
    return np.array(rows, dtype=np.int64)


def _log_prior(some: Statements) -> float:
    return -math.log(some.tried) - _RARITY.get(some.kind, 0.0)


def _candidate(some: Statements, predicate: Predicate, truth: NDArray[np.bool_], score: float) -> Statement:
    text = predicate.wording
    digits = sum(map(roundness, predicate.numbers)) if isinstance(predicate, Comparison) else 0
    relation = _FAMILIES.get(some.kind)
    return Statement(
        text=text,
        key=predicate.key,
        score=score,
        complexity=(int(some.kind), digits, len(text)),
        truth=np.where(some.valid, truth, -1).astype(np.int8),
        family=None if relation is None else (some.field, relation),
    )


def suggest(items: Sequence[Item], n: int) -> list[str]:
    """Up to n statements that about half of the items meet: the best of each field, then the second best, and so on.

    Ranges and remainders are left out: without a contrast there is no reason to prefer one of them to a hundred others.
    """
    waiting = [_balanced(list(simple_statements(column)), n) for column in read_columns(items)]
    chosen: list[Statement] = []
    while len(chosen) < n and any(waiting):
        heads = [candidates.pop(0) for candidates in waiting if candidates]
        for candidate in sorted(heads, key=lambda head: (-head.score, head.complexity, head.text)):
            if len(chosen) < n and not any(_same_or_opposite(candidate.truth, other.truth) for other in chosen):
                chosen.append(candidate)
    return [candidate.text for candidate in chosen]


def _balanced(statements: Sequence[Statements], n: int) -> list[Statement]:
    """The statements of one field, the most balanced first, without near-repeats."""
    ranked: list[tuple[float, Kind, int, Statements]] = []
    for some in statements:
        answered = int(some.valid.sum())
        share = (some.truth & some.valid[None, :]).sum(axis=1) / answered
        balance = np.minimum(share, 1.0 - share) * answered / len(some.valid)
        ranked += [(float(b), some.kind, row, some) for row, b in enumerate(balance) if b >= _LEAST_BALANCE]
    ranked.sort(key=lambda entry: (-round(entry[0], 9), *entry[1:3]))
    chosen: list[Statement] = []
    for balance_of, _, row, some in ranked:
        if len(chosen) >= n:
            break
        predicate = some.word(row, False)
        if predicate is None:
            continue
        candidate = _candidate(some, predicate, some.truth[row], round(balance_of, 9))
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
