"""Statements about dates and times: before or after a day, and years, months, weekdays and hours.

sold is before 1 June 2021 · sold is on or after 1 June 2021 18:30 · sold is in 2020 · month of sold is November to February
weekday of sold is Saturday or Sunday · hour of sold is at least 18

They have what every statement has: see `genz_ppl.llm.rules.predicates`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal

from genz_ppl.llm.rules.quoting import quoted, unquoted
from genz_ppl.types import FieldValue

Part = Literal["year", "month", "weekday", "hour"]

MONTHS = tuple("January February March April May June July August September October November December".split())
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: The values of the parts that come round again, in order.
ROUNDS: dict[Part, tuple[str, ...]] = {"month": MONTHS, "weekday": WEEKDAYS, "hour": tuple(map(str, range(24)))}
MOMENT_PATTERN = rf"[0-9]{{1,2}}\s+(?:{'|'.join(MONTHS)})\s+[0-9]{{4}}(?:\s+[0-9:.]+)?"


def moment_of(value: FieldValue) -> datetime | None:
    """A date or time as a time, a date at its first moment; None for anything else."""
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None


@dataclass(frozen=True)
class Before:
    """`sold is before 1 June 2021`, or with `negated` `sold is on or after 1 June 2021`."""

    field: str
    moment: datetime
    negated: bool = False

    @property
    def wording(self) -> str:
        day = f"{self.moment.day} {MONTHS[self.moment.month - 1]} {self.moment.year:04}"
        hours = self.moment.time()
        clock = "" if hours == time() else " " + hours.isoformat("auto" if hours.second or hours.microsecond else "minutes")
        return f"{quoted(self.field)} is {'on or after' if self.negated else 'before'} {day}{clock}"

    @property
    def key(self) -> Hashable:
        return "before", self.field, self.moment

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where there is no date."""
        moment = moment_of(value)
        return math.nan if moment is None else float((moment < self.moment) != self.negated)


@dataclass(frozen=True)
class DatePart:
    """`month of sold is June to August`: a part of a date from `first` to `last`, past the end of the year, week or day, too.

    Years are numbers; months, weekdays (Monday first) and hours are places in `ROUNDS`.
    """

    field: str
    part: Part
    first: int
    last: int

    @property
    def wording(self) -> str:
        name, several = quoted(self.field), self.first != self.last
        if self.part == "year":
            return f"{name} is in {self.first}" + (f" to {self.last}" if several else "")
        names = ROUNDS[self.part]
        first, last, after = names[self.first], names[self.last], names[(self.last + 1) % len(names)]
        ends = f"{first} to {last}"
        if not several or names[(self.first + 1) % len(names)] == last:
            ends = f"{first} or {last}" if several else first
        elif self.part == "hour" and 0 in (self.first, self.last + 1 - len(names)):
            ends = f"less than {after}" if self.first == 0 else f"at least {first}"
        return f"{self.part} of {name} is {ends}"

    @property
    def key(self) -> Hashable:
        if self.part == "year":
            return self.part, self.field, self.first, self.last
        other = self.opposite
        return self.part, self.field, *min((self.first, self.last), (other.first, other.last))

    @property
    def opposite(self) -> DatePart:
        """The statement of all other months, weekdays or hours."""
        size = len(ROUNDS[self.part])
        return DatePart(self.field, self.part, (self.last + 1) % size, (self.first - 1) % size)

    def answer(self, value: FieldValue) -> float:
        """1., 0., or NaN where there is no date, or no time for an hour."""
        place = part_of(value, self.part)
        return math.nan if place is None else float(self.holds(place))

    def holds(self, place: int) -> bool:
        """Whether a year, or a place in `ROUNDS`, is in the run."""
        if self.first <= self.last:
            return self.first <= place <= self.last
        return place >= self.first or place <= self.last


def runs_of(size: int) -> list[tuple[int, int]]:
    """First and last of every run of up to half of so many places in a ring."""
    return [(first, (first + length - 1) % size) for first in range(size) for length in range(1, size // 2 + 1)]


def part_of(value: FieldValue, part: Part) -> int | None:
    """A year, or a place in `ROUNDS`; None where the value has no such part."""
    if not isinstance(value, date) or (part == "hour" and not isinstance(value, datetime)):
        return None
    return value.month - 1 if part == "month" else value.weekday() if part == "weekday" else int(getattr(value, part))


def before(field: str, relation: str, text: str) -> Before | None:
    """`before`, `on or after` or `after` a day, maybe with a time; None if there is no such moment."""
    day, month, year, *clock = text.split()
    try:
        hours = time.fromisoformat(clock[0]) if clock else time()
        moment = datetime.combine(
            date(int(year), [name.casefold() for name in MONTHS].index(month.casefold()) + 1, int(day)), hours
        )
        if relation.casefold() == "after":  # the whole day is over
            moment += timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return None if clock and relation.casefold() == "after" else Before(unquoted(field), moment, relation.casefold() != "before")


def years(field: str, first: str, last: str | None) -> DatePart:
    """The years from the first to the last."""
    return DatePart(unquoted(field), "year", int(first), int(last or first))


def date_part(part: str, field: str, relation: str | None, first: str, last: str | None) -> DatePart | None:
    """A run of months, weekdays or hours: from one to another, `at least` or `less than` one; None for names of none."""
    kind: Part = next(kind for kind in ROUNDS if kind == part.casefold())
    names = [name.casefold() for name in ROUNDS[kind]]
    try:
        start = names.index(first.casefold())
        end = start if last is None else names.index(last.casefold())
    except ValueError:
        return None
    if relation is not None:
        start, end = (start, len(names) - 1) if relation.split()[0].casefold() == "at" else (0, start - 1)
    return None if end < 0 else DatePart(unquoted(field), kind, start, end)
