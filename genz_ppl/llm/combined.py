"""Questions put together from others: "(math is A) AND NOT (roof is tile)". Their parts are asked; the rest is logic.

The text says it all, so that such a question is kept, shown and passed on as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genz_ppl.types import FloatArray

_AND, _OR, _NOT = " AND ", " OR ", "NOT "
# How a question that is asked as it is words the opposite of another one.
_OPPOSITE = "not "


@dataclass(frozen=True)
class Part:
    """A question, or with `negated` its opposite."""

    text: str
    negated: bool = False


@dataclass(frozen=True)
class Combination:
    """Rules of which any may hold; all parts of a rule must. At least two parts in all."""

    rules: tuple[tuple[Part, ...], ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of all rules, in the order in which they are written."""
        return tuple(part for rule in self.rules for part in rule)

    @property
    def text(self) -> str:
        """The question as it is written: AND binds more closely than OR."""
        return _OR.join(_AND.join(f"{_NOT if part.negated else ''}({part.text})" for part in rule) for rule in self.rules)

    @property
    def is_readable(self) -> bool:
        """Whether `parse` gets the same out of the text; not where the parentheses of a part are not pairs."""
        return parse(self.text) == self

    def answer(self, answers: FloatArray) -> FloatArray:
        """1., 0. or NaN for every item, (T,), from the answers to the parts, (T, n).

        NaN only where the answers that are missing could change the result.
        """
        start, none = 0, np.ones((len(answers), 0))
        for rule in self.rules:
            negated = np.array([part.negated for part in rule])
            columns = answers[:, start : start + len(rule)]
            none = np.column_stack([none, 1 - _every(np.where(negated, 1 - columns, columns))])
            start += len(rule)
        return 1 - _every(none)


def _every(holds: FloatArray) -> FloatArray:
    """Whether all columns hold, (T,), NaN where that is open."""
    found: FloatArray = np.where((holds == 0).any(axis=1), 0.0, holds.sum(axis=1) - (holds.shape[1] - 1))
    return found


def stated(text: str, negated: bool = False) -> tuple[str, bool]:
    """A question without the `not (...)` that opposites are worded with, and whether its opposite is meant: two cancel."""
    while text.startswith(_OPPOSITE) and _closing(text[len(_OPPOSITE) :]) == len(text) - len(_OPPOSITE) - 1:
        text, negated = text[len(_OPPOSITE) + 1 : -1], not negated
    return text, negated


def conjunction(literals: Sequence[tuple[str, bool]]) -> Combination:
    """Of texts, each with whether it must not hold, what must hold first. Where none may hold, the opposite: that any does."""
    literals = sorted((stated(*literal) for literal in literals), key=lambda literal: literal[1])
    if all(negated for _, negated in literals):
        return Combination(tuple((Part(text),) for text, _ in literals))
    return Combination((tuple(Part(text, negated) for text, negated in literals),))


def rules_of(text: str) -> tuple[tuple[Part, ...], ...]:
    """The rules of which any makes a text true: one of one part for a question of its own."""
    combination = parse(text)
    return ((Part(*stated(text)),),) if combination is None else combination.rules


def parse(text: str) -> Combination | None:
    """The combination that a text is, None for a question of its own."""
    rules: list[list[Part]] = [[]]
    rest = text
    while True:
        negated = rest.startswith(_NOT)
        rest = rest.removeprefix(_NOT)
        end = _closing(rest)
        if end is None:
            return None
        rules[-1].append(Part(rest[1:end], negated))
        rest = rest[end + 1 :]
        if not rest:
            break
        joint = next((joint for joint in (_AND, _OR) if rest.startswith(joint)), None)
        if joint is None:
            return None
        if joint == _OR:
            rules.append([])
        rest = rest.removeprefix(joint)
    found = Combination(tuple(tuple(rule) for rule in rules))
    return found if len(found.parts) > 1 else None


def parts_of(text: str) -> tuple[str, ...]:
    """The questions that are asked for one text: itself, or its parts."""
    combination = parse(text)
    return (text,) if combination is None else tuple(dict.fromkeys(part.text for part in combination.parts))


def implied(text: str) -> tuple[str, ...]:
    """The questions that surely hold where one text does: itself, or the parts that must."""
    combination = parse(text)
    if combination is None:
        return (text,)
    return tuple(part.text for part in combination.parts if len(combination.rules) == 1 and not part.negated)


def answers_by_parts(texts: Sequence[str], ask: Callable[[list[str]], FloatArray]) -> FloatArray:
    """(T, len(texts)), from what `ask` says of the parts, (T, n), each asked once."""
    combined = {text: found for text in texts if (found := parse(text)) is not None}
    if not combined:
        return ask(list(texts))
    asked = list(dict.fromkeys(part for text in texts for part in parts_of(text)))
    known = dict(zip(asked, ask(asked).T, strict=True))
    columns = []
    for text in texts:
        found = combined.get(text)
        columns.append(known[text] if found is None else found.answer(np.stack([known[part.text] for part in found.parts], 1)))
    return np.stack(columns, axis=1)


def _closing(text: str) -> int | None:
    """Where the parenthesis that a text begins with is closed."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place if place > 1 else None
    return None
