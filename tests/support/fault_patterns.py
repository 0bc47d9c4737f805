"""Which request gets which fault: functions of the request's number (from 1) and its body that give a fault's name or None."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from answerers import Body, numbered_lines, user_texts
from content_faults import CONTENT_FAULTS
from http_faults import HTTP_FAULTS, Fault

FAULTS: dict[str, Fault] = HTTP_FAULTS | CONTENT_FAULTS
Pattern = Callable[[int, Body], "str | None"]


def checked(name: str) -> str:
    """The name itself; ValueError where no fault has it."""
    if name not in FAULTS:
        raise ValueError(f"no fault is called '{name}'; there are {', '.join(FAULTS)}")
    return name


def always(name: str) -> Pattern:
    """Every request."""
    checked(name)
    return lambda number, body: name


def every(n: int, name: str) -> Pattern:
    """Requests n, 2n, 3n, ..."""
    checked(name)
    return lambda number, body: name if number % n == 0 else None


def first(k: int, name: str) -> Pattern:
    """The first k requests."""
    checked(name)
    return lambda number, body: name if number <= k else None


def script(*names: str | None) -> Pattern:
    """The first requests get these in turn (None: the right reply), later ones none."""
    for name in names:
        if name is not None:
            checked(name)
    return lambda number, body: names[number - 1] if number <= len(names) else None


def share(p: float, names: Sequence[str], seed: int = 0) -> Pattern:
    """Each request with probability p one of the names at random; a request's fault depends on its number and the seed alone."""
    for name in names:
        checked(name)

    def pattern(number: int, body: Body) -> str | None:
        generator = random.Random(seed * 1_000_003 + number)
        return generator.choice(names) if generator.random() < p else None

    return pattern


def when(text: str, name: str) -> Pattern:
    """Requests with the text in an item, a feature or elsewhere in the user's message: what a model cannot deal with."""
    checked(name)

    def pattern(number: int, body: Body) -> str | None:
        items, features = numbered_lines(body)
        return name if any(text in found for found in (*items.values(), *features.values(), *user_texts(body))) else None

    return pattern


def first_time(pattern: Pattern) -> Pattern:
    """As the pattern, but none for a request whose messages came before: a second try goes well."""
    seen: set[str] = set()

    def found(number: int, body: Body) -> str | None:
        messages = json.dumps(body.get("messages"))
        if messages in seen:
            return None
        seen.add(messages)
        return pattern(number, body)

    return found


def either(*patterns: Pattern) -> Pattern:
    """The first of the patterns that gives a fault."""

    def found(number: int, body: Body) -> str | None:
        return next((name for pattern in patterns if (name := pattern(number, body)) is not None), None)

    return found


def read_pattern(text: str) -> Pattern:
    """A pattern from the command line: always:NAME, every:N:NAME, first:K:NAME, share:P:NAME,NAME,...[:SEED]."""
    kind, *rest = text.split(":")
    if kind == "always" and len(rest) == 1:
        return always(rest[0])
    if kind in ("every", "first") and len(rest) == 2:
        return (every if kind == "every" else first)(int(rest[0]), rest[1])
    if kind == "share" and len(rest) in (2, 3):
        return share(float(rest[0]), rest[1].split(","), int(rest[2]) if len(rest) == 3 else 0)
    raise ValueError(f"expected always:NAME, every:N:NAME, first:K:NAME or share:P:NAMES[:SEED], not '{text}'")
