"""The words of a text, as "mentions" understands them: whole, in any letter case, without punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

SHORTEST_WORD = 3
PHRASE_LENGTHS = (2, 3)

_CLAUSE_END = re.compile(r"[.,;:!?()\[\]{}\"\n]+")
_WORD = re.compile(r"[^\s']+(?:'[^\s']+)?")
_ASCII_SEPARATORS = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "'")}

_STOP_WORD_LIST = """
    a about above after again all along also although among an and another any are around as at be because been before being
    below between both but by can could did do does doing down during each either else etc every few for from further had has
    have having he her here hers him his how however i if in into is it its itself just like made make many may me might more
    most much must my near nearly neither no nor not of off often on once one only onto or other our out over own per quite
    rather really s same several she should since so some such t than that the their them then there these they this those
    through throughout to too toward towards two under until up upon use used using very via was we were what when where
    whether which while who whom whose why will with within without would yet you your
"""
STOP_WORDS = frozenset(_STOP_WORD_LIST.split())


def words_of(text: str) -> list[str]:
    """The words in order: case-folded and canonically decomposed, "owner's" as "owner", "single-storey" as two words."""
    return words_in(separated(text))


def words_in(text: str) -> list[str]:
    """The words of a text of `separated`, or of a piece of one between spaces."""
    return [word.removesuffix("'s") for word in _WORD.findall(text)]


def content_words(words: Iterable[str]) -> set[str]:
    """Those of the words that can say something: no stop words, no numbers, at least three characters."""
    return {word for word in words if is_telling(word)}


def is_telling(word: str) -> bool:
    """Whether a word can say something."""
    return len(word) >= SHORTEST_WORD and word not in STOP_WORDS and not word.isdecimal()


def phrases_of(words: Sequence[str]) -> set[tuple[str, ...]]:
    """Two and three words in a row, the first and the last of which can say something."""
    telling = content_words(words)
    found: set[tuple[str, ...]] = set()
    for length in PHRASE_LENGTHS:
        for start in range(len(words) - length + 1):
            if words[start] in telling and words[start + length - 1] in telling:
                found.add(tuple(words[start : start + length]))
    return found


def clauses_of(text: str) -> list[str]:
    """The text in pieces between its punctuation and line ends."""
    return [piece for piece in _CLAUSE_END.split(text) if piece.strip()]


def separated(text: str) -> str:
    """Folded text in which everything that is no letter, digit, mark or apostrophe is a space."""
    if text.isascii():
        return text.lower().translate(_ASCII_SEPARATORS)
    # Decomposing before and after folding makes the result stable: folding it again changes nothing.
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold()).replace("’", "'")
    kept = "".join(c if c == "'" or c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in folded)
    # A mark without a letter is not a word.
    return " ".join(piece for piece in kept.split() if any(c.isalnum() for c in piece))


@cache
def separator_table() -> NDArray[np.uint8]:
    """What `separated` makes of each ASCII character, (128,)."""
    made = "".join(map(chr, range(128))).lower().translate(_ASCII_SEPARATORS)
    return np.frombuffer(made.encode(), dtype=np.uint8)
