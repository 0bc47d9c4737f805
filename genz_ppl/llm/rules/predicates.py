"""The little language of the embedded model: readable statements about one field of an item.

    zipcode is 92276 · roof is not tile · zipcode is one of 92276, 93510 · zipcode starts with 92
    area is at least 3000 · area is less than 3000
    area is between 1500 and 2200 · text mentions 'granite' · n modulo 128 is at least 64 · n modulo 7 is 3

A field name or value that is not a plain word or number stands in double quotes: "living area" is "two floors".
Inside them \\" and \\\\ stand for a quote and a backslash. Dates: see `genz_ppl.llm.rules.dates`.

Every statement has a `wording`, its canonical text; a `key`, which it shares with its opposite, since they are one feature; and
an `answer` to a field's value: 1., 0. or NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from unicodedata import normalize

from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.dates import MOMENT_PATTERN, ROUNDS, Before, DatePart, before, date_part, years
from genz_ppl.llm.rules.quantities import NUMBER_PATTERN, Quantity, quantity_of, read_quantity, write_quantity
from genz_ppl.llm.rules.quoting import NAME, SINGLE, quoted, unquoted
from genz_ppl.llm.rules.words import words_of
from genz_ppl.types import FieldValue

ACCEPTED_FORMS = (
    "F is V; F is not V; F is one of V, V; F starts with V; F is at least N; F is less than N; F is between N and N; "
    "F mentions 'WORD'; F is before D, on or after D or after D (1 June 2021 18:30); F is in YEAR; "
    "month, weekday or hour of F is A, A or B, A to B, at least A or less than A; "
    "F modulo M followed by is N, is at least N, is less than N or is between N and N"
)

Relation = Literal["at least", "less than", "between", "is", "is not"]


def is_missing(value: FieldValue) -> bool:
    """Whether a field has no value: None, or a float that is not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def value_text(value: FieldValue) -> str:
    """A field's value as this language writes it: true, 3 (also for 3.0), 2.5, tile."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return write_quantity(value) if isinstance(value, (int, float)) else str(value)


@dataclass(frozen=True)
class Equals:
    """`roof is tile`, or with `negated` `roof is not tile`. A number equals the text of the same number, a bool true or false."""

    field: str
    value: str
    negated: bool = False

    @property
    def wording(self) -> str:
        return f"{quoted(self.field)} is {'not ' if self.negated else ''}{quoted(self.value)}"

    @property
    def key(self) -> Hashable:
        number = quantity_of(self.value)
        if self.value.casefold() in ("true", "false"):
            return "is true", self.field
        return "is", self.field, self.value if number is None else number

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where the value is missing."""
        if is_missing(value):
            return math.nan
        if isinstance(value, bool):
            same = self.value.casefold() == ("true" if value else "false")
        elif isinstance(value, (int, float)):
            same = value == read_quantity(self.value)
        else:
            same = (value if isinstance(value, str) else value_text(value)) == self.value
        return float(same != self.negated)


@dataclass(frozen=True)
class OneOf:
    """`zipcode is one of 85255, 85262, 85377`: equality with any of at least two values, sorted."""

    field: str
    values: tuple[str, ...]

    @property
    def wording(self) -> str:
        return f"{quoted(self.field)} is one of {', '.join(map(quoted, self.values))}"

    @property
    def key(self) -> Hashable:
        return "one of", self.field, self.values

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where the value is missing."""
        if is_missing(value):
            return math.nan
        return float(any(Equals(self.field, one).answer(value) == 1.0 for one in self.values))


@dataclass(frozen=True)
class StartsWith:
    """`zipcode starts with 92`: how a text, or a whole number's digits, begin."""

    field: str
    prefix: str

    @property
    def wording(self) -> str:
        return f"{quoted(self.field)} starts with {quoted(self.prefix)}"

    @property
    def key(self) -> Hashable:
        return "starts with", self.field, self.prefix

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where the value is missing or a truth value."""
        if is_missing(value) or isinstance(value, bool):
            return math.nan
        return float(value_text(value).startswith(self.prefix))


@dataclass(frozen=True)
class Mentions:
    """`text mentions 'granite'`: a whole word, or several in a row, in any letter case. Build it with `mentions`."""

    field: str
    words: tuple[str, ...]

    @property
    def wording(self) -> str:
        phrase = normalize("NFC", " ".join(self.words))
        return f"{quoted(self.field)} mentions " + (f'"{phrase}"' if "'" in phrase else f"'{phrase}'")

    @property
    def key(self) -> Hashable:
        return "mentions", self.field, self.words

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where there is no text."""
        if not isinstance(value, str):
            return math.nan
        return float(f" {' '.join(self.words)} " in f" {' '.join(words_of(value))} ")


