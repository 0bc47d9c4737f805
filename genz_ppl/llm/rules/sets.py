"""Sets of values: "zipcode is one of 85255, 85262, 85377"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from genz_ppl.llm.rules.columns import Column
from genz_ppl.llm.rules.predicates import OneOf, Predicate
from genz_ppl.llm.rules.statements import FEW_SHOWN, LONGEST_VALUE, SHORTEST_CODE, Kind, Statements

_LARGEST_SET = 8
_FEWEST_VALUES = 4


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


def _is_nominal(column: Column) -> bool:
    """Whether the values are names, or codes of one length; amounts have thresholds and ranges instead."""
    texts = [text for text in column.texts if text]
    if column.moments is not None or any(text.count(" ") >= LONGEST_VALUE for text in texts):
        return False
    if column.numbers is None:
        return True
    lengths = {len(text) for text in texts}
    return column.integers is not None and len(lengths) == 1 and min(lengths) >= SHORTEST_CODE
