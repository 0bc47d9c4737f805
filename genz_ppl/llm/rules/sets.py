"""Sets of values: "zipcode is one of 85255, 85262, 85377"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from genz_ppl.llm.rules.columns import Column
from genz_ppl.llm.rules.groups import Group, Kind
from genz_ppl.llm.rules.predicates import OneOf, Predicate

_LARGEST_SET = 8
_FEWEST_VALUES = 4
_SHORTEST_CODE = 3
_LONGEST_VALUE = 6  # words; longer values are free text


def set_groups(column: Column, positives: int) -> Iterator[Group]:
    """For a field of names or codes: the values that lean most to the first `positives` shown items, two of them, three, ...

    Each size counts as all the sets of that size having been tried, so a set must earn its length.
    """
    if not _is_nominal(column):
        return
    texts = np.array(column.texts)
    values = sorted({text for text in column.texts if text})
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
        yield Group(Kind.SET, column.name, truth, column.present, _worded(column.name, names), math.comb(len(values), size))


def _worded(field: str, names: tuple[str, ...]) -> Callable[[int, bool], Predicate | None]:
    def word(_: int, opposite: bool) -> Predicate | None:
        return None if opposite else OneOf(field, names)

    return word


def _is_nominal(column: Column) -> bool:
    """Whether the values are names, or codes of one length; amounts have thresholds and ranges instead."""
    texts = [text for text in column.texts if text]
    if any(text.count(" ") >= _LONGEST_VALUE for text in texts):
        return False
    if column.numbers is None:
        return True
    lengths = {len(text) for text in texts}
    return column.integers is not None and len(lengths) == 1 and min(lengths) >= _SHORTEST_CODE
