"""Profiles without a model: two sentences made of an item's own fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from genz_ppl.profiles.written import Written
from genz_ppl.types import Item

# Characters of a field that is named in the first sentence; of the text that is the second; of a tag; the most tags.
SHORT, LONG, TAG, MOST_TAGS = 60, 600, 30, 8
_LIST = re.compile(r"\s*[|,;/]\s*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class TemplateWriter:
    """Writes profiles of the fields alone: the short ones in the first sentence, the longest text in the second."""

    model, prompt_version = "rules", "fields-1"

    def write(self, items: Sequence[Item]) -> list[Written | None]:
        """One profile an item; None where it says nothing."""
        return [_profile(item) for item in items]


def _profile(item: Item) -> Written | None:
    texts = {name: shown for name, value in item.fields.items() if (shown := _shown(value))}
    if not texts:
        said = " ".join(item.text.split())
        return Written(_cut(said), ()) if said else None
    longest = max(texts, key=lambda name: len(texts[name]))
    short = [f"{name} {text}" for name, text in texts.items() if len(text) <= SHORT]
    long = [_cut(texts[longest])] if len(texts[longest]) > SHORT else []
    first = [f"{', '.join(short)}."] if short else []
    return Written(" ".join([*first, *long]), _tags(item))


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if value == value else ""
    return " ".join(str(value).split())


def _cut(text: str) -> str:
    """Whole sentences up to `LONG` characters, at least the beginning of the first."""
    kept = ""
    for sentence in _SENTENCE.split(text):
        if kept and len(kept) + len(sentence) >= LONG:
            break
        kept = f"{kept} {sentence}".strip()
    return kept[:LONG]


def _tags(item: Item) -> tuple[str, ...]:
    """Short words of fields: each part of a list of several, and one-word values."""
    found: dict[str, None] = {}
    for value in item.fields.values():
        if isinstance(value, str) and len(value) <= 4 * SHORT and not isinstance(value, date):
            parts = [part.casefold() for part in _LIST.split(value.strip()) if part]
            if len(parts) > 1 or len(value.split()) == 1:
                found |= dict.fromkeys(part for part in parts if len(part) <= TAG and any(map(str.isalpha, part)))
    return tuple(found)[:MOST_TAGS]
