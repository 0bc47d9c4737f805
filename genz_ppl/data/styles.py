"""Numbers written for people, "$1,200" or "1.234,56 kg": how a whole column writes them, and what each cell says."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from genz_ppl.data.values import MISSING_NUMBER, PLAIN_NUMBER

#: What also stands for a gap among numbers.
_GAPS = MISSING_NUMBER | {"-", "--", "–", "—", "?", ".", "..", "n.a."}
_SPACES_AND_SIGNS = str.maketrans("\u00a0\u202f\u2009\u2212’", "   -'")
_CURRENCY = "$€£¥₹₽₩₺₫₪฿"
_BEFORE = rf"[A-Z]{{0,2}}[{_CURRENCY}]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|BRL|MXN|ZAR|Rs\.?|kr"
_UNIT = r"(?!(?<=[0-9])[A-JLN-Z]\b)°?[^\W\d_]{1,12}[23²³]?"  # "12B" is a code, but for "12K" and "12M"
_AFTER = rf"(?:[%‰°{_CURRENCY}]|{_UNIT})(?:[ /]{_UNIT})?"
_CELL = re.compile(
    rf"(?P<open>\(?)(?P<sign>[+-]?) ?(?P<before>{_BEFORE}|) ?(?P<inner>-?)"
    rf"(?P<figure>[.,]?[0-9](?:[0-9., ']*[0-9])?[.,]?(?:[eE][+-]?[0-9]{{1,3}})?) ?(?P<after>{_AFTER}|)(?P<close>\)?)"
)
# The mark between thousands and the one before decimals. Of two that read every cell the first is taken.
_MARKS = ((",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."))
_SCALES = {"": 1, "k": 1000, "K": 1000, "M": 1000000}
_SCALED = "k or M"
LONGEST_NUMBER = 40
_SHORTEST_PHONE = 7  # digits


@dataclass(frozen=True)
class NumberStyle:
    """The marks between thousands and before decimals, and what stands before and after each number of a column.

    codes: leading zeros and a leading plus are read, too; else they mark codes and phone numbers, which are no quantities.
    """

    thousands: str
    decimal: str
    before: str = ""
    after: str = ""
    codes: bool = False

    @property
    def written(self) -> str:
        """1234.5 in this style: what a schema keeps and a message shows."""
        return f"{self.before}1{self.thousands}234{self.decimal}5{' ' if self.after else ''}{self.after}"

    @classmethod
    def from_written(cls, text: str) -> NumberStyle | None:
        """The inverse of `written`; None for anything else."""
        match = re.fullmatch(r"(.*?)1([,. ']?)234([.,])5 ?(.*)", text)
        return None if match is None else cls(match[2], match[3], match[1], match[4], codes=True)

    def read(self, cell: str) -> int | float | None:
        """The number, None for a gap. Raises ValueError for a cell that is not written in this style."""
        if is_gap(cell):
            return None
        parts = _CELL.fullmatch(_normal(cell)) if len(cell) <= LONGEST_NUMBER else None
        if parts is None or parts["before"] != self.before or bool(parts["open"]) != bool(parts["close"]):
            raise ValueError("another style")
        scaled = self.after == _SCALED and parts["after"] in _SCALES
        figure = _figure(self.thousands, self.decimal, self.codes).fullmatch(parts["figure"])
        plus = parts["sign"] == "+" and not self.codes and parts["figure"].isdecimal() and not parts["after"]
        if figure is None or plus or not (scaled or parts["after"] == self.after):
            raise ValueError("another style")
        plain = figure[0].replace(self.thousands, "").replace(self.decimal, ".")
        value = float(plain) * (_SCALES[parts["after"]] if scaled else 1)
        if not math.isfinite(value):
            raise ValueError("not finite")
        minus = [parts["sign"] == "-", bool(parts["inner"]), bool(parts["open"])]
        if sum(minus) > 1:
            raise ValueError("two signs")
        number = int(plain) if plain.isdecimal() and not scaled else int(value) if scaled and value.is_integer() else value
        return -number if any(minus) else number

    def reads(self, cell: str) -> bool:
        """Whether `read` can."""
        try:
            self.read(cell)
        except ValueError:
            return False
        return True


PLAIN = NumberStyle("", ".")


def is_gap(cell: str) -> bool:
    """Whether a cell among numbers stands for nothing."""
    return cell.strip().lower() in _GAPS


def likeliest_style(cells: Collection[str], comma: bool = False, codes: bool = False) -> NumberStyle | None:
    """The style that reads most of the distinct cells; None where fewer than half of them look like numbers.

    comma: a comma before decimals is likelier than one between thousands. codes: see `NumberStyle`; without it plain numbers
    and phone numbers have no style either.
    """
    plain = all(PLAIN_NUMBER.fullmatch(cell.strip()) for cell in cells)
    cells = [cell for cell in cells if not is_gap(cell)]
    parts = [part for cell in cells if len(cell) <= LONGEST_NUMBER and (part := _CELL.fullmatch(_normal(cell)))]
    if not parts or 2 * len(parts) < len(cells) or (not codes and (plain or _are_phone_numbers(cells))):
        return None
    (before, after), _ = Counter((part["before"], part["after"]) for part in parts).most_common(1)[0]
    units = {part["after"] for part in parts}
    after = _SCALED if len(units) > 1 and units <= set(_SCALES) else after
    marks = sorted(_MARKS, key=lambda pair: pair[1] != ",") if comma else _MARKS
    styles = [NumberStyle(*pair, before, after, codes) for pair in marks]
    return max(styles, key=lambda style: sum(map(style.reads, cells)))


def rivals(style: NumberStyle, cells: Collection[str]) -> Iterator[tuple[str, int | float | None]]:
    """Cells that another pair of marks would read otherwise, with that other number, if it reads all cells, too."""
    for thousands, decimal in _MARKS:
        other = replace(style, thousands=thousands, decimal=decimal)
        if all(map(other.reads, cells)):
            yield from ((cell, other.read(cell)) for cell in cells if other.read(cell) != style.read(cell))


def _normal(cell: str) -> str:
    return cell.translate(_SPACES_AND_SIGNS).strip()


@lru_cache(maxsize=64)
def _figure(thousands: str, decimal: str, codes: bool) -> re.Pattern[str]:
    between, before = re.escape(thousands), re.escape(decimal)
    lakhs = rf"(?:{between}[0-9]{{2,3}})*" if thousands == "," else rf"(?:{between}[0-9]{{3}})*"
    whole = rf"[1-9][0-9]{{0,2}}{lakhs}{between}[0-9]{{3}}|" + ("[0-9]+" if codes else "0|[1-9][0-9]{0,14}")
    return re.compile(rf"(?:(?:{whole})(?:{before}[0-9]*)?|{before}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _are_phone_numbers(cells: Collection[str]) -> bool:
    """Digits in groups with spaces between, equally many in every cell."""
    bare = [cell.translate(_SPACES_AND_SIGNS).replace(" ", "") for cell in cells]
    grouped = any(" " in _normal(cell) for cell in cells)
    return grouped and all(cell.isdecimal() for cell in bare) and len({*map(len, bare)}) == 1 and len(bare[0]) >= _SHORTEST_PHONE
