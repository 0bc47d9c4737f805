"""Whole columns as cells, by numpy and pyarrow wherever that says what `genz_ppl.data.values` says of each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import EXACT, MOST_DISTINCT, SPACES, Cells, CodedCells, NarrowCells, NumberCells, TextCells, cells_of, widened
from genz_ppl.data.values import MISSING_NUMBER, MISSING_WORD, PLAIN_NUMBER, is_truth, plain_column, typed_column

_SPACE = "[" + "".join(r"\x{" + format(ord(space), "x") + "}" for space in SPACES) + "]*"
_BLANK = f"^{_SPACE}$"
_MISSING = f"^{_SPACE}(?:{'|'.join(sorted(MISSING_WORD))}){_SPACE}$"
_WHOLE = r"-?(?:0|[1-9][0-9]{0,17})"
_PLAIN = r"(?i)^-?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,2})?$"
# Cells that are looked at to see whether many values of a column are the same.
_SAMPLE, _HEAD = 20_000, 1000
_compute = pyarrow.compute


def texts_of(column: pd.Series) -> pyarrow.Array | None:
    """A column of text in one piece, without a copy of what it says; None where it is held as Python objects."""
    if not isinstance(column.dtype, pd.StringDtype) or column.dtype.storage != "pyarrow":
        return None
    texts = column.array.__arrow_array__()
    whole = texts.combine_chunks() if isinstance(texts, pyarrow.ChunkedArray) else texts
    whole = whole.chunk(0) if isinstance(whole, pyarrow.ChunkedArray) and whole.num_chunks == 1 else whole
    return whole.cast(pyarrow.large_string()) if isinstance(whole, pyarrow.Array) else None


def written_cells(texts: pyarrow.Array) -> Cells:
    """The cells as they are written, empty ones as ""."""
    found = _few(texts)
    if found is None:
        return TextCells(texts)
    return CodedCells(*found)


def typed_cells(texts: pyarrow.Array) -> Cells:
    """`typed_column` of cells as they are written."""
    found = _few(texts)
    if found is not None:
        values, codes = found
        return CodedCells(range(len(values)), codes).changed(dict(enumerate(typed_column(values))).__getitem__)
    if any(_is_word(cell) for cell in texts.slice(0, _HEAD).to_pylist()):
        return _gapped(texts, _MISSING)
    bare = _compute.utf8_trim(texts, characters=SPACES)
    missing = _compute.is_in(_compute.utf8_lower(bare), pyarrow.array(sorted(MISSING_NUMBER), pyarrow.large_string()))
    others = bare.filter(_compute.invert(_compute.or_(_compute.match_substring_regex(bare, _PLAIN), missing)))
    # Of many different cells one that is neither number nor truth value makes the column text.
    if any(_is_word(cell.as_py()) for cell in others):
        return _gapped(texts, _MISSING)
    if len(others) == 0:
        try:
            return _numbers(bare, missing)
        except pyarrow.ArrowInvalid:  # beyond what a float holds
            pass
    return cells_of(typed_column(texts.to_pylist()))


def _is_word(cell: str) -> bool:
    """Whether a written cell makes its column text, whatever else is in it."""
    bare = cell.strip()
    return not (bare.lower() in MISSING_NUMBER or PLAIN_NUMBER.fullmatch(bare) or is_truth(bare))


def _gapped(texts: pyarrow.Array, missing: str) -> TextCells:
    """Texts without those that a pattern takes for missing."""
    gaps = _compute.match_substring_regex(texts, missing)
    if not _compute.any(gaps).as_py():
        return TextCells(texts)
    return TextCells(_compute.if_else(gaps, pyarrow.scalar(None, pyarrow.large_string()), texts))


def _numbers(bare: pyarrow.Array, missing: pyarrow.Array) -> Cells:
    whole = _compute.match_substring_regex(bare, f"^{_WHOLE}$")
    there = _mask(_compute.invert(missing))
    numbers = _compute.if_else(missing, pyarrow.scalar("0", pyarrow.large_string()), bare)
    is_whole = _mask(whole)
    if is_whole[there].all():
        return NumberCells(numbers.cast(pyarrow.int64()).to_numpy(), there)
    floats = numbers.cast(pyarrow.float64()).to_numpy()
    if is_whole.any() and np.abs(floats[is_whole]).max() > EXACT:
        return cells_of(typed_column(bare.to_pylist()))
    return NumberCells(floats, there, is_whole)


def frame_cells(column: pd.Series) -> Cells:
    """`plain_column` of a DataFrame's column. Raises TypeError for binary data."""
    if isinstance(column.dtype, pd.StringDtype):
        texts = texts_of(column)
        if texts is not None:
            found = _few(texts)
            if found is not None:
                return CodedCells(*found).changed(lambda text: text if text.strip() else None)
            return _gapped(texts, _BLANK)
    if column.dtype in (np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32):
        return NumberCells(column.to_numpy().astype(np.int64))
    if column.dtype == pd.Int64Dtype():
        return NumberCells(column.to_numpy(dtype=np.int64, na_value=0), column.notna().to_numpy())
    if column.dtype in (np.float32, pd.Float32Dtype()):
        narrow = column.to_numpy(dtype=np.float32, na_value=np.nan)
        return _once_whole(column, narrow) or NarrowCells(narrow)
    if column.dtype in (np.float64, pd.Float64Dtype()):
        floats = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        whole = _once_whole(column, floats)
        if whole is not None:
            return whole
        there = ~np.isnan(floats)
        floats[~there] = 0.0
        return NumberCells(floats, there)
    return cells_of(plain_column(column))


def _once_whole(column: pd.Series, floats: NDArray[Any]) -> Cells | None:
    """Whole numbers, where there are gaps and whole numbers only: it was a column of integers once. None for any other.

    floats: what the column holds, NaN where it is missing.
    """
    there = ~np.isnan(floats)
    if there.all() or not there.any() or not np.isfinite(floats[there]).all():
        return None
    whole = np.where(there, floats, 0)
    if not (whole == np.floor(whole)).all():
        return None
    whole = widened(whole) if whole.dtype == np.float32 else whole
    if np.abs(whole).max() > EXACT:
        return cells_of(plain_column(column))
    return NumberCells(whole.astype(np.int64), there)


def numbers_of(cells: Cells) -> NumberCells | None:
    """The cells if they are numbers, finite ones."""
    return cells if isinstance(cells, NumberCells) and not cells.infinite() else None


def _few(texts: pyarrow.Array) -> tuple[list[str], np.ndarray] | None:
    """Distinct texts in order of first appearance and codes, -1 for null, where they are few; None where they are many."""
    if texts.slice(0, _SAMPLE).unique().__len__() > MOST_DISTINCT:
        return None
    found = texts.dictionary_encode()
    if len(found.dictionary) > max(MOST_DISTINCT, _SAMPLE):
        return None
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return found.dictionary.to_pylist(), codes


def _mask(values: pyarrow.Array) -> np.ndarray:
    mask: np.ndarray = values.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask
