"""The shown items, field by field: each value as text, number and words, worked out once per call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.rules.dates import moment_of
from genz_ppl.llm.rules.lines import line_names, line_value
from genz_ppl.llm.rules.predicates import is_missing, value_text
from genz_ppl.llm.rules.quantities import quantity_of
from genz_ppl.types import FieldValue, FloatArray, IntArray, Item

# Whole numbers beyond it are not exact as float64: such a field gets no thresholds.
_EXACT = 2**53
TEXT_FIELD = "text"


def field_value(item: Item, name: str) -> FieldValue:
    """The item's value in a field, None where it has none; `text` is the item's own text where it has no fields at all.

    A name that no column has may be that of a line in a text, see `lines`.
    """
    if not item.fields and name == TEXT_FIELD:
        return item.text or None
    return item.fields[name] if name in item.fields else line_value(item, name)


def field_names(items: Sequence[Item]) -> list[str]:
    """All fields of the items, in order of their first appearance."""
    names: dict[str, None] = {}
    for item in items:
        names.update(dict.fromkeys(item.fields or (TEXT_FIELD,)))
    return list(names)


@dataclass(frozen=True)
class Column:
    """One field of the shown items.

    values: as they are. present: (shown,) bool. texts: values in the language's own writing, "" where missing.
    numbers: (shown,) float64, NaN where missing, or None if some value is no number.
    integers: (shown,) int64, 0 where missing, or None unless all values are whole by type or text (137 or "137").
    moments: (shown,) datetime64[us], NaT where missing, or None unless all values are dates or times.
    """

    name: str
    values: tuple[FieldValue, ...]
    present: NDArray[np.bool_]
    texts: tuple[str, ...]
    numbers: FloatArray | None
    integers: IntArray | None
    moments: NDArray[np.datetime64] | None = None


def read_columns(items: Sequence[Item]) -> list[Column]:
    """The fields of the items, lines of texts included, that have at least one value."""
    names = dict.fromkeys([*field_names(items), *line_names(items)])
    columns = [read_column(name, [field_value(item, name) for item in items]) for name in names]
    return [column for column in columns if column.present.any()]


def read_column(name: str, values: Sequence[FieldValue]) -> Column:
    """Work out one field."""
    known: dict[tuple[type, FieldValue], tuple[str, float | None]] = {}  # many fields repeat a few values
    present = np.zeros(len(values), dtype=np.bool_)
    numbers: FloatArray | None = np.full(len(values), np.nan)
    texts = [""] * len(values)
    for index, value in enumerate(values):
        if is_missing(value):
            continue
        kind = (type(value), value)
        if kind not in known:
            known[kind] = value_text(value), _number(value)
        texts[index], number = known[kind]
        present[index] = True
        if number is None:
            numbers = None
        elif numbers is not None:
            numbers[index] = number
    whole = not any(kind is float or (kind is str and "." in str(value)) for kind, value in known)
    moments = np.array([moment_of(value) for value in values], dtype="datetime64[us]")
    return Column(
        name=name,
        values=tuple(values),
        present=present,
        texts=tuple(texts),
        numbers=numbers,
        integers=np.nan_to_num(numbers).astype(np.int64) if whole and numbers is not None else None,
        moments=moments if present.any() and not np.isnat(moments[present]).any() else None,
    )


def _number(value: FieldValue) -> float | None:
    number = quantity_of(value)
    return None if number is None or (isinstance(number, int) and abs(number) > _EXACT) else float(number)
