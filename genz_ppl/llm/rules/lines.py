"""Texts that are lines of "name: value", as forms and cards are: each name is a field of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from genz_ppl.types import Item

_LINE = re.compile(r"[^\S\n]*([^\s:][^:\n]*?)[^\S\n]*:[^\S\n]+(\S[^\n]*?)[^\S\n]*")
_LONGEST_NAME = 6  # words; what is longer before a colon is part of a sentence
_FEWEST_LINES = 2
_COMMON = 0.5  # share of the items that have a name, for it to be one


@lru_cache(maxsize=4096)
def lines_of(text: str) -> Mapping[str, str]:
    """The values of a text by their names, where at least two lines of it and no fewer than half are "name: value"."""
    lines = [line for line in text.split("\n") if line.strip()]
    matches = [match for match in map(_LINE.fullmatch, lines) if match and len(match[1].split()) <= _LONGEST_NAME]
    if len(matches) < max(_FEWEST_LINES, len(lines) / 2):
        return {}
    values: dict[str, str] = {}
    for match in matches:
        values.setdefault(match[1], match[2])
    return values


def line_value(item: Item, name: str) -> str | None:
    """What a text of the item has as the value of a name; None if no text does."""
    for text in _texts(item):
        value = lines_of(text).get(name)
        if value is not None:
            return value
    return None


def line_names(items: Sequence[Item]) -> list[str]:
    """The names in the texts of at least half of the items, in order of their first appearance."""
    counts = Counter(name for item in items for name in {name: 0 for text in _texts(item) for name in lines_of(text)})
    return [name for name, count in counts.items() if count >= _COMMON * len(items)]


def _texts(item: Item) -> list[str]:
    return [value for value in item.fields.values() if isinstance(value, str)] if item.fields else [item.text]
