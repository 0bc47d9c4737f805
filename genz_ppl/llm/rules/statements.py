"""Candidate statements about one field, kind by kind: each with its truth on all shown items, worded only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.rules.columns import Column
from genz_ppl.llm.rules.dates import ROUNDS, Before, DatePart, part_of, runs_of
from genz_ppl.llm.rules.predicates import Comparison, Equals, Mentions, Predicate, StartsWith
from genz_ppl.llm.rules.quantities import simplest_cut, simplest_end
from genz_ppl.llm.rules.ranking import log_bayes_factor, rate_difference
from genz_ppl.llm.rules.words import clauses_of, content_words, phrases_of, words_of

BoolArray = NDArray[np.bool_]

FEW_SHOWN = 8  # above it, a value or word that one item alone has says nothing about a group
LONGEST_VALUE = 6  # words; longer values are free text, which is not compared as a whole
SHORTEST_CODE = 3
LONGEST_PREFIX = 8
_RANGES_KEPT = 8  # of one field: ranges overlap so much that more would be near-repeats


class Kind(IntEnum):
    """Kinds of statements, the simplest first."""

    EQUALITY = 0
    THRESHOLD = 1
    PREFIX = 2
    WORD = 3
    PHRASE = 4
    RANGE = 5
    REMAINDER_HALF = 6
    REMAINDER = 7
    SET = 8


@dataclass(frozen=True)
class Statements:
    """Candidates of one kind about one field.

    truth: (C, shown) bool. valid: (shown,) bool, where there is an answer. word: the statement of candidate i, or with True
    the one that holds where candidate i does not; None if the language has none. tried: how many statements of the kind
    were looked at to find these.
    """

    kind: Kind
    field: str
    truth: BoolArray
    valid: BoolArray
    word: Callable[[int, bool], Predicate | None]
    tried: int


def simple_statements(column: Column) -> Iterator[Statements]:
    """Equality, thresholds, prefixes and words: the kinds that make sense without a contrast. Of dates, thresholds and years."""
    if column.moments is not None:
        yield from _moments(column, column.moments)
        return
    yield from _equalities(column)
    yield from _thresholds(column)
    yield from _prefixes(column)
    yield from _words(column)


def _stated(
    kind: Kind,
    column: Column,
    named: Iterable[tuple[str, int]],
    state: Callable[[str], Predicate],
    valid: BoolArray | None = None,
    least: int = 2,
) -> Iterator[Statements]:
    """Statements that some but not all items meet, at least `least` where many are shown. named: what is stated, with each item
    that it is true of."""
    sets: dict[str, list[int]] = {}
    for name, index in named:
        sets.setdefault(name, []).append(index)
    shown = len(column.values)
    least = 1 if shown <= FEW_SHOWN else least
    names = [name for name, members in sets.items() if least <= len(members) < shown]
    truth = np.zeros((len(names), shown), dtype=np.bool_)
    for row, name in enumerate(names):
        truth[row, sets[name]] = True
    if names:
        valid = column.present if valid is None else valid
        yield Statements(kind, column.name, truth, valid, lambda i, opposite: None if opposite else state(names[i]), len(names))


def _equalities(column: Column) -> Iterator[Statements]:
    short = ((text, i) for i, text in enumerate(column.texts) if text.strip() and text.count(" ") < LONGEST_VALUE)
    measured = column.numbers is not None and column.integers is None  # two such numbers are the same by chance now and then
    return _stated(Kind.EQUALITY, column, short, lambda value: Equals(column.name, value), least=3 if measured else 2)


def _thresholds(column: Column) -> Iterator[Statements]:
    if column.numbers is None:
        return
    values = np.unique(column.numbers[column.present])
    if len(values) < 2:
        return
    cuts = values[1:]
    truth = column.numbers[None, :] >= cuts[:, None]

    def word(index: int, opposite: bool) -> Predicate:
        cut = simplest_cut(_plain(values[index]), _plain(values[index + 1]))
        return Comparison(column.name, "less than" if opposite else "at least", (cut,))

    yield Statements(Kind.THRESHOLD, column.name, truth, column.present, word, len(cuts))


def _prefixes(column: Column) -> Iterator[Statements]:
    """Beginnings of codes: values of one length without spaces, with a digit in each."""
    texts = [column.texts[index] for index in np.flatnonzero(column.present)]
    length = len(texts[0])
    if column.numbers is not None and column.integers is None:
        return  # fractions are no codes
    alike = all(len(text) == length and any(c.isdigit() for c in text) and len(text.split()) == 1 for text in texts)
    if length < SHORTEST_CODE or not alike:
        return
    ends = range(1, min(length - 1, LONGEST_PREFIX) + 1)
    beginnings = ((text[:end], i) for i, text in enumerate(column.texts) if text for end in ends)
    yield from _stated(Kind.PREFIX, column, beginnings, lambda prefix: StartsWith(column.name, prefix))


def _words(column: Column) -> Iterator[Statements]:
    texts = [(value, index) for index, value in enumerate(column.values) if isinstance(value, str)]
    known = {value: content_words(words_of(value)) for value in {value for value, _ in texts}}
    # A field of single words is told apart by equality.
    if any(len(value.split()) > 1 or len(words) > 1 for value, words in known.items()):
        strings = np.array([isinstance(value, str) for value in column.values])
        # Sets of words have no order of their own; the order here must not depend on the process.
        named = sorted((word, index) for value, index in texts for word in known[value])
        yield from _stated(Kind.WORD, column, named, lambda name: Mentions(column.name, (name,)), strings)


def phrase_statements(column: Column) -> Iterator[Statements]:
    """Two and three words in a row, within what punctuation sets apart."""
    texts = {value for value in column.values if isinstance(value, str) and " " in value}
    if not texts:
        return
    whole = {text: words_of(text) for text in texts}
    parts = {text: [words_of(clause) for clause in clauses_of(text)] for text in texts}
    known = {phrase for clauses in parts.values() for words in clauses for phrase in phrases_of(words)}
    # A statement holds wherever the words follow each other, punctuation or not.
    phrases = {text: sorted(phrases_of(words) & known) for text, words in whole.items()}
    strings = np.array([isinstance(value, str) for value in column.values])
    named = (
        (" ".join(phrase), index)
        for index, value in enumerate(column.values)
        if isinstance(value, str)
        for phrase in phrases.get(value, ())
    )
    yield from _stated(Kind.PHRASE, column, named, lambda name: Mentions(column.name, tuple(name.split())), strings)


def range_statements(column: Column, positives: int) -> Iterator[Statements]:
    """The ranges of a number, inner ones only, that tell the first `positives` shown items best from the others."""
    if column.numbers is None:
        return
    values, inverse = np.unique(column.numbers[column.present], return_inverse=True)
    if len(values) < 3:
        return
    is_positive = (np.arange(len(column.values)) < positives)[column.present]
    first = np.bincount(inverse[is_positive], minlength=len(values))
    second = np.bincount(inverse[~is_positive], minlength=len(values))
    low, high = np.triu_indices(len(values) - 2)
    low, high = low + 1, high + 1  # not the ends: those are thresholds
    counts = []
    for group in (first, second):
        below = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(group)])
        counts += [below[high + 1] - below[low], np.full(len(low), below[-1])]
    evidence = np.where(rate_difference(*counts) > 0, log_bayes_factor(*counts), -np.inf)
    best = np.argsort(-evidence, kind="stable")[:_RANGES_KEPT]
    best = best[np.isfinite(evidence[best])]
    low, high = low[best], high[best]
    tried = len(evidence)

    def word(index: int, opposite: bool) -> Predicate | None:
        start, end = int(low[index]), int(high[index])
        numbers = (
            simplest_cut(_plain(values[start - 1]), _plain(values[start])),
            simplest_end(_plain(values[end]), _plain(values[end + 1])),
        )
        return None if opposite else Comparison(column.name, "between", numbers)

    shown = column.numbers[None, :]
    truth = (shown >= values[low][:, None]) & (shown <= values[high][:, None])
    yield Statements(Kind.RANGE, column.name, truth, column.present, word, tried)


def _moments(column: Column, moments: NDArray[np.datetime64]) -> Iterator[Statements]:
    values = np.unique(moments[column.present])
    if len(values) > 1:

        def word(index: int, opposite: bool) -> Predicate:
            return Before(column.name, _roundest(values[index], values[index + 1]), not opposite)

        yield Statements(Kind.THRESHOLD, column.name, moments >= values[1:, None], column.present, word, len(values) - 1)
    years = ((str(part_of(value, "year")), i) for i, value in enumerate(column.values) if column.present[i])
    yield from _stated(Kind.EQUALITY, column, years, lambda year: DatePart(column.name, "year", int(year), int(year)))


def _roundest(low: np.datetime64, high: np.datetime64) -> datetime:
    """The first moment of the longest year, month, day, hour, minute or second that is after `low` and not after `high`."""
    starts = (high.astype(f"datetime64[{unit}]").astype("datetime64[us]") for unit in ("Y", "M", "D", "h", "m", "s", "us"))
    found: datetime = next(start for start in starts if start > low).item()
    return found


def part_statements(column: Column) -> Iterator[Statements]:
    """Every run of months, weekdays and hours, up to half of them; the opposites are the longer runs."""
    for part in ROUNDS if column.moments is not None else ():
        places = [part_of(value, part) for value in column.values]
        valid = np.array([place is not None for place in places])
        if len({place for place in places if place is not None}) < 2:
            continue
        runs = [DatePart(column.name, part, *run) for run in runs_of(len(ROUNDS[part]))]
        known, where = np.unique(np.array([place or 0 for place in places]), return_inverse=True)
        inside = [[run.holds(int(place)) for place in known] for run in runs]
        truth = np.array(inside, dtype=np.bool_)[:, where] & valid

        def word(index: int, opposite: bool, runs: list[DatePart] = runs) -> Predicate:
            return runs[index].opposite if opposite else runs[index]

        yield Statements(Kind.RANGE, column.name, truth, valid, word, len(runs))


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
