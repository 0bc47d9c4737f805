"""An index of the words in a column of texts: made once, after which a statement about words takes no reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import bytes_of
from genz_ppl.llm.rules.words import PHRASE_LENGTHS, is_telling, separated, separator_table, words_in
from genz_ppl.types import IntArray

# Texts that are looked at together.
_AT_ONCE = 1 << 16
# Words, distinct ones, up to which two or three in a row have a number of their own in 63 bits.
_MOST_WORDS = 1 << 21
_PARTS = 16


class WordIndex:
    """numbers: of each distinct word. words: (N,) int32, the words of all texts, one after the other, by their numbers. starts:
    (T + 1,) int64, where each text begins among them."""

    def __init__(self, texts: pyarrow.Array) -> None:
        """texts: (T,) large_string; a missing one has no words."""
        self.numbers: dict[str, int] = {}
        parts, counts = [], [np.zeros(1, dtype=np.int64)]
        for start in range(0, len(texts), _AT_ONCE):
            words, count = self._words_of(texts.slice(start, _AT_ONCE).fill_null(""))
            parts.append(words)
            counts.append(count)
        self.words: NDArray[np.int32] = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
        self.starts: IntArray = np.cumsum(np.concatenate(counts))

    def mentions(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """(T,) which texts hold these words in a row."""
        found = np.zeros(len(self.starts) - 1, dtype=np.bool_)
        numbers = [self.numbers.get(word, -1) for word in words]
        if min(numbers) < 0:
            return found
        last = len(self.words) - len(numbers) + 1
        if last < 1:
            return found
        places = np.flatnonzero(self.words[:last] == numbers[0])
        for offset, number in enumerate(numbers[1:], start=1):
            places = places[self.words[places + offset] == number]
        rows = np.searchsorted(self.starts, places, side="right") - 1
        found[rows[places + len(numbers) <= self.starts[rows + 1]]] = True
        return found

    def common(self, length: int, used: NDArray[np.bool_] | None = None) -> int | None:
        """How many words that can say something (or so many in a row) two texts or more mention; None where they are too many to
        be numbered. used: (T,) which texts count, None for all."""
        rows = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        telling = np.array([is_telling(word) for word in self.numbers], dtype=np.bool_)
        if not len(self.words):
            return 0
        there = telling[self.words] if used is None else telling[self.words] & used[rows]
        if length == 1:
            first, last = np.full(len(telling), -1, dtype=np.int32), np.full(len(telling), -1, dtype=np.int32)
            first[self.words[there][::-1]] = rows[there][::-1]  # of several the last that is written stays
            last[self.words[there]] = rows[there]
            return int((first < last).sum())
        if length not in PHRASE_LENGTHS:
            return 0
        if len(telling) > _MOST_WORDS:
            return None
        end = len(self.words) - length + 1
        if end < 1:
            return 0
        inside = there[:end] & there[length - 1 :] & (rows[:end] == rows[length - 1 :])
        places = np.flatnonzero(inside)
        keys = self.words[places].astype(np.int64)
        for offset in range(1, length):
            keys = keys * len(telling) + self.words[places + offset]
        return self._in_several(keys, rows[places])

    @staticmethod
    def _in_several(keys: IntArray, rows: NDArray[np.int32]) -> int:
        """How many keys have different rows, which rise. In parts, since sorting takes several times the memory of keys."""
        several, part = 0, keys % _PARTS
        for number in range(_PARTS):
            places = np.flatnonzero(part == number)
            order = np.argsort(keys[places], kind="stable")
            ends = np.flatnonzero(np.diff(keys[places][order], append=-1))  # keys are not negative
            last = rows[places[order[ends]]]
            first = rows[places[order[np.append(0, ends[:-1] + 1)]]] if len(ends) else last
            several += int((first < last).sum())
        return several

    def _words_of(self, texts: pyarrow.Array) -> tuple[NDArray[np.int32], IntArray]:
        """The words of some texts, and how many each has."""
        pieces = pyarrow.compute.ascii_split_whitespace(_separated(texts))
        counts = np.diff(np.asarray(pieces.offsets)).astype(np.int64)
        coded = pieces.flatten().dictionary_encode()
        codes = coded.indices.to_numpy()
        known = [tuple(self._number(word) for word in words_in(piece)) for piece in coded.dictionary.to_pylist()]
        many = np.array([len(numbers) for numbers in known], dtype=np.int64)
        if not (many == 1).all():  # a piece such as "rock'n'roll" has several words, and "'" has none
            rows = np.repeat(np.arange(len(texts)), counts)
            counts = np.bincount(rows, weights=many[codes], minlength=len(texts)).astype(np.int64)
        starts, flat = np.cumsum(many) - many, np.array([number for numbers in known for number in numbers], dtype=np.int32)
        return flat[_ranges(starts[codes], many[codes])], counts

    def _number(self, word: str) -> int:
        return self.numbers.setdefault(word, len(self.numbers))


def _ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """Whole numbers from each start on, so many of each."""
    if (lengths == 1).all():
        return starts
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths - starts, lengths)


def _separated(texts: pyarrow.Array) -> pyarrow.Array:
    """`separated` of each text: of plain ones by a table of characters, on all bytes at once."""
    said = bytes_of(texts)
    if len(said) and said.max() < 128:
        offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
        buffers = [None, pyarrow.py_buffer(offsets - offsets[0]), pyarrow.py_buffer(separator_table()[said])]
        return pyarrow.Array.from_buffers(pyarrow.large_string(), len(texts), buffers)
    return pyarrow.array(list(_each(texts)), pyarrow.large_string())


def _each(texts: pyarrow.Array) -> Iterator[str]:
    for text in texts.to_pylist():
        yield "" if text is None else separated(text)
