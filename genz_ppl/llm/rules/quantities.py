"""Numbers as people write them: read, written back, and the simplest one in a gap."""

from __future__ import annotations

import math
import re
from decimal import Decimal

Quantity = int | float

NUMBER_PATTERN = r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(NUMBER_PATTERN)
# Leading zeros and a leading plus mark a code ("00501"), not a quantity.
_CANONICAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_LONGEST = 2000  # characters; any float fits, and Python refuses to read much longer digit strings


def read_quantity(text: str) -> Quantity | None:
    """The number that a text is, as int where it is whole; None if it is not a finite number."""
    if len(text) > _LONGEST or _NUMBER.fullmatch(text) is None:
        return None
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def quantity_of(value: object) -> Quantity | None:
    """A field's value as a number: an int, a finite float or a text such as "137"; None for anything else, bools included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and _CANONICAL.fullmatch(value) is not None:
        return read_quantity(value)
    return None


def write_quantity(value: Quantity) -> str:
    """The number in decimal notation, without exponent; whole numbers without a decimal point."""
    if isinstance(value, float):
        if value.is_integer():
            return str(int(value))
        return format(Decimal(repr(value)), "f")
    return str(value)


def roundness(value: Quantity) -> int:
    """Significant decimal digits, or binary ones where a whole number has fewer of them: 3000 and 256 give 1, 1500 gives 2."""
    digits = len(write_quantity(abs(value)).replace(".", "").strip("0"))
    if isinstance(value, float) and not value.is_integer():
        return digits
    whole = abs(int(value))
    return min(digits, (whole // (whole & -whole)).bit_length()) if whole else 0


def simplest_cut(low: Quantity, high: Quantity) -> Quantity:
    """The roundest t with low < t <= high: what "at least t" says when low is out and high is in. Needs low < high.

    Among equally round numbers the one nearest the middle of the gap; a whole number if both ends are whole.
    """
    return _simplest(low, high, after_low=1, before_high=0)


def simplest_end(low: Quantity, high: Quantity) -> Quantity:
    """The roundest t with low <= t < high: the inclusive upper end of a range that holds low and not high."""
    return _simplest(low, high, after_low=0, before_high=1)


def _simplest(low: Quantity, high: Quantity, after_low: int, before_high: int) -> Quantity:
    exact = (Decimal(repr(low)), Decimal(repr(high)))
    places = max(0, *(-int(number.normalize().as_tuple().exponent) for number in exact))
    first, last = (int(number.scaleb(places)) for number in exact)
    found = _roundest_whole(first + after_low, last - before_high, first + last, binary=places == 0)
    if places == 0:
        return found
    value = float(Decimal(found).scaleb(-places))
    inside = low < value <= high if after_low else low <= value < high
    if not inside:  # rounded onto the other end of a gap of one unit in the last place
        value = float(high if after_low else low)
    return int(value) if value.is_integer() else value


def _roundest_whole(first: int, last: int, doubled_middle: int, binary: bool) -> int:
    """The roundest whole number in [first, last]; ties go to the one nearest the middle, then to the smaller one."""
    best = (math.inf, math.inf, math.inf)
    found = last
    for base in (10, 2) if binary else (10,):
        step = 1
        limit = max(abs(first), abs(last), 1)
        while step <= limit * base:  # one step beyond, so that 0 is met
            lowest, highest = -(-first // step) * step, last // step * step
            if lowest > highest:
                break  # a coarser grid is a part of this one
            # No rounder multiple of this step lies nearer to the middle: it would be a multiple of a coarser step.
            nearest = min(max((doubled_middle + step - 1) // (2 * step) * step, lowest), highest)
            digits = roundness(nearest) if binary else len(str(abs(nearest)).strip("0"))
            rank = (digits, abs(2 * nearest - doubled_middle), nearest)
            if rank < best:
                best, found = rank, nearest
            step *= base
    return found
