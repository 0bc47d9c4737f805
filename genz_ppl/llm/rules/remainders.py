"""Remainders of whole numbers: what shows a bit, a parity, a weekday or a round number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genz_ppl.llm.rules.columns import Column
from genz_ppl.llm.rules.predicates import Comparison, Predicate, Relation
from genz_ppl.llm.rules.quantities import Quantity
from genz_ppl.llm.rules.statements import Kind, Statements

Span = tuple[int, int, int]  # modulus, first and last remainder

_DISTINCT_NEEDED = 9
_OTHER_MODULI = (3, 5, 6, 7, 9, 10, 12, 24, 60, 100, 1000)
_SMALL_MODULUS = 12  # up to it, every run of remainders is looked at


def remainder_statements(column: Column) -> Iterator[Statements]:
    """Halves of the moduli, and every run of remainders of the small ones, for a field of many whole numbers from 0 up."""
    integers = column.integers
    if integers is None or _is_code(column):
        return
    if integers.min() < 0 or len(np.unique(integers[column.present])) < _DISTINCT_NEEDED:
        return
    for kind, spans in zip((Kind.REMAINDER_HALF, Kind.REMAINDER), spans_of(int(integers.max())), strict=True):
        if not spans:
            continue
        modulus, first, last = (np.array(part, dtype=np.int64)[:, None] for part in zip(*spans, strict=True))
        remainder = integers[None, :] % modulus
        truth = (remainder >= first) & (remainder <= last)

        def word(index: int, opposite: bool, spans: list[Span] = spans) -> Predicate | None:
            return remainder_statement(column.name, spans[index], opposite)

        yield Statements(kind, column.name, truth, column.present, word, len(spans))


def _is_code(column: Column) -> bool:
    """Whether the values are codes such as postcodes, whose remainders mean nothing: equally many digits, four at least."""
    lengths = {len(text) for text in column.texts if text}
    return len(lengths) == 1 and min(lengths) >= 4 and all(isinstance(value, str | None) for value in column.values)


def remainder_statement(field: str, span: Span, opposite: bool) -> Predicate | None:
    """The remainder lies in the span or, with `opposite`, outside. One wording for each; None where the language has none."""
    modulus, first, last = span
    if opposite:
        if first == 0 or last < modulus - 1:
            return None
        first, last = 0, first - 1
    numbers: tuple[Quantity, ...] = (first, last)
    relation: Relation = "between"
    if first == last:
        relation, numbers = "is", (first,)
    elif last == modulus - 1:
        relation, numbers = "at least", (first,)
    elif first == 0:
        relation, numbers = "less than", (last + 1,)
    return Comparison(field, relation, numbers, modulus)


def is_half(predicate: Comparison) -> bool:
    """Whether a statement about a remainder, or its opposite, is that of the upper half of its modulus."""
    modulus = predicate.modulus or 1
    half = remainder_statement(predicate.field, (modulus, modulus // 2, modulus - 1), False)
    return modulus % 2 == 0 and half is not None and predicate.key == half.key


def spans_of(largest: int) -> tuple[list[Span], list[Span]]:
    """The halves of moduli, and the other runs of remainders of small ones, that are looked at in numbers up to the largest."""
    powers = [2**exponent for exponent in range(1, max(largest.bit_length(), 1) + 1)]
    moduli = sorted({*powers, *(modulus for modulus in _OTHER_MODULI if modulus < largest)})
    halves = [(modulus, modulus // 2, modulus - 1) for modulus in moduli if modulus % 2 == 0]
    runs = [
        (modulus, first, last)
        for modulus in moduli
        if modulus <= _SMALL_MODULUS
        for first in range(modulus)
        for last in range(first, modulus)
        # Runs from 0 are the opposite of runs to the end, but for a single remainder, which has a wording of its own.
        if (first > 0 or last == 0) and (modulus, first, last) not in halves and modulus > 2
    ]
    return halves, runs
