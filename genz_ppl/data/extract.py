"""From the columns of a table to the ids, items and numbers they hold, each cell checked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import LARGE, SPACES, Cells, NarrowCells, TextCells, are_unique, text_cells
from genz_ppl.data.columns import Schema, render_lines, render_templates
from genz_ppl.data.split import check_split_labels
from genz_ppl.data.table import Table
from genz_ppl.data.values import class_label, is_number, label, listing, number, shorten, sort_labels
from genz_ppl.data.whole_columns import texts_of
from genz_ppl.errors import InputError
from genz_ppl.mapped import room
from genz_ppl.rows import Rows, Store
from genz_ppl.types import FloatArray, Numbers

MOST_CLASSES = 100
_CLASSES_HINT = ", or read classes with --likelihood categorical or bernoulli (in Python likelihood=, for Items classes=True)"


def ids(table: Table, column: str | None) -> Cells:
    """The T ids; without a column the row numbers from "0". Raises InputError for an id that is missing or there twice."""
    if column is None:
        return TextCells(pyarrow.array(np.arange(len(table.frame))).cast(pyarrow.large_string()))
    texts = texts_of(table.frame[column])
    if texts is not None:
        bare = pyarrow.compute.utf8_trim(texts, characters=SPACES)
        if are_unique(bare):
            return TextCells(texts if bare.equals(texts) else bare)  # those of the column are there anyway
    first_row: dict[str, int] = {}
    for row, cell in enumerate(table.cells(column), start=1):
        name = label(cell)
        if name is None:
            raise InputError(f"{table.name}: id column {shorten(column)} is empty in row {row}; fill it in or drop --id")
        if name in first_row:
            raise InputError(f"{table.name}: id {shorten(name)} is in rows {first_row[name]} and {row}; ids must be unique")
        first_row[name] = row
    return text_cells(first_row)


def covariates(table: Table, columns: Sequence[str], ids: Sequence[object]) -> FloatArray:
    """The columns as (T, P) float64. Raises InputError for a value that is missing or no finite number."""
    values = np.asarray(_numbers(table, columns, "covariate", ids), dtype=np.float64)
    for row, index in np.argwhere(np.isnan(values))[:1]:
        place = _place(table, "covariate", columns[index], row, ids)
        raise InputError(f"{place}: the value is missing; fill it in, drop the row or leave the covariate out")
    return values


def are_words(table: Table, columns: Sequence[str]) -> bool:
    """Whether most of what each column holds is no number, nor true or false."""
    for column in columns:
        if table.numbers(column) is not None:
            return False
        cells = [cell for cell in table.cells(column) if class_label(cell) is not None]
        if 2 * sum(map(is_number, cells)) >= len(cells):
            return False
    return True


def classes(
    table: Table, columns: Sequence[str], ids: Sequence[object], required: bool, *, found: bool = False
) -> tuple[tuple[str, ...], ...]:
    """The sorted distinct labels of each column. required: raises InputError for too many and for binary data.

    found: they were taken for classes since they are words, nobody asked for it.

    Too many are more than 100, and with ten rows or more, more than one for every two rows.
    """
    most = min(MOST_CLASSES, len(ids) // 2 if len(ids) >= 10 else MOST_CLASSES)
    every = []
    for column in columns:
        labels = sort_labels(name for name in _labels(table, column, ids, lenient=not required) if name is not None)
        if required and len(labels) > most:
            advice = (
                f"classes would be {most} at the most, and texts such as {shorten(labels[0])} are no numbers; "
                "name another column with --target, or write it as numbers or in fewer classes"
                if found
                else f"more than {most}: it looks like numbers or ids; drop classes=True (--likelihood on the command line)"
            )
            raise InputError(f"{table.name}: target {shorten(column)} has {len(labels)} different labels, {advice}")
        every.append(labels)
    return tuple(every)


def targets(table: Table, schema: Schema, ids: Sequence[object], required: bool) -> Numbers:
    """The target columns as (T, D), NaN where missing: numbers, or the positions of labels in `schema.classes`. float64, but see
    `_numbers`.

    required: raises InputError for a cell that is no finite number or no known label and for a column without variation
    or values; otherwise such cells count as missing.
    """
    columns = schema.target
    values: Numbers
    if schema.classes:
        values = _codes(table, schema, ids, lenient=not required)
    else:
        values = _numbers(table, columns, "target", ids, lenient=not required)
    for index, (column, entries) in enumerate(zip(columns, values.T, strict=True)):
        present = entries[~np.isnan(entries)]
        if required and not present.size:
            raise InputError(f"{table.name}: target {shorten(column)} has no values at all; name another column with --target")
        if required and np.all(present == present[0]):
            shown = shorten(schema.classes[index][int(present[0])]) if schema.classes else f"{present[0]:g}"
            raise InputError(
                f"{table.name}: target {shorten(column)} is {shown} wherever it has a value: there is nothing to explain; "
                "name another column with --target"
            )
    return values


def split_labels(table: Table, column: str, ids: Sequence[object]) -> tuple[str, ...]:
    """The column of "train" and "test", in lower case. Raises InputError for any other value."""
    return check_split_labels([label(cell) for cell in table.cells(column)], ids, column, table.name)


def names(table: Table, column: str, ids: Sequence[object], role: str = "group") -> tuple[str, ...]:
    """The name in a column of each row. Raises InputError for a missing one. role: of the column, for the message."""
    labels, known = [], Labels()
    for row, cell in enumerate(table.cells(column)):
        name = known[cell] if type(cell) is str else label(cell)
        if name is None:
            raise InputError(f"{_place(table, f'{role} column', column, row, ids)}: the cell is empty; fill it in")
        labels.append(name)
    return tuple(labels)


class Labels(dict[str, str | None]):
    """The label of each text, one object for all that are the same."""

    def __missing__(self, cell: str) -> str | None:
        name = self[cell] = label(cell)
        return name


def items(table: Table, schema: Schema, ids: Cells) -> Rows:
    """What a model sees of each row: units stay in the text. Raises InputError for missing images and binary data."""
    columns = {name: table.fields(name) for name in schema.readable}
    shown = {name: table.plain_cells(name) if name in table.styled else values for name, values in columns.items()}
    render = partial(render_templates, schema.text) if isinstance(schema.text, str) else render_lines
    return Rows(Store(ids, columns, shown, render, _images(table, schema.images, ids) if schema.images else ()))


def _images(table: Table, columns: Sequence[str], ids: Sequence[object]) -> list[tuple[Path, ...]]:
    found: list[list[Path]] = [[] for _ in ids]
    for column in columns:
        for row, cell in enumerate(table.cells(column)):
            written = label(cell)
            if written is None:
                continue
            path = table.folder / Path(written).expanduser()
            if not path.is_file():
                place = _place(table, "image", column, row, ids)
                raise InputError(f"{place}: there is no file {path}; correct the path or leave the column out")
            found[row].append(path)
    return [tuple(paths) for paths in found]


def _numbers(table: Table, columns: Sequence[str], role: str, ids: Sequence[object], *, lenient: bool = False) -> Numbers:
    """The columns as (T, len(columns)) float64, NaN where missing; lenient: also where a cell is no finite number.

    Targets of `LARGE` or more numbers that a file has in float32 stay as they are.
    """
    if role == "target" and len(ids) * len(columns) >= LARGE and (narrow := _narrow(table, columns)) is not None:
        return narrow
    result: NDArray[np.float64] = room((len(ids), len(columns)), np.float64, table.room)
    for index, column in enumerate(columns):
        typed = table.numbers(column)
        if typed is not None:
            result[:, index] = typed.floats()
            if role == "target":  # nobody reads it again
                del typed
                table.forget(column)
            continue
        values: list[float] = []
        for row, cell in enumerate(table.cells(column)):
            try:
                values.append(number(cell))
            except (ValueError, TypeError):
                if not lenient:
                    expected = f"expected a finite number, found {shorten(cell)}"
                    place = _place(table, role, column, row, ids)
                    hint = _CLASSES_HINT if role == "target" else ""
                    raise InputError(f"{place}: {expected}; correct the cell or leave the column out{hint}") from None
                values.append(np.nan)
        result[:, index] = values
    return result


def _narrow(table: Table, columns: Sequence[str]) -> NDArray[np.float32] | None:
    """The columns as (T, len(columns)) float32, NaN where missing, if all are held so; nobody reads them again."""
    held = [cells.stored for cells in map(table.numbers, columns) if isinstance(cells, NarrowCells)]
    if len(held) < len(columns):
        return None
    result = held[0].base
    if result is None or not _is_made_of(result, held):
        result = room((len(held[0]), len(held)), np.float32, table.room)
        for index, stored in enumerate(held):
            result[:, index] = stored
    for column in columns:
        table.forget(column)
    return result


def _is_made_of(whole: NDArray[np.float32], columns: Sequence[NDArray[np.float32]]) -> bool:
    """Whether an array's columns are these, in this order, and nothing else."""
    if whole.shape != (len(columns[0]), len(columns)):
        return False
    starts = [column.__array_interface__["data"][0] for column in columns]
    return [whole[:, place].__array_interface__["data"][0] for place in range(len(columns))] == starts


