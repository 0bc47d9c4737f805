"""Statements about whole columns: what `answer` of each says of every value, by arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import EXACT, Cells, CodedCells, NumberCells, TextCells, cells_of, text_cells
from genz_ppl.llm.rules.choices import amounts, amounts_chosen, choices, common_names, possible
from genz_ppl.llm.rules.columns import field_value
from genz_ppl.llm.rules.dates import Before, DatePart
from genz_ppl.llm.rules.index import WordIndex
from genz_ppl.llm.rules.lines import lines_of
from genz_ppl.llm.rules.predicates import Comparison, Equals, Mentions, OneOf, Predicate, StartsWith
from genz_ppl.llm.rules.quantities import Quantity, read_quantity
from genz_ppl.rows import Rows, rows_of
from genz_ppl.types import FieldValue, FloatArray, IntArray, Item

# Items of a table are answered one by one where they are fewer than one in so many of it.
_FEW = 8


def answers(predicate: Predicate, items: Sequence[Item]) -> FloatArray:
    """(len(items),) of 1., 0. and NaN."""
    rows = rows_of(items)
    if rows is None or not rows.names or _FEW * len(rows) < len(rows.store.ids):
        return np.array([predicate.answer(field_value(item, predicate.field)) for item in items], dtype=np.float64)
    cells = _cells(rows, predicate.field)
    if isinstance(predicate, Mentions) and (index := _words(rows, predicate.field)) is not None:
        found = _mentioned(predicate, cells, index)
        return found if rows.places is None else found[rows.places]
    return in_cells(predicate, rows.here(cells))


def searched(predicate: Predicate, items: Sequence[Item], beside: bool = False) -> float:
    """`choices` given the values of all items, which are counted once for all statements alike."""
    rows = rows_of(items)
    if rows is None or not rows.names:
        return choices(predicate, [field_value(item, predicate.field) for item in items], beside=beside)
    if isinstance(predicate, Comparison | Before):
        key = ("amounts", predicate.field, isinstance(predicate, Before))
        return amounts_chosen(predicate, rows.kept_here(key, lambda: amounts(predicate, *_counted(predicate, rows))), beside)
    if isinstance(predicate, DatePart) and predicate.part != "year":
        return choices(predicate, ())
    length = len(predicate.words) if isinstance(predicate, Mentions) else 0
    names = ("names", predicate.field, type(predicate).__name__, length)
    return possible(predicate, rows.kept_here(names, lambda: _named(predicate, rows)))


def _counted(predicate: Predicate, rows: Rows) -> tuple[list[FieldValue], IntArray]:
    return rows.here(_cells(rows, predicate.field)).counted()


def _named(predicate: Predicate, rows: Rows) -> int:
    cells = _cells(rows, predicate.field)
    if isinstance(predicate, Mentions) and isinstance(cells, TextCells) and (index := _words(rows, predicate.field)) is not None:
        found = index.common(len(predicate.words), rows.mask())
        if found is not None:
            return found
    return common_names(predicate, *_counted(predicate, rows))


def _cells(rows: Rows, name: str) -> Cells:
    """A field of the whole table; a name that no column has may be that of a line in its texts, see `lines`."""
    if name in rows.names:
        return rows.store.fields[name]
    return rows.kept(("line", name), lambda: _line_cells(rows, name))


def _line_cells(rows: Rows, name: str) -> Cells:
    found: list[FieldValue] = [None] * len(rows.store.ids)
    for cells in rows.store.fields.values():
        if str in cells.kinds():
            lines = cells.changed(lambda value: lines_of(value).get(name) if isinstance(value, str) else None)
            found = [known if known is not None else new for known, new in zip(found, lines, strict=True)]
    return cells_of(found)


def _words(rows: Rows, name: str) -> WordIndex | None:
    """An index of a field's distinct texts, or of its texts where they are many; None where they cannot be held so."""

    def make() -> WordIndex | None:
        cells = _cells(rows, name)
        if isinstance(cells, CodedCells):
            cells = text_cells(value if isinstance(value, str) else "" for value in cells.values)
        return WordIndex(cells.texts) if isinstance(cells, TextCells) else None

    return rows.kept(("words", name), make)


