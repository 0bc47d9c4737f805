"""Sets of values: "zipcode is one of 85255, 85262, 85377", and how many statements about names there are to choose from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from genz_ppl.llm.rules.columns import Column
from genz_ppl.llm.rules.dates import ROUNDS, Before, DatePart, runs_of
from genz_ppl.llm.rules.predicates import Comparison, Mentions, OneOf, Predicate, StartsWith, is_missing, value_text
from genz_ppl.llm.rules.statements import FEW_SHOWN, LONGEST_PREFIX, LONGEST_VALUE, SHORTEST_CODE, Kind, Statements
from genz_ppl.llm.rules.words import content_words, phrases_of, words_of
from genz_ppl.types import FieldValue, IntArray

_LARGEST_SET = 8
_FEWEST_VALUES = 4
# A range has two cuts, and so has a run of remainders: so many of the second ones answer differently, however many there are.
# (The best of all ranges of 10, 77 and 200 values fits noise as the best of 4, 9 and 12 times as many statements as cuts would.)
_SECOND_CUTS = 12


def set_statements(column: Column, positives: int) -> Iterator[Statements]:
    """For a field of names or codes: the common values that lean most to the first `positives` shown items, two, three, ...

    Each size counts as all the sets of that size having been tried, so a set must earn its length.
    """
    if not _is_nominal(column):
        return
    texts = np.array(column.texts)
    values = sorted(_common(column.texts) if len(texts) > FEW_SHOWN else {text for text in column.texts if text})
    if len(values) < _FEWEST_VALUES:
        return
    member = texts[None, :] == np.array(values)[:, None]
    first, second = member[:, :positives].sum(axis=1), member[:, positives:].sum(axis=1)
    lean = np.log((first + 0.5) / (second + 0.5))
    order = [int(index) for index in np.argsort(-(lean * (first + second)), kind="stable") if first[index] > second[index]]
    for size in range(2, min(_LARGEST_SET, len(order), len(values) - 1) + 1):
        chosen = order[:size]
        names = tuple(sorted(values[index] for index in chosen))
        truth = member[chosen].any(axis=0)[None, :]

        def word(_: int, opposite: bool, names: tuple[str, ...] = names) -> Predicate | None:
            return None if opposite else OneOf(column.name, names)

        yield Statements(Kind.SET, column.name, truth, column.present, word, math.comb(len(values), size))


def _common(names: Iterable[str]) -> list[str]:
    """The names that are there more than once: one item alone says nothing about others of its name."""
    return [name for name, count in Counter(names).items() if name and count > 1]


def choices(predicate: Predicate, values: Sequence[FieldValue]) -> float:
    """How many statements like this one there were to choose from, given the values of its field in all items.

    Names, their sets, beginnings, words and years that more than one item has, and parts of dates; 1 for amounts, whose cuts
    answer nearly alike, and for their ranges and remainders as many as there are second cuts to choose.
    """
    if has_second_cut(predicate):
        return second_cuts(len({value for value in values if not is_missing(value)}))
    if isinstance(predicate, DatePart) and predicate.part != "year":
        return len(runs_of(len(ROUNDS[predicate.part])))
    return possible(predicate, common_names(predicate, values)) if is_chosen_by_name(predicate) else 1


def has_second_cut(predicate: Predicate) -> bool:
    """Whether a statement is about a range of a number, or about its remainders."""
    return isinstance(predicate, Comparison) and (predicate.relation == "between" or predicate.modulus is not None)


def second_cuts(amounts: int) -> float:
    """How many statements of one range there are for one of a cut, given how many values a number has."""
    return min(max(1.0, 0.5 * (amounts - 2)), _SECOND_CUTS)


def is_chosen_by_name(predicate: Predicate) -> bool:
    """Whether the values of a field decide how many statements like it there are."""
    return not isinstance(predicate, Comparison | Before | DatePart) or (
        isinstance(predicate, DatePart) and predicate.part == "year"
    )


def possible(predicate: Predicate, names: int) -> float:
    """How many statements like this one can be made of so many names."""
    return math.comb(names, len(predicate.values) if isinstance(predicate, OneOf) else 1) or 1


def common_names(predicate: Predicate, values: Sequence[FieldValue], counts: IntArray | None = None) -> int:
    """How many names that a statement like this one could be about more than one item has.

    counts: how many items have each of the values, (V,); None for one each.
    """
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


def _is_nominal(column: Column) -> bool:
    """Whether the values are names, or codes of one length; amounts have thresholds and ranges instead."""
    texts = [text for text in column.texts if text]
    if column.moments is not None or any(text.count(" ") >= LONGEST_VALUE for text in texts):
        return False
    if column.numbers is None:
        return True
    lengths = {len(text) for text in texts}
    return column.integers is not None and len(lengths) == 1 and min(lengths) >= SHORTEST_CODE
