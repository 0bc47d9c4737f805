"""Among how many independent statements one was chosen by the targets: what the best of its kind about a field fits by chance.

Names, their sets, beginnings, words and years count as they are. The cuts of a number answer much alike: the best of 200 of them
fits noise as the best of 36 independent statements would, and that is what they count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from genz_ppl.llm.rules.dates import ROUNDS, Before, DatePart, moment_of, runs_of
from genz_ppl.llm.rules.predicates import Comparison, Mentions, OneOf, Predicate, StartsWith, is_missing, value_text
from genz_ppl.llm.rules.quantities import quantity_of
from genz_ppl.llm.rules.remainders import is_half, spans_of
from genz_ppl.llm.rules.statements import LONGEST_PREFIX
from genz_ppl.llm.rules.words import content_words, phrases_of, words_of
from genz_ppl.types import FieldValue, FloatArray, IntArray

# Where cuts are counted: nats that a question must gain, more or less; and the share of items that a cut leaves on either side.
_NATS, _LEAST_SHARE = 8.0, 0.02
# The best of all ranges of 10, 77 and 200 values fits noise as the best of 4, 9 and 12 times as many statements as cuts would.
SECOND_CUTS = 12.0


def kind_of(predicate: Predicate) -> Hashable:
    """The same for statements among which `choices` takes each to be chosen: those of one field, form and size."""
    if isinstance(predicate, Comparison):
        if predicate.modulus is not None:
            return predicate.field, "half" if is_half(predicate) else "remainder"
        return predicate.field, "range" if predicate.relation == "between" else "cut"
    size = len(predicate.values) if isinstance(predicate, OneOf) else 0
    size = len(predicate.words) if isinstance(predicate, Mentions) else size
    return predicate.field, predicate.part if isinstance(predicate, DatePart) else type(predicate).__name__, size


def choices(predicate: Predicate, values: Sequence[FieldValue], counts: IntArray | None = None, beside: bool = False) -> float:
    """How many independent statements like this one there were to choose from, at least 1, given the values of its field.

    counts: how many items have each of the values, (V,); None for one each. Names, their sets, beginnings, words and years that
    more than one item has; parts of dates; remainders; cuts of numbers and dates, see `independent_cuts`, and for ranges pairs.
    beside: see `amounts_chosen`.
    """
    if isinstance(predicate, DatePart) and predicate.part != "year":
        return len(runs_of(len(ROUNDS[predicate.part])))
    if isinstance(predicate, Comparison | Before):
        return amounts_chosen(predicate, amounts(predicate, values, counts), beside)
    return possible(predicate, common_names(predicate, values, counts))


@dataclass(frozen=True)
class Amounts:
    """What decides how many statements about a number there are: independent cuts, the largest value, different values."""

    cuts: float
    largest: float
    different: int


def amounts(predicate: Predicate, values: Sequence[FieldValue], counts: IntArray | None = None) -> Amounts:
    """Those of the values, (V,), of which counts, (V,), items have each; None for one each."""
    is_date = isinstance(predicate, Before)
    each = [_moment(value) if is_date else quantity_of(value) for value in values]
    there = np.array([number is not None for number in each], dtype=np.bool_)
    numbers = np.array([float(number) for number in each if number is not None])
    often = np.ones(len(numbers)) if counts is None else counts[there].astype(np.float64)
    return Amounts(independent_cuts(numbers, often), float(numbers.max(initial=0.0)), len(np.unique(numbers)))


def amounts_chosen(predicate: Predicate, known: Amounts, beside: bool = False) -> float:
    """`choices` of a statement about amounts. A range is a pair of cuts: of 5 to 400 values the best one fits noise as the best
    of so many pairs would, within a third. beside: several cuts of a number are in the pool and count there, so that one counts
    once, and a range or a remainder as often as there are second cuts to choose.
    """
    is_range = isinstance(predicate, Comparison) and predicate.relation == "between"
    has_modulus = isinstance(predicate, Comparison) and predicate.modulus is not None
    if beside:
        return min(max(1.0, 0.5 * (known.different - 2)), SECOND_CUTS) if is_range or has_modulus else 1.0
    if isinstance(predicate, Comparison) and predicate.modulus is not None:
        halves, runs = spans_of(int(min(known.largest, 2.0**53)))
        return max(1, len(halves) if is_half(predicate) else len(runs))
    return max(1.0, known.cuts * (known.cuts - 1) / 2) if is_range else known.cuts


def independent_cuts(numbers: FloatArray, counts: FloatArray) -> float:
    """As many independent statements as reach a gain by chance as often as the best cut of a number does.

    numbers: (V,); counts: (V,) how many items have each. Standardised, the differences at all cuts are an Ornstein-Uhlenbeck
    process along half the log odds of the share below. Where its steps are d, in log odds, the number is 1 + sum of x^2 / 2
    nu(x) with x^2 = 2 d times the nats, nu being the correction for what a level is overshot by (Miller & Siegmund 1982, doi
    10.2307/2530881; Siegmund & Yakir 2007): a step of any size counts less than one, and a cut of every item the nats times the
    span. In draws of noise with 5 to 400 values the best cut is as that of 0.9 to 1.1 times as many independent ones.
    """
    order = np.argsort(numbers, kind="stable")
    values, first = np.unique(numbers[order], return_index=True)
    if len(values) < 2:
        return 1.0
    below = np.cumsum(np.add.reduceat(counts[order], first))[:-1] / counts.sum()
    below = below[(below >= _LEAST_SHARE) & (below <= 1 - _LEAST_SHARE)]
    x = np.sqrt(2 * _NATS * np.diff(np.log(below / (1 - below))))
    return 1.0 + float(np.sum(x**2 / 2 * _overshoot(x)))


def _overshoot(x: FloatArray) -> FloatArray:
    """nu(x) = (2 / x) (Phi(x / 2) - 1 / 2) / (x / 2 Phi(x / 2) + phi(x / 2)): 1 without steps, 2 / x^2 for large ones."""
    half = np.maximum(x, 1e-9) / 2
    inside = np.array([math.erf(one / math.sqrt(2)) / 2 for one in half])
    density = np.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    found: FloatArray = inside / half / (half * (0.5 + inside) + density)
    return found


def possible(predicate: Predicate, names: int) -> float:
    """How many statements like this one can be made of so many names."""
    return math.comb(names, len(predicate.values) if isinstance(predicate, OneOf) else 1) or 1


def common_names(predicate: Predicate, values: Sequence[FieldValue], counts: IntArray | None = None) -> int:
    """How many names that a statement like this one could be about more than one item has. values, counts: as of `choices`."""
    names: Counter[str] = Counter()
    for value, count in zip(values, [1] * len(values) if counts is None else counts.tolist(), strict=True):
        if is_missing(value):
            continue
        text = value_text(value)
        if isinstance(predicate, StartsWith):
            found = [text[:end] for end in range(1, min(len(text) - 1, LONGEST_PREFIX) + 1)]
        elif isinstance(predicate, Mentions):
            found = [" ".join(phrase) for phrase in _named(text, len(predicate.words))]
        else:
            found = [text[:4] if isinstance(predicate, DatePart) else text]
        for name in found:
            names[name] += count
    return sum(bool(name) and count > 1 for name, count in names.items())


def _named(text: str, length: int) -> set[tuple[str, ...]]:
    """What a text mentions, of so many words."""
    words = words_of(text)
    return {(word,) for word in content_words(words)} if length == 1 else {one for one in phrases_of(words) if len(one) == length}


def _moment(value: FieldValue) -> float | None:
    """A date as a number: its microseconds."""
    moment = moment_of(value)
    return None if moment is None else float(np.datetime64(moment, "us").astype(np.int64))