def _mentioned(predicate: Mentions, cells: Cells, index: WordIndex) -> FloatArray:
    found = index.mentions(predicate.words).astype(np.float64)
    if isinstance(cells, CodedCells):
        found[[not isinstance(value, str) for value in cells.values]] = np.nan
        return np.append(found, np.nan)[cells.codes]
    return np.where(cells.present, found, np.nan)


def in_cells(predicate: Predicate, cells: Cells) -> FloatArray:
    """(T,) the statement's answer to each value."""
    if isinstance(cells, NumberCells):
        found = _of_numbers(predicate, cells.numbers)
        return cells.scored(predicate.answer) if found is None else np.where(cells.present, found, np.nan)
    if isinstance(cells, TextCells):
        found = _of_texts(predicate, cells.texts)
        return cells.scored(predicate.answer) if found is None else np.where(cells.present, found, np.nan)
    return cells.scored(predicate.answer)


def _of_numbers(predicate: Predicate, numbers: NDArray[Any]) -> FloatArray | None:
    """(T,), None where the language has to look at each number itself."""
    if isinstance(predicate, Mentions | Before | DatePart):
        return np.full(len(numbers), np.nan)
    if isinstance(predicate, Equals | OneOf):
        values = (predicate.value,) if isinstance(predicate, Equals) else predicate.values
        wanted = [number for number in map(read_quantity, values) if number is not None]
        if not _are_exact(numbers, wanted):
            return None
        same = np.zeros(len(numbers), dtype=np.bool_)
        for number in wanted:
            same |= numbers == number
        return _as_answers(same != (isinstance(predicate, Equals) and predicate.negated))
    if not isinstance(predicate, Comparison) or not _are_exact(numbers, [*predicate.numbers, predicate.modulus or 0]):
        return None
    if predicate.modulus is None:
        return _as_answers(_holds(predicate, numbers))
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    remainder = np.where(whole, numbers, 0).astype(np.int64) % predicate.modulus
    return np.where(whole, _holds(predicate, remainder), np.nan)


def _holds(predicate: Comparison, numbers: NDArray[Any]) -> NDArray[np.bool_]:
    first, last = predicate.numbers[0], predicate.numbers[-1]
    if predicate.relation == "at least":
        found = numbers >= first
    elif predicate.relation == "less than":
        found = numbers < first
    elif predicate.relation == "between":
        found = (numbers >= first) & (numbers <= last)
    else:
        found = (numbers == first) == (predicate.relation == "is")
    return np.asarray(found, dtype=np.bool_)


def _are_exact(numbers: NDArray[Any], wanted: Sequence[Quantity]) -> bool:
    """Whether numbers are compared as floats as Python compares them."""
    finite = numbers[np.isfinite(numbers)] if numbers.dtype == np.float64 else numbers
    return all(abs(one) <= EXACT for one in wanted) and (not len(finite) or float(np.abs(finite).max()) <= EXACT)


def _of_texts(predicate: Predicate, texts: pyarrow.Array) -> FloatArray | None:
    """(T,), None where the language has to look at each text itself."""
    if isinstance(predicate, Before | DatePart):
        return np.full(len(texts), np.nan)
    compute, negated = pyarrow.compute, False
    try:
        if isinstance(predicate, StartsWith):
            found = compute.starts_with(texts, predicate.prefix)
        elif isinstance(predicate, Equals | OneOf):
            values = (predicate.value,) if isinstance(predicate, Equals) else predicate.values
            found = compute.is_in(texts, pyarrow.array(values, pyarrow.large_string()))
            negated = isinstance(predicate, Equals) and predicate.negated
        else:
            return None
    except UnicodeEncodeError:  # half a character
        return None
    holds = found.fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_)
    return _as_answers(holds != negated)


def _as_answers(holds: NDArray[np.bool_]) -> FloatArray:
    return holds.astype(np.float64)