@dataclass(frozen=True)
class Comparison:
    """A number, or its remainder by `modulus`, against one number or (`between`, both ends included) two.

    The relations `is` and `is not` need a modulus: without one `Equals` says it.
    """

    field: str
    relation: Relation
    numbers: tuple[Quantity, ...]
    modulus: int | None = None

    @property
    def wording(self) -> str:
        subject = quoted(self.field) + (f" modulo {self.modulus}" if self.modulus is not None else "")
        verb = self.relation if self.relation.startswith("is") else f"is {self.relation}"
        return f"{subject} {verb} {' and '.join(write_quantity(number) for number in self.numbers)}"

    @property
    def key(self) -> Hashable:
        """The same for a statement and its opposite, and for two wordings of the same remainders."""
        if self.modulus is not None:
            return "modulo", self.field, self.modulus, self._remainders(self.modulus)
        return ("range" if self.relation == "between" else "cut"), self.field, self.numbers

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where the value is missing or no number (with a modulus: no whole number)."""
        number = quantity_of(value)
        if number is None and isinstance(value, float) and math.isinf(value) and self.modulus is None:
            number = value
        if number is None:
            return math.nan
        if self.modulus is not None:
            if isinstance(number, float) and not number.is_integer():
                return math.nan
            number = int(number) % self.modulus
        return float(self._holds(number))

    def _holds(self, number: Quantity) -> bool:
        first, last = self.numbers[0], self.numbers[-1]
        if self.relation == "at least":
            return number >= first
        if self.relation == "less than":
            return number < first
        if self.relation == "between":
            return first <= number <= last
        return (number == first) == (self.relation == "is")

    def _remainders(self, modulus: int) -> tuple[int, int]:
        """First and last remainder of the statement or of its opposite, whichever does not hold for 0."""
        low, high = math.ceil(self.numbers[0]), math.floor(self.numbers[-1])
        first, last = max(low, 0), min(high, modulus - 1)
        if self.relation == "at least":
            last = modulus - 1
        elif self.relation == "less than":
            first, last = max(low, 0), modulus - 1  # its opposite
        if first <= 0 and last < modulus - 1:
            first, last = last + 1, modulus - 1
        return first, last


Predicate = Equals | OneOf | StartsWith | Mentions | Comparison | Before | DatePart


def mentions(field: str, phrase: str) -> Mentions | None:
    """The statement that a field's text holds the words of a phrase in a row; None if the phrase has no word."""
    words = tuple(words_of(phrase))
    return Mentions(field, words) if words else None


@lru_cache(maxsize=4096)
def parse(text: str) -> Predicate:
    """Read a statement. Keywords may have any letter case; spaces around it and a final period do not matter.

    Raises OptionError, with the wording and the accepted forms, for a text that is none.
    """
    for pattern, build in _FORMS:
        match = pattern.fullmatch(text)
        predicate = None if match is None else build(*match.groups())
        if predicate is not None:
            return predicate
    shown = " ".join(text.split())
    raise OptionError(
        f"the rules model cannot read the feature {shown[:80]!r}: write it as one of: {ACCEPTED_FORMS} "
        "(names and values of several words stand in double quotes)"
    )


def _compare(relation: Relation) -> Callable[..., Predicate | None]:
    def build(field: str, modulus: str | None, *texts: str) -> Predicate | None:
        numbers = tuple(number for number in map(read_quantity, texts) if number is not None)
        divisor = None if modulus is None else read_quantity(modulus)
        valid_divisor = modulus is None or (isinstance(divisor, int) and divisor >= 2)
        if len(numbers) < len(texts) or numbers[0] > numbers[-1] or not valid_divisor:
            return None
        return Comparison(unquoted(field), relation, numbers, None if divisor is None else int(divisor))

    return build


def _form(statement: str, build: Callable[..., Predicate | None]) -> tuple[re.Pattern[str], Callable[..., Predicate | None]]:
    """A pattern from a statement in which F, V, N, W stand for a name, a value, a number and a quoted phrase, L for a list."""
    parts = {"F": f"({NAME})", "V": f"({NAME})", "N": f"({NUMBER_PATTERN})", "W": f"({SINGLE}|{NAME})"}
    parts["L"] = rf"({NAME}(?:\s*,\s*{NAME})+)"
    parts |= {"F?": f"({NAME})(?:\\s+modulo\\s+({NUMBER_PATTERN}))?", "FM": f"({NAME})\\s+modulo\\s+({NUMBER_PATTERN})"}
    pattern = r"\s+".join(parts.get(part, part) for part in statement.split())
    return re.compile(rf"\s*{pattern}\s*\.?\s*", re.IGNORECASE | re.DOTALL), build


def _one_of(field: str, values: str) -> Predicate | None:
    texts = {unquoted(token) for token in re.findall(NAME, values)}
    return OneOf(unquoted(field), tuple(sorted(texts))) if len(texts) > 1 else None


_WHEN = rf"({MOMENT_PATTERN})"
_NAMES = "|".join(name for names in ROUNDS.values() for name in names)
_FORMS = (
    _form(rf"F is (before|on\s+or\s+after|after) {_WHEN}", lambda *parts: before(parts[0], " ".join(parts[1].split()), parts[2])),
    _form(r"F is in ([0-9]{1,4})(?:\s+to\s+([0-9]{1,4}))?", years),
    _form(rf"(month|weekday|hour) of F is (at\s+least\s+|less\s+than\s+)?({_NAMES})(?:\s+(?:or|to)\s+({_NAMES}))?", date_part),
    _form("F? is at least N", _compare("at least")),
    _form("F? is less than N", _compare("less than")),
    _form("F? is between N and N", _compare("between")),
    _form("FM is N", _compare("is")),
    _form("FM is not N", _compare("is not")),
    _form("F is one of L", _one_of),
    _form("F is V", lambda field, value: Equals(unquoted(field), unquoted(value))),
    _form("F is not V", lambda field, value: Equals(unquoted(field), unquoted(value), negated=True)),
    _form("F starts with V", lambda field, prefix: StartsWith(unquoted(field), unquoted(prefix))),
    _form("F mentions W", lambda field, phrase: mentions(unquoted(field), unquoted(phrase))),
)
