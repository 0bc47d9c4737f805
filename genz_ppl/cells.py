"""The cells of a column as arrays: distinct values with codes, numbers, or texts side by side; sequences of plain values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any, overload

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.types import FieldValue, FloatArray, IntArray

# The most distinct values that are kept as Python objects, where they are texts; further ones cost less side by side.
MOST_DISTINCT = 4096
#: From so many numbers on they stay in float32 where a file has them so.
LARGE = 2**24
# Texts that are not looked at all at once.
MANY = 2**18
# Whole numbers beyond it are not exact as float64.
EXACT = 2**53
_LARGEST = 2**63 - 1
# What Python takes for white space.
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


class Cells(Sequence[FieldValue]):
    """T values in order, None where missing, held by arrays of numpy and pyarrow; a value is made when it is asked for."""

    @abstractmethod
    def tolist(self) -> list[FieldValue]:
        """All values."""

    @abstractmethod
    def take(self, positions: IntArray | slice) -> Cells:
        """The values at these positions (from 0), in this order."""

    @abstractmethod
    def counted(self) -> tuple[list[FieldValue], IntArray]:
        """The distinct values that are there, and how often each is; in order of first appearance, numbers by size."""

    @abstractmethod
    def kinds(self) -> set[type]:
        """The types of the values that are there."""

    @abstractmethod
    def changed(self, change: Callable[[Any], FieldValue]) -> Cells:
        """Each value that is there replaced; `change` is called once for each distinct one, in order of first appearance."""

    @property
    @abstractmethod
    def present(self) -> NDArray[np.bool_]:
        """(T,) where a value is there."""

    def scored(self, score: Callable[[FieldValue], float]) -> FloatArray:
        """(T,) `score` of each value, called once for each distinct one and for None."""
        return np.array([score(value) for value in self.tolist()], dtype=np.float64)

    @overload
    def __getitem__(self, index: int) -> FieldValue: ...
    @overload
    def __getitem__(self, index: slice) -> Cells: ...
    def __getitem__(self, index: int | slice) -> FieldValue | Cells:
        if isinstance(index, slice):
            return self.take(index)
        place = range(len(self))[index]
        return self.take(slice(place, place + 1)).tolist()[0]

    def __iter__(self) -> Iterator[FieldValue]:
        return iter(self.tolist())


class CodedCells(Cells):
    """values: the distinct ones. codes: (T,) int32 places among them, -1 where missing."""

    def __init__(self, values: Sequence[FieldValue], codes: NDArray[np.int32]) -> None:
        self.values, self.codes = tuple(values), codes

    def __len__(self) -> int:
        return len(self.codes)

    def tolist(self) -> list[FieldValue]:
        values = (*self.values, None)
        return [values[code] for code in self.codes.tolist()]

    def take(self, positions: IntArray | slice) -> CodedCells:
        return CodedCells(self.values, self.codes[positions])

    def counted(self) -> tuple[list[FieldValue], IntArray]:
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
        there = np.flatnonzero(counts)
        return [self.values[code] for code in there.tolist()], counts[there]

    def kinds(self) -> set[type]:
        return {type(value) for value in self.counted()[0]}

    def changed(self, change: Callable[[Any], FieldValue]) -> Cells:
        made = coded([change(value) for value in self.values])
        places = np.append(made.codes, np.int32(-1))[self.codes]
        return _numbered(made.values, places) or CodedCells(made.values, places)

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.codes >= 0

    def scored(self, score: Callable[[FieldValue], float]) -> FloatArray:
        found = np.array([score(value) for value in (*self.values, None)], dtype=np.float64)
        return found[self.codes]


class NumberCells(Cells):
    """numbers: (T,) int64 or float64, never NaN. there: (T,) bool, None for all. whole: (T,) bool of float64 that stand for whole
    numbers of Python, None for none."""

    def __init__(
        self, numbers: NDArray[Any], there: NDArray[np.bool_] | None = None, whole: NDArray[np.bool_] | None = None
    ) -> None:
        self._numbers = numbers
        self.there = None if there is None or there.all() else there
        self.whole = whole if whole is not None and whole.any() else None

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def numbers(self) -> NDArray[Any]:
        """(T,) int64 or float64."""
        return self._numbers

    def tolist(self) -> list[FieldValue]:
        values: list[FieldValue] = self.numbers.tolist()
        if self.whole is not None:
            for place in np.flatnonzero(self.whole).tolist():
                values[place] = int(values[place])  # type: ignore[arg-type]
        if self.there is not None:
            for place in np.flatnonzero(~self.there).tolist():
                values[place] = None
        return values

    def take(self, positions: IntArray | slice) -> NumberCells:
        parts = (None if mask is None else mask[positions] for mask in (self.there, self.whole))
        return NumberCells(self.numbers[positions], *parts)

    def counted(self) -> tuple[list[FieldValue], IntArray]:
        found: list[FieldValue] = []
        counts: list[IntArray] = []
        whole = np.zeros(len(self), dtype=np.bool_) if self.whole is None else self.whole
        for is_whole in (False, True):
            values, often = np.unique(self.numbers[self.present & (whole == is_whole)], return_counts=True)
            found += [int(value) for value in values.tolist()] if is_whole else values.tolist()
            counts.append(often)
        return found, np.concatenate(counts)

    def kinds(self) -> set[type]:
        if not self.present.any():
            return set()
        if self.numbers.dtype == np.int64:
            return {int}
        whole = np.zeros(len(self), dtype=np.bool_) if self.whole is None else self.whole
        return {kind for kind, some in ((int, whole), (float, ~whole)) if (some & self.present).any()}

    def changed(self, change: Callable[[Any], FieldValue]) -> Cells:
        return cells_of([None if value is None else change(value) for value in self.tolist()])

    @property
    def present(self) -> NDArray[np.bool_]:
        return np.ones(len(self), dtype=np.bool_) if self.there is None else self.there

    def infinite(self) -> int:
        """How many are infinite."""
        return int(np.isinf(self._numbers).sum())

    def floats(self) -> FloatArray:
        """(T,) float64, NaN where missing."""
        floats = self.numbers.astype(np.float64)
        if self.there is not None:
            floats[~self.there] = np.nan
        return floats

    def scored(self, score: Callable[[FieldValue], float]) -> FloatArray:
        if self.whole is not None:
            return super().scored(score)
        values, where = np.unique(self.numbers, return_inverse=True)
        found = np.array([score(value) for value in values.tolist()], dtype=np.float64)[where]
        return found if self.there is None else np.where(self.there, found, score(None))


class NarrowCells(NumberCells):
    """Numbers of a file in float32. stored: (T,) float32, NaN where missing; each stands for the number that is written the
    shortest and rounds to it, so that 0.1 stays 0.1, which is made when it is asked for."""

    def __init__(self, stored: NDArray[np.float32]) -> None:
        self.stored = stored
        super().__init__(stored, ~np.isnan(stored))

    @property
    def numbers(self) -> FloatArray:
        """(T,) float64, 0 where missing."""
        found = widened(self.stored)
        return found if self.there is None else np.where(self.there, found, 0.0)

    def take(self, positions: IntArray | slice) -> NarrowCells:
        return NarrowCells(self.stored[positions])

    def kinds(self) -> set[type]:
        return {float} if self.present.any() else set()

    def floats(self) -> FloatArray:
        return widened(self.stored)


class TextCells(Cells):
    """texts: (T,) of pyarrow's large_string, null where missing."""

    def __init__(self, texts: pyarrow.Array) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def tolist(self) -> list[FieldValue]:
        values: list[FieldValue] = self.texts.to_pylist()
        return values

    def take(self, positions: IntArray | slice) -> TextCells:
        if isinstance(positions, slice) and positions.step in (None, 1):
            start, stop, _ = positions.indices(len(self))
            return TextCells(self.texts.slice(start, max(0, stop - start)))
        places = np.arange(len(self))[positions] if isinstance(positions, slice) else positions
        return TextCells(self.texts.take(pyarrow.array(places)))

    def counted(self) -> tuple[list[FieldValue], IntArray]:
        found = pyarrow.compute.value_counts(self.texts.drop_null())
        return found.field(0).to_pylist(), found.field(1).to_numpy(zero_copy_only=False).astype(np.int64)

    def kinds(self) -> set[type]:
        return {str} if self.texts.null_count < len(self.texts) else set()

    def changed(self, change: Callable[[Any], FieldValue]) -> Cells:
        return cells_of([None if value is None else change(value) for value in self.tolist()])

    @property
    def present(self) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = self.texts.is_valid().to_numpy(zero_copy_only=False)
        return there


