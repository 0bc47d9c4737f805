"""Columns that should perhaps not be read: those that give a target away, ids, and rows that are there twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.cells import Cells, NumberCells, cells_of
from genz_ppl.data.columns import Schema
from genz_ppl.data.values import shorten
from genz_ppl.rows import Rows
from genz_ppl.types import FieldValue, FloatArray, Item, Numbers

# Shares of a target that a column explains: of a likely copy, and of one that is also called alike, so likely a prediction.
COPY, NAMESAKE = 0.95, 0.64
# A column with so large a share of different values is an id.
_ID_SHARE = 0.95
# Data sets that are known by name, and so are their columns.
_KNOWN = ("binary", "houses", "movielens", "netflix", "things")
# Rows that shares are taken of, evenly spaced, where there are more.
MOST_LOOKED_AT = 20_000
_FEWEST = 10  # items; below, anything may happen by chance


def suspects(name: str, schema: Schema, items: Sequence[Item], targets: Numbers | None, covariates: FloatArray) -> Iterator[str]:
    """What is suspicious, a line each. The arguments are the parts of `Items`; of many items shares are taken of a part."""
    if targets is None or len(items) < _FEWEST or name.partition(":")[0].partition("-")[0] in _KNOWN:
        return
    some = slice(None, None, 1 + (len(items) - 1) // MOST_LOOKED_AT)
    twice = _repeated(items, schema, targets) if 2 * _distinct(targets) > len(items) else np.zeros(len(items), dtype=bool)
    once = ~twice[some]  # a row that is there again tells its target by any of its names
    columns = {name: _column(items, name) for name in schema.readable}
    columns |= {name: NumberCells(covariates[:, index]) for index, name in enumerate(schema.covariates)}
    for column, cells in columns.items():
        values = cells[some].tolist()
        first = [value for value, used in zip(values, once, strict=True) if used]
        for name, target, labels in zip(schema.target, targets[some].T, schema.classes or [()] * len(targets.T), strict=True):
            share = _explained(first, target[once], len(labels))
            if share >= COPY or (share >= NAMESAKE and _alike(column, name)):
                yield (
                    f"column {shorten(column)} tells {'almost all' if share >= COPY else 'much'} of target {shorten(name)} "
                    f"(R² {share:.2f}): if it is a copy of it or was made from it, leave it out with --drop (drop=)"
                )
                break
        if _are_ids(values) and (len(values) == len(items) or _are_ids(cells.tolist())):
            yield (
                f"column {shorten(column)} has another value in almost every row, like an id, and can explain little; "
                "leave it out with --drop (drop=) or --id (id=)"
            )
    if twice.any():
        count = int(twice.sum())
        yield f"rows repeat the text and target of others ({count}): they may be learned from and tested on; keep one of each"


def _column(items: Sequence[Item], name: str) -> Cells:
    return items.column(name) if isinstance(items, Rows) else cells_of(item.fields[name] for item in items)


def _are_ids(values: Sequence[FieldValue]) -> bool:
    """Whether almost all values are different words."""
    words = [value for value in values if isinstance(value, str) and not value.isdecimal()]
    several = len(words) < _FEWEST or any(len(word.split()) > 1 for word in words)
    return not several and len(set(words)) >= _ID_SHARE * len(words)


def _repeated(items: Sequence[Item], schema: Schema, targets: Numbers) -> NDArray[np.bool_]:
    """Which rows say what an earlier one says, with the same target, (T,)."""
    twice, places = np.zeros(len(items), dtype=bool), np.arange(len(items))
    if isinstance(items, Rows) and len(items) > MOST_LOOKED_AT:  # of many only those are read whose numbers and names repeat
        numbers = [cells.floats() for cells in map(items.column, schema.readable) if isinstance(cells, NumberCells)]
        key = _hashed([*targets.T, *numbers])
        places = np.flatnonzero(pd.Series(key).duplicated(keep=False))
        items, targets = items.take(places), targets[places]
    seen: set[tuple[str, tuple[float, ...]]] = set()
    for place, item, row in zip(places.tolist(), items, map(tuple, targets.tolist()), strict=True):
        twice[place] = (item.text, row) in seen
        seen.add((item.text, row))
    return twice


def _distinct(targets: Numbers) -> int:
    """How many different rows there are."""
    if len(targets) <= MOST_LOOKED_AT:
        return len(np.unique(targets, axis=0))
    key = _hashed(targets.T)
    key.sort()
    return 1 + int(np.count_nonzero(key[1:] != key[:-1]))


def _hashed(columns: Iterable[Numbers]) -> NDArray[np.uint64]:
    """The same number for rows of the same numbers."""
    key = np.zeros(1, dtype=np.uint64)
    for values in columns:
        key = key * np.uint64(31) + pd.util.hash_array(np.ascontiguousarray(values))
    return key


def _explained(values: Sequence[FieldValue], target: FloatArray, n_classes: int) -> float:
    """The share of a target's variance that a column explains: as a line, by its order, or as names; 0 where little is known."""
    there = np.array([value is not None for value in values]) & np.isfinite(target)
    known = [value for value, used in zip(values, there, strict=True) if used]
    if len(known) < _FEWEST:
        return 0.0
    y = target[there]
    if any(isinstance(value, str | bool) for value in known) or n_classes > 2:
        return _by_names([str(value) for value in known], np.eye(n_classes)[y.astype(int)] if n_classes else y[:, None])
    x = np.array([pd.Timestamp(value).timestamp() if isinstance(value, date) else value for value in known], dtype=np.float64)
    x, y = (values / (np.abs(values).max() or 1.0) for values in (x, y))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    ranks, top = pd.Series(x).rank().to_numpy(), y == y.max()
    if len(np.unique(y)) == 2:  # how well the order of the column parts the two: 1 where the area under the curve is 1 or 0
        return float((2 * (ranks[top].mean() - ranks[~top].mean()) / len(y)) ** 2)
    return float(max(np.corrcoef(x, y)[0, 1] ** 2, np.corrcoef(ranks, pd.Series(y).rank())[0, 1] ** 2))


def _by_names(names: Sequence[str], y: FloatArray) -> float:
    """The share that the means of the names explain, less what as many names explain by chance.

    Of items whose name another one has: where those are few, of a rare class there may be none among them.
    """
    codes = np.unique(names, return_inverse=True)[1]
    shared = np.bincount(codes)[codes] > 1
    levels, codes, counts = np.unique(codes[shared], return_inverse=True, return_counts=True)
    y, free = y[shared], len(codes) - len(levels)
    if free < _FEWEST or len(levels) < 2:
        return 0.0
    means = np.stack([np.bincount(codes, column) / counts for column in y.T], axis=1)
    within, total = ((y - means[codes]) ** 2).sum() / free, ((y - y.mean(axis=0)) ** 2).sum() / (len(y) - 1)
    return float(1 - within / total) if total > 0 else 0.0


def _alike(column: str, target: str) -> bool:
    """Whether a column is called a prediction, or by half of the words of the target's name."""
    names, wanted = (set(re.findall(r"[a-z]{3,}", name.lower())) for name in (column, target))
    return any(name.startswith("predict") for name in names) or 2 * len(names & wanted) >= max(1, len(wanted))
