"""How the cells of each column are read: found once from all of them, said where it is a guess, kept for other tables."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from genz_ppl.data.columns import Roles, Schema, as_names
from genz_ppl.data.dates import ISO, ISO_TIME, format_of, likeliest_format, read_date
from genz_ppl.data.reading import Table
from genz_ppl.data.styles import NumberStyle, is_gap, likeliest_style, rivals
from genz_ppl.data.values import MISSING_NUMBER, PLAIN_NUMBER, is_number, label, plain_number, readable, shorten, text_cell, truth
from genz_ppl.errors import GenzWarning, InputError
from genz_ppl.types import FieldValue

#: Readings of a column as a schema keeps them, beside styles of numbers ("$1,234.5") and formats of dates ("%d/%m/%Y").
TEXT, NUMBER, TRUTH = "text", "number", "true or false"
# A column of so many numbers or dates, and so large a share of them, likely has slips in the other cells.
_MANY, _ALMOST = 10, 0.9
_KEEP = "--as-text (as_text=) keeps it as text"


@dataclass(frozen=True)
class Found:
    """How a column is read, None for as it comes; its values; what should be said of it, "" for nothing."""

    reading: str | None
    values: Sequence[FieldValue]
    note: str = ""


def read_columns(table: Table, schema: Schema, roles: Roles) -> tuple[Table, Schema]:
    """The table with the values of all columns that are read or computed with, and the schema with how each was read.

    What the schema has of an earlier table is kept to: InputError names the first cell that cannot be read so (a target
    that is not required stays as it is). The rest is found, and said by GenzWarning where it is a guess.
    """
    known = dict(schema.readings) | dict.fromkeys(as_names(roles.get("as_text")), TEXT)
    as_number, required = as_names(roles.get("as_number")), roles.get("require_target", True)
    computed = (*schema.covariates, *(() if schema.classes or roles.get("classes") else schema.target))
    read: dict[str, Found] = {}
    for column in dict.fromkeys((*schema.readable, *computed)):
        if column not in table.columns or (column not in schema.readable and table.is_binary(column)):
            continue
        try:
            if column in as_number:
                read[column] = _as_number(table, column)
            elif column in known:
                read[column] = _read_as(table, column, known[column])
            else:
                read[column] = _found(table, column, column in computed)
        except InputError:
            if required or column not in schema.target:
                raise
    readings = tuple((column, found.reading) for column, found in read.items() if found.reading is not None)
    styled = frozenset(column for column, reading in readings if NumberStyle.from_written(reading) is not None)
    for column, found in read.items():
        # What is computed with must be numbers: other cells will be refused, or do not matter.
        if found.note and (column in styled or column not in computed):
            note = found.note.removesuffix(f"; {_KEEP}") if column in computed else found.note
            warnings.warn(f"{table.name}: column {shorten(column)} {note}", GenzWarning, stacklevel=2)
    values = {column: found.values for column, found in read.items()}
    return replace(table, values=values, styled=styled), replace(schema, readings=readings)


def check_readings(known: Schema, found: Schema, name: str) -> None:
    """Raises InputError for a column that one schema has as text and the other as numbers, dates, or true and false."""
    others = dict(found.readings)
    for column, reading in known.readings:
        if column in others and column not in known.target and _kind(reading) != _kind(others[column]):
            raise InputError(
                f"{name}: column {shorten(column)} was read as {_kind(others[column])}, where the run has {_kind(reading)}: "
                f"correct its cells, or read it like the run with readings=run.schema.readings"
            )


def _kind(reading: str) -> str:
    if reading in (TEXT, TRUTH):
        return reading
    return "numbers" if reading == NUMBER or NumberStyle.from_written(reading) is not None else "dates"


def _found(table: Table, column: str, computed: bool) -> Found:
    """What the cells tell. computed: the column is computed with, so that whatever is a number for that needs no style."""
    values = table.fields(column)
    if any(isinstance(value, str) for value in values):  # dates among text are text
        values = [readable(value) if isinstance(value, date) else value for value in values]
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if str in kinds and kinds <= {str, int, float}:
        texts = list(dict.fromkeys(value for value in present if isinstance(value, str)))
        if computed and all(map(is_number, texts)):
            return Found(None, values)
        return _numbers(values, texts, table.commas) or _dates(values, texts) or Found(TEXT if kinds == {str} else None, values)
    if kinds and all(issubclass(kind, date) for kind in kinds):
        return _read_as(table, column, format_of([value for value in present if isinstance(value, date)]))
    if kinds and kinds <= {int, float}:
        finite = [None if isinstance(value, float) and math.isinf(value) else value for value in values]
        infinite = len(present) - sum(value is not None for value in finite)
        return Found(NUMBER, finite, f"has infinite values ({infinite}), read as missing" if infinite else "")
    return Found(TRUTH if kinds == {bool} else None, values)


def _numbers(values: Sequence[FieldValue], texts: Sequence[str], commas: bool) -> Found | None:
    """Text as numbers, where one style reads all of it."""
    style = likeliest_style(texts, commas)
    if style is None or not all(map(style.reads, texts)):
        return None if style is None else _almost(values, texts, style.reads, "numbers")
    numbers = [style.read(value) if isinstance(value, str) else value for value in values]
    odd = [text for text in texts if text.strip().lower() not in MISSING_NUMBER and not PLAIN_NUMBER.fullmatch(text.strip())]
    if not odd:
        return Found(NUMBER, numbers)
    rival = next(rivals(style, texts), None)
    if rival is not None:
        note = f"is read as numbers, {shorten(rival[0])} as {style.read(rival[0])}; that it is {rival[1]} no value rules out"
    else:
        number = style.read(odd[0])
        note = f"is read as numbers, {shorten(odd[0])} as {'missing' if number is None else number}"
    return Found(style.written, numbers, f"{note}; {_KEEP}")


def _dates(values: Sequence[FieldValue], texts: Sequence[str]) -> Found | None:
    """Text as dates, where one format reads all of it."""
    dated = [text for text in texts if not is_gap(text) and any(character.isdigit() for character in text)]
    found = likeliest_format(dated) if dated and len(values) else None
    if found is None:
        return None
    known, (written, rival) = set(dated), found
    if not all(text in known or is_gap(text) for text in texts) or not all(isinstance(value, str | None) for value in values):
        return _almost(values, texts, known.__contains__, "dates")
    try:
        read = {text: read_date(text, written) for text in dated}
    except ValueError:
        return None
    shown = next((text for text in dated if rival is not None and read_date(text, rival) != read[text]), dated[0])
    note = f"is read as dates, {shorten(shown)} as {readable(read[shown])}"
    if rival is not None:
        note += f"; that it is {readable(read_date(shown, rival))} no value rules out"
    if written.startswith(ISO_TIME):
        note += f" ({written.removeprefix(ISO_TIME).strip()})"
    silent = rival is None and written.startswith(ISO) and not written.endswith(" UTC")
    return Found(
        written, [read.get(value) if isinstance(value, str) else None for value in values], "" if silent else f"{note}; {_KEEP}"
    )


def _almost(values: Sequence[FieldValue], texts: Sequence[str], fits: Callable[[str], bool], kind: str) -> Found | None:
    """Text as it is, with a note about the first cell that keeps the column from being of the kind, if few do."""
    other = {text for text in texts if not fits(text)}
    rows = [row for row, value in enumerate(values, start=1) if isinstance(value, str) and value in other]
    present = sum(value is not None for value in values)
    fitting = present - len(rows)
    codes = any(text.strip().lstrip("+").isdecimal() for text in other)
    if codes or fitting < max(_MANY, _ALMOST * present):
        return None
    note = f"is read as text: {fitting} of {present} values are {kind}, but not {shorten(values[rows[0] - 1])} in row {rows[0]}"
    reading = TEXT if all(isinstance(value, str | None) for value in values) else None
    return Found(reading, values, f"{note}; correct or empty such cells, or {_KEEP.replace('keeps it as text', 'silences this')}")


def _as_number(table: Table, column: str) -> Found:
    """The column as numbers because a user says so. Raises InputError for the first cell that is none."""
    texts = dict.fromkeys(value for value in table.fields(column) if isinstance(value, str))
    if not texts:
        return _read_as(table, column, NUMBER)
    style = likeliest_style(texts, table.commas, codes=True) or NumberStyle(",", ".")
    return _read_as(table, column, style.written, "correct it or drop --as-number (as_number=)")


def _read_as(table: Table, column: str, reading: str, remedy: str = "write it like the data before") -> Found:
    """The column in a known reading. Raises InputError for the first cell that cannot be read so."""
    read, expected = _reader(reading, table.written)
    values: list[FieldValue] = []
    for row, cell in enumerate(table.plain_cells(column), start=1):
        try:
            values.append(None if cell is None else read(cell))
        except (ValueError, TypeError):
            place = f"{table.name}: column {shorten(column)}, row {row}"
            raise InputError(f"{place}: expected {expected}, found {shorten(cell)}; {remedy}") from None
    return Found(reading, values)


def _reader(reading: str, written: bool) -> tuple[Callable[[FieldValue], FieldValue], str]:
    """What reads one cell that is there, and what it expects. written: cells are from a file of text."""
    style = NumberStyle.from_written(reading)
    if reading == TEXT:
        return (lambda cell: text_cell(cell) if written else cell if isinstance(cell, str) else label(cell)), "text"
    if reading == TRUTH:
        return truth, "true or false"
    if reading == NUMBER or style is not None:
        parse = plain_number if style is None else style.read
        return (lambda cell: _number(cell, parse)), "a number" if style is None else f"a number written as in {reading!r}"
    return (
        lambda cell: None if isinstance(cell, str) and is_gap(cell) else read_date(cell, reading)
    ), f"a date in the format {reading!r}"


def _number(cell: FieldValue, parse: Callable[[str], int | float | None]) -> int | float | None:
    value = parse(cell) if isinstance(cell, str) else cell
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError("not a number")
    return None if isinstance(value, float) and math.isinf(value) else value
