"""Single cells: from whatever a file or a DataFrame holds to plain Python values, numbers, names and readable text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

from genz_ppl.types import FieldValue

SHOWN_LENGTH = 40

# Words that mean "nothing here" among numbers. Among words only the first set does: "NA" and "None" can be real values there.
MISSING_WORD = frozenset({"", "nan", "NaN", "<NA>"})
MISSING_NUMBER = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "<na>"})
_TRUTH = {"true": True, "false": False}
# Leading zeros, a leading "+" and more than 18 digits mark codes, not quantities: such a column stays text.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
PLAIN_NUMBER = re.compile(r"-?(?:(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)", re.IGNORECASE)
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0*")
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)", re.IGNORECASE)


def shorten(value: object) -> str:
    """The value as one line of at most 40 characters, in quotes if it is text: for messages."""
    # Only the start of a long text is looked at: a message must not cost as much as the cell it is about.
    shown = repr(value[: SHOWN_LENGTH + 1]) if isinstance(value, str) else " ".join(repr(value).split())
    return shown if len(shown) <= SHOWN_LENGTH else shown[: SHOWN_LENGTH - 1] + "…"


def plain(value: object) -> FieldValue:
    """Any cell as str, int, float, bool, date, datetime or None (missing); lists and mappings become compact JSON text.

    Durations become seconds. Raises TypeError for binary data.
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str):
        return str(value) if value.strip() else None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return plain(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _plain_float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("binary data")
    return _plain_object(value)


def _plain_float(value: float | np.floating) -> float | None:
    if isinstance(value, (np.float32, np.float16)):  # 0.1 stays 0.1 and does not become 0.10000000149011612
        value = float(str(value))
    return None if math.isnan(value) else float(value)


def _plain_object(value: object) -> FieldValue:
    if isinstance(value, (list, tuple, set, frozenset, Mapping, np.ndarray)):
        return json.dumps(_structure(value), separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, date):
        return value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    return str(value)


def _structure(value: object) -> object:
    """A nested value with plain leaves, as JSON can hold it."""
    if isinstance(value, np.ndarray):
        return [_structure(entry) for entry in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): _structure(entry) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_structure(entry) for entry in value), key=str)
    if isinstance(value, (list, tuple)):
        return [_structure(entry) for entry in value]
    leaf = value if isinstance(value, str) else plain(value)
    return readable(leaf) if isinstance(leaf, date) else leaf


def plain_column(cells: pd.Series) -> list[FieldValue]:
    """The column as plain values. Raises TypeError for binary data.

    A column of floats that has gaps and whole numbers only was a column of integers once: it becomes one again.
    """
    # Iterating a narrow float column keeps its type, so that 0.1 stays 0.1; tolist() would widen it.
    narrow = str(cells.dtype).lower() in ("float32", "float16")
    plain_values = [plain(value) for value in (cells.array if narrow else cells.tolist())]
    if pd.api.types.is_float_dtype(cells.dtype) and None in plain_values:
        present = [value for value in plain_values if isinstance(value, float)]
        if present and all(value.is_integer() for value in present):
            return [int(value) if isinstance(value, float) else None for value in plain_values]
    return plain_values


def typed_column(cells: Sequence[str]) -> list[FieldValue]:
    """Types a column of written cells: all quantities -> int or float as each is written, all true/false -> bool, else text.

    Empty cells and NaN become None. One cell that is no quantity (also "01234", "+49" or 19 digits) keeps the column text.
    """
    stripped = [cell.strip() for cell in cells]
    present = [cell for cell in stripped if cell.lower() not in MISSING_NUMBER]
    if present and all(cell.lower() in _TRUTH for cell in present):
        return [_TRUTH.get(cell.lower()) for cell in stripped]
    if present and all(PLAIN_NUMBER.fullmatch(cell) for cell in present):
        return [_quantity(cell) for cell in stripped]
    return [text_cell(cell) for cell in cells]


def is_truth(cell: str) -> bool:
    """Whether a written cell is true or false."""
    return cell.strip().lower() in _TRUTH


def text_cell(cell: str) -> str | None:
    """A written cell as text, None for one that is empty or NaN."""
    return None if cell.strip() in MISSING_WORD else cell


def _quantity(cell: str) -> int | float | None:
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if PLAIN_NUMBER.fullmatch(cell) else None


def number(value: object) -> float:
    """The cell as a float, NaN where missing; booleans are 1 and 0. Raises ValueError for anything else, infinities included."""
    cell = value if type(value) is float or type(value) is str else plain(value)
    if isinstance(cell, str):
        word = cell.strip().lower()
        if word in MISSING_NUMBER:
            return math.nan
        if word in _TRUTH:
            return float(_TRUTH[word])
        if not _NUMBER.fullmatch(word):
            raise ValueError("not a number")
        cell = float(word)
    if cell is None:
        return math.nan
    if isinstance(cell, date):
        raise ValueError("a date")
    try:
        result = float(cell)
    except OverflowError:
        result = math.inf
    if math.isinf(result):
        raise ValueError("not finite")
    return result


def is_number(value: object) -> bool:
    """Whether `number` reads the cell."""
    try:
        number(value)
    except (ValueError, TypeError):
        return False
    return True


def label(value: object) -> str | None:
    """The cell as a name (an id, a group): whole numbers without ".0", text without blanks around it, None where missing."""
    cell = plain(value)
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return None if cell is None else readable(cell) if isinstance(cell, date) else str(cell).strip()


def class_label(value: object) -> str | None:
    """The cell as the name of a class: as `label`, but written whole numbers lose their ".0" and "nan" is missing too.

    So a column of 0, 1 and gaps has the classes "0" and "1" wherever it comes from: with gaps, pandas writes 1 as "1.0".
    Raises TypeError for binary data.
    """
    name = label(value)
    if name is None or name in MISSING_WORD:
        return None
    whole = _WHOLE.fullmatch(name)
    return whole.group(1) if whole else name


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in order: by value if all of them are numbers, else by text."""
    distinct = sorted(set(labels))
    numeric = all(_NUMBER.fullmatch(name) for name in distinct)
    return tuple(sorted(distinct, key=float) if numeric else distinct)


def readable(value: FieldValue) -> str:
    """A field as a model reads it: "" where missing, true/false for booleans, dates as in ISO 8601, without a time of 0:00."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, date):
        return value.isoformat().removesuffix("T00:00:00")
    return str(value).lower() if isinstance(value, bool) else str(value)


def listing(names: Iterable[str], most: int = 12) -> str:
    """Column names for a message: at most `most`, each at most 40 characters, on one line."""
    shown = [name if len(name) <= SHOWN_LENGTH and name.isprintable() else shorten(name) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")
