"""How the cells of each column are read: found once from all of them, said where it is a guess, kept for other tables."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import pyarrow
import pyarrow.compute

from genz_ppl.cells import SPACES, Cells, NumberCells, TextCells, bytes_of, cells_of, is_dated
from genz_ppl.data.columns import BY_WORDS, Roles, Schema, as_names
from genz_ppl.data.dates import ISO, ISO_TIME, format_of, read_date, readings_of
from genz_ppl.data.styles import LONGEST_NUMBER, PLAIN, NumberStyle, is_gap, likeliest_style, rivals
from genz_ppl.data.table import Table
from genz_ppl.data.values import MISSING_NUMBER, PLAIN_NUMBER, is_number, label, readable, shorten, text_cell, typed_column
from genz_ppl.data.whole_columns import numbers_of
from genz_ppl.errors import GenzWarning, InputError
from genz_ppl.types import FieldValue

#: Readings of a column as a schema keeps them, beside styles of numbers ("$1,234.5") and formats of dates ("%d/%m/%Y").
TEXT, TRUTH = "text", "true or false"
# A column of so many numbers or dates, and so large a share of them, likely has slips in the other cells.
_MANY, _ALMOST = 10, 0.9
_DAYS = 19000101, 21001231  # whole numbers between, all of them days of a calendar, are dates
_SAMPLE = 20_000
_KEEP = "; --as-text (as_text=) keeps it as text"


@dataclass(frozen=True)
class Found:
    """How a column is read, None for as it comes; its values; what should be said of it, "" for nothing."""

    reading: str | None
    values: Cells
    note: str = ""


def read_columns(table: Table, schema: Schema, roles: Roles) -> tuple[Table, Schema]:
    """The table with the values of all columns that are read or computed with, and the schema with how each was read.

    What the schema has of an earlier table is kept to: InputError names the first cell that cannot be read so (a target
    that is not required stays as it is). The rest is found, and said by GenzWarning where it is a guess.
    """
    known = dict(schema.readings) | dict.fromkeys(as_names(roles.get("as_text")), TEXT)
    as_number, required = as_names(roles.get("as_number")), roles.get("require_target", True)
    by_words = roles.get("classes") == BY_WORDS
    computed = (*schema.covariates, *(() if schema.classes or (roles.get("classes") and not by_words) else schema.target))
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
    if by_words:  # a target is classes unless all its words are numbers in some style
        kept = {*schema.readable, *schema.covariates}
        read = {column: found for column, found in read.items() if column in kept or _is_styled(found.reading)}
    readings = tuple((column, found.reading) for column, found in read.items() if found.reading is not None)
    styled = frozenset(column for column, reading in readings if _is_styled(reading))
    for column, found in read.items():
        # What is computed with must be numbers: other cells will be refused, or do not matter.
        if found.note and (column in styled or column not in computed):
            note = found.note.removesuffix(_KEEP) if column in computed else found.note
            warnings.warn(f"{table.name}: column {shorten(column)} {note}", GenzWarning, stacklevel=2)
    values = {column: found.values for column, found in read.items()}
    return replace(table, values=values, styled=styled), replace(schema, readings=readings)


def check_readings(known: Schema, found: Schema, name: str) -> None:
    """Raises InputError for a column that one schema has as text and the other as numbers, dates, or true and false."""
    others = dict(found.readings)
    for column, reading in known.readings:
        kinds = _kind(others.get(column, reading)), _kind(reading)
        if kinds[0] != kinds[1] and column not in known.target:
            raise InputError(
                f"{name}: column {shorten(column)} was read as {kinds[0]}, where the run has {kinds[1]}: correct its cells, or "
                "read it like the run with readings=run.schema.readings"
            )


def _kind(reading: str) -> str:
    return "numbers" if NumberStyle.from_written(reading) else "dates" if "%" in reading else reading


def _is_styled(reading: str | None) -> bool:
    """Whether a reading is of numbers that are not written plainly."""
    return reading is not None and reading != PLAIN.written and NumberStyle.from_written(reading) is not None


def _found(table: Table, column: str, computed: bool) -> Found:
    """What the cells tell. computed: the column is computed with, so that whatever is a number for that needs no style."""
    values = table.fields(column)
    kinds = values.kinds()
    if str in kinds and any(issubclass(kind, date) for kind in kinds):  # dates among text are text
        values = values.changed(lambda value: readable(value) if isinstance(value, date) else value)
        kinds = values.kinds()
    if str in kinds and kinds <= {str, int, float}:
        if computed and all(is_number(value) for value in values.counted()[0] if isinstance(value, str)):
            return Found(None, values)
        text = Found(TEXT if kinds == {str} else None, values)
        return text if _is_prose(values) else _numbers(values, table.commas) or _dates(values) or text
    if is_dated(kinds):
        return _read_as(table, column, format_of([value for value in values.counted()[0] if isinstance(value, date)]))
    if isinstance(values, NumberCells):
        dates = _days(values) if kinds == {int} else None
        if dates is not None:
            return dates
        infinite = values.infinite()
        finite = values if not infinite else values.changed(lambda value: None if math.isinf(value) else value)
        return Found(PLAIN.written, finite, f"has infinite values ({infinite}), read as missing" if infinite else "")
    if kinds and kinds <= {int, float}:  # beyond what arrays hold
        finite = values.changed(lambda value: None if isinstance(value, float) and math.isinf(value) else value)
        infinite = int(values.present.sum() - finite.present.sum())
        return Found(PLAIN.written, finite, f"has infinite values ({infinite}), read as missing" if infinite else "")
    return Found(TRUTH if kinds == {bool} else None, values)


def _is_prose(values: Cells) -> bool:
    """Whether most of many different texts are too long to be numbers, and the first that has a digit is no date."""
    if not isinstance(values, TextCells):
        return False
    compute, texts = pyarrow.compute, values.texts.drop_null()
    n_short = compute.sum(compute.less_equal(compute.utf8_length(texts), LONGEST_NUMBER)).as_py() or 0
    for part in (texts.slice(0, _SAMPLE), texts):  # a part may do
        length = compute.utf8_length(compute.utf8_trim(part, characters=SPACES))
        if compute.count_distinct(part.filter(compute.greater(length, LONGEST_NUMBER))).as_py() > 2 * n_short:
            break
    else:
        return False
    first = next((text for part in _with_digits(texts) for text in part.to_pylist() if _may_be_dated(text)), None)
    return first is None or not readings_of([first])


def _with_digits(texts: pyarrow.Array) -> Iterator[pyarrow.Array]:
    """Of the texts, in order and part by part, those that may have digits."""
    for start in range(0, len(texts), _SAMPLE):
        part = texts.slice(start, _SAMPLE)
        said = bytes_of(part)
        if ((said - ord("0") < 10) | (said > 127)).any():
            yield part.filter(pyarrow.compute.match_substring_regex(part, r"[\p{Nd}\p{No}]"))


def _may_be_dated(text: str) -> bool:
    return not is_gap(text) and any(character.isdigit() for character in text)


def _texts(values: Cells) -> list[str]:
    return [value for value in values.counted()[0] if isinstance(value, str)]


def _days(values: NumberCells) -> Found | None:
    """Whole numbers as dates, where all of them, and more than two, are days of a calendar: 20240131."""
    numbers = values.numbers[values.present]
    if len(numbers) < 3 or numbers.min() < _DAYS[0] or numbers.max() > _DAYS[1]:
        return None
    return _dates(cells_of(None if value is None else str(value) for value in values))


def _numbers(values: Cells, commas: bool) -> Found | None:
    """Text as numbers, where one style reads all of it; None where it does not look like that."""
    texts = _texts(values)
    style = likeliest_style(texts, commas)
    if style is None or not all(map(style.reads, texts)):
        return None if style is None else _almost(values, [text for text in texts if not style.reads(text)], "numbers")
    numbers = values.changed(lambda value: style.read(value) if isinstance(value, str) else value)
    odd = [text for text in texts if text.strip().lower() not in MISSING_NUMBER and not PLAIN_NUMBER.fullmatch(text.strip())]
    if not odd:
        return Found(PLAIN.written, numbers)
    shown, other = next(rivals(style, texts), (odd[0], None))
    meant = style.read(shown)
    note = f"is read as numbers, {shorten(shown)} as {'missing' if meant is None else meant}"
    return Found(style.written, numbers, note + (f"; that it is {other} no value rules out" if other is not None else "") + _KEEP)


def _dates(values: Cells) -> Found | None:
    """Text as dates, where one format reads all of it; None where it does not look like that."""
    texts = _texts(values)
    dated = list(filter(_may_be_dated, texts))
    found = readings_of(dated) if dated else []
    if not found:
        return None
    written, read = found[0]
    others = [text for text in texts if text not in read and not is_gap(text)]
    if others or values.kinds() != {str}:
        return _almost(values, others, "dates")
    dates = values.changed(read.get)
    if len(found) == 1 and written in (ISO, ISO_TIME):
        return Found(written, dates)
    shown = next(text for text in dated if found[-1][1][text] != read[text] or len(found) == 1)
    note = (
        f"is read as dates, {shorten(shown)} as {readable(read[shown])}{written.removeprefix(ISO_TIME) if ISO in written else ''}"
    )
    return Found(
        written, dates, note + (f"; that it is {readable(found[1][1][shown])} no value rules out" if found[1:] else "") + _KEEP
    )


def _almost(values: Cells, others: Iterable[str], kind: str) -> Found | None:
    """Text as it is, with a note about the first of the few cells that keep the column from being of the kind."""
    odd = set(others)
    codes = any(text.strip().lstrip("+").isdecimal() for text in odd)
    present = int(values.present.sum())
    n_odd = sum(count for value, count in zip(*values.counted(), strict=True) if value in odd)
    if codes or not n_odd or present - n_odd < max(_MANY, _ALMOST * present):
        return None
    row, first = next((row, value) for row, value in enumerate(values, start=1) if value in odd)
    few = f"{present - n_odd} of {present} values are {kind}, but not {shorten(first)} in row {row}"
    reading = TEXT if values.kinds() == {str} else None
    return Found(
        reading, values, f"is read as text: {few}; correct or empty such cells, or silence this with --as-text (as_text=)"
    )


def _as_number(table: Table, column: str) -> Found:
    """The column as numbers because a user says so. Raises InputError for the first cell that is none."""
    texts = dict.fromkeys(_texts(table.fields(column)))
    style = (likeliest_style(texts, table.commas, codes=True) or NumberStyle(",", ".")) if texts else PLAIN
    return _read_as(table, column, style.written, "correct it or drop --as-number (as_number=)")


def _read_as(table: Table, column: str, reading: str, remedy: str = "write it like the data before") -> Found:
    """The column in a known reading. Raises InputError for the first cell that cannot be read so."""
    typed = table.fields(column)
    numbers = numbers_of(typed) if reading == PLAIN.written else None
    if numbers is not None or (reading == TEXT and isinstance(typed, TextCells)):
        return Found(reading, typed)
    style, cells = NumberStyle.from_written(reading), table.plain_cells(column)
    refused: list[FieldValue] = []

    def read(cell: FieldValue) -> FieldValue:
        try:
            return _read_cell(cell, reading, style, table.written)
        except ValueError:
            refused.append(cell)
            raise

    try:
        return Found(reading, cells.changed(read))
    except ValueError:
        expected = (
            f"a number written as in {reading!r}" if style else f"a date in the format {reading!r}" if "%" in reading else reading
        )
        if not refused:
            raise
        cell = refused[0]
        row = next(row for row, other in enumerate(cells, start=1) if type(other) is type(cell) and other == cell)
        place = f"{table.name}: column {shorten(column)}, row {row}"
        raise InputError(f"{place}: expected {expected}, found {shorten(cell)}; {remedy}") from None


def _read_cell(cell: FieldValue, reading: str, style: NumberStyle | None, written: bool) -> FieldValue:
    """One cell that is there. written: it is from a file of text. Raises ValueError if it cannot be read so."""
    if reading == TEXT:
        return text_cell(cell) if written and isinstance(cell, str) else cell if isinstance(cell, str) else label(cell)
    if isinstance(cell, str) and is_gap(cell):
        return None
    value = style.read(cell) if style and isinstance(cell, str) else cell
    if style is None:
        value = read_date(cell, reading) if reading != TRUTH else typed_column([cell])[0] if isinstance(cell, str) else cell
    if (reading == TRUTH) != isinstance(value, bool) or (style and not isinstance(value, int | float)):
        raise ValueError("of another kind")
    return None if isinstance(value, float) and math.isinf(value) else value