def cells_of(values: Iterable[FieldValue]) -> Cells:
    """Plain values in the form that costs least: numbers as an array, many different texts side by side, others with codes."""
    made = coded(values)
    numbers = _numbered(made.values, made.codes)
    if numbers is not None:
        return numbers
    if len(made.values) > MOST_DISTINCT and all(type(value) is str for value in made.values):
        try:
            texts = pyarrow.array(made.values, type=pyarrow.large_string())
        except UnicodeEncodeError:  # half a character
            return made
        return TextCells(texts.take(pyarrow.array(made.codes, mask=made.codes < 0)))
    return made


def text_cells(texts: Iterable[str]) -> Cells:
    """Texts side by side, where each is of whole characters."""
    texts = list(texts)
    try:
        return TextCells(pyarrow.array(texts, type=pyarrow.large_string()))
    except UnicodeEncodeError:
        return coded(texts)


def coded(values: Iterable[FieldValue]) -> CodedCells:
    """Plain values as the distinct ones, in order of first appearance, and codes. 1, 1.0 and True differ, as 0.0 and -0.0 do."""
    places: dict[Any, int] = {}
    distinct: list[FieldValue] = []
    codes = []
    for value in values:
        if value is None:
            codes.append(-1)
            continue
        key = value if type(value) is str else (type(value), value, str(value)) if value == 0 else (type(value), value)
        place = places.setdefault(key, len(distinct))
        if place == len(distinct):
            distinct.append(value)
        codes.append(place)
    return CodedCells(distinct, np.array(codes, dtype=np.int32))