def _codes(table: Table, schema: Schema, ids: Sequence[object], *, lenient: bool) -> FloatArray:
    """The target columns as (T, D) positions in the labels of each, NaN where missing; lenient: also where not among them."""
    result = np.full((len(ids), len(schema.target)), np.nan)
    for index, (column, known) in enumerate(zip(schema.target, schema.classes, strict=True)):
        codes = {name: float(code) for code, name in enumerate(known)}
        for row, name in enumerate(_labels(table, column, ids, lenient=lenient)):
            if name in codes:
                result[row, index] = codes[name]
            elif name is not None and not lenient:
                place = _place(table, "target", column, row, ids)
                expected = f"expected one of the classes {listing(known)}, found {shorten(name)}"
                raise InputError(f"{place}: {expected}; correct the cell or drop the row")
    return result


def _labels(table: Table, column: str, ids: Sequence[object], *, lenient: bool) -> list[str | None]:
    """The class label of each cell, None where missing; lenient: also where it is binary data."""
    labels: list[str | None] = []
    for row, cell in enumerate(table.cells(column)):
        try:
            labels.append(class_label(cell))
        except TypeError:
            if not lenient:
                place = _place(table, "target", column, row, ids)
                raise InputError(f"{place}: expected a class label, found {shorten(cell)}; correct the cell") from None
            labels.append(None)
    return labels


def _place(table: Table, role: str, column: str, row: int, ids: Sequence[object]) -> str:
    return f"{table.name}: {role} {shorten(column)}, row {row + 1} (id {shorten(ids[row])})"
