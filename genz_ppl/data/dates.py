"""Dates and times written as text: one format a column, found from all of its cells, and times of several zones in one."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ISO, ISO_TIME = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?")
_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%Y.%m.%d")
_NAMED = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y")
_MONTHS = ("%Y%m%d", "%Y-%m", "%B %Y", "%b %Y", "%m/%Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", "T%H:%M:%S")
_FORMATS = (*(day + time for day in (*_DAYS, *_NAMED) for time in _TIMES), *_MONTHS)
_LONGEST = 40


def readings_of(cells: Collection[str]) -> list[tuple[str, dict[str, date]]]:
    """The format that reads all of the distinct cells, with what each says, and a second one that reads some otherwise, if any.

    Where day and month could change places the day is taken to be first, as in most countries, unless all would then be days
    of one January and, the other way round, first days of months.
    """
    if all(_ISO.fullmatch(cell.strip()) for cell in cells):
        values = [value for cell in cells if (value := _parsed(cell, ISO)) is not None]
        formats = [format_of(values)] if len(values) == len(cells) else []
    else:
        first = next(iter(cells))
        formats = [one for one in _FORMATS if len(first) <= _LONGEST and _parsed(first, one) is not None]
    found: list[tuple[str, dict[str, date]]] = []
    for written in formats:
        try:
            read = {cell: read_date(cell, written) for cell in cells}
        except ValueError:
            continue
        if all(read != other for _, other in found):
            found.append((written, read))
    firsts = [{value.day for value in read.values()} == {1} for _, read in found[:2]]
    return found[1::-1] if firsts == [False, True] else found[:2]


def format_of(values: Collection[date]) -> str:
    """The ISO format of dates or times as Python has them, with the zone they have in common, UTC if they have several."""
    times = [value for value in values if isinstance(value, datetime)]
    zones = {str(value.tzinfo) for value in times if value.tzinfo is not None}
    zone = "" if not zones else f" {zones.pop()}" if len(zones) == 1 else " UTC"
    midnight = all((value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0) for value in times)
    return ISO if midnight and not zone else ISO_TIME + zone


def read_date(cell: object, written: str) -> date:
    """A cell of text, or a date or time already, in a format of `likeliest_format` or `format_of`: without zone, in that zone.

    Raises ValueError for a cell in another format, with a zone where the format has none, or without one where it has.
    """
    kind, zone = (ISO_TIME, written.removeprefix(ISO_TIME).strip()) if written.startswith(ISO_TIME) else (written, "")
    value = cell if isinstance(cell, date) else _parsed(str(cell), kind)
    if value is None:
        raise ValueError("another format")
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    if bool(zone) != (moment.tzinfo is not None):
        raise ValueError("a time with a zone among times without")
    if zone:
        moment = moment.astimezone(_zone(zone)).replace(tzinfo=None)
    return moment if "%H" in kind or "%I" in kind else moment.date()


def _parsed(cell: str, written: str) -> datetime | None:
    try:
        if written in (ISO, ISO_TIME):
            return datetime.fromisoformat(cell.strip().replace(" UTC", "Z")) if _ISO.fullmatch(cell.strip()) else None
        return datetime.strptime(cell.strip(), written)
    except ValueError:
        return None


def _zone(name: str) -> tzinfo:
    """A zone by the name that Python gives it: UTC, UTC+02:00 or Europe/Berlin. Raises ValueError for another."""
    offset = re.fullmatch(r"UTC(?:([+-])([0-9]{2}):([0-9]{2}))?", name)
    if offset is None:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"unknown time zone {name}") from None
    if offset[1] is None:
        return UTC
    size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(size if offset[1] == "+" else -size)