def _numbered(values: Sequence[FieldValue], codes: NDArray[np.int32]) -> NumberCells | None:
    """Coded values as numbers, None unless all of them are such and keep their value."""
    kinds = {type(value) for value in values}
    if not kinds or not kinds <= {int, float}:
        return None
    largest = max((abs(value) for value in values if type(value) is int), default=0)
    if largest > (_LARGEST if kinds == {int} else EXACT):
        return None
    there = codes >= 0
    numbers = np.array([*values, 0], dtype=np.int64 if kinds == {int} else np.float64)
    whole = np.array([*(type(value) is int for value in values), False]) if len(kinds) == 2 else None
    return NumberCells(numbers[codes], there, None if whole is None else whole[codes])


def widened(narrow: NDArray[Any]) -> FloatArray:
    """float32 as float64, each as the number that is written the shortest and rounds to it; of any shape, a copy."""
    short = pyarrow.array(narrow.ravel()).cast(pyarrow.string())
    floats: FloatArray = short.cast(pyarrow.float64()).to_numpy().reshape(narrow.shape).copy()
    return floats


def are_unique(texts: pyarrow.Array) -> bool:
    """Whether no two of the texts are the same, and none is missing or empty."""
    if texts.null_count or pyarrow.compute.any(pyarrow.compute.equal(texts, "")).as_py():
        return False
    return sum(map(_count_distinct, _apart(texts))) == len(texts)


def _count_distinct(texts: pyarrow.Array) -> int:
    """It takes some 100 bytes a text, which are given back."""
    count: int = pyarrow.compute.count_distinct(texts).as_py()
    pyarrow.default_memory_pool().release_unused()
    return count


def _apart(texts: pyarrow.Array) -> Iterator[pyarrow.Array]:
    """Texts, none empty, in parts of which no two have the same text, where there are many."""
    if len(texts) < MANY:
        yield texts
        return
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset + 1 : texts.offset + len(texts) + 1]
    last = np.frombuffer(data, dtype=np.uint8)[ends - 1] % 16  # of digits and of hexadecimal ones each its own
    for part in range(16):
        yield texts.filter(pyarrow.array(last == part))


def bytes_of(texts: pyarrow.Array) -> NDArray[np.uint8]:
    """What large strings say, one after the other, in UTF-8; not a copy."""
    _, offsets, data = texts.buffers()
    if data is None:
        return np.zeros(0, dtype=np.uint8)
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]


def is_dated(kinds: set[type]) -> bool:
    """Whether all kinds are dates or times."""
    return bool(kinds) and all(issubclass(kind, date) for kind in kinds)
