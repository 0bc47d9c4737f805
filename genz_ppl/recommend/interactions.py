"""Who chose what: read, each fault told with its place, liked pairs kept, and thinned to users and items with enough of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from genz_ppl.data.pairs import ids_of_pairs, pairs_from_frame, read_pairs
from genz_ppl.data.split import check_split_labels
from genz_ppl.data.values import label, shorten
from genz_ppl.errors import InputError
from genz_ppl.types import FloatArray, IntArray

TIME_COLUMNS, SPLIT_COLUMN = ("time", "timestamp"), "split"


@dataclass(frozen=True, eq=False)
class Interactions:
    """R pairs of a user and an item that the user liked.

    users, items: their ids. rows, columns: (R,) positions of each pair. times: (R,) or None. test: (R,) what the column
    `split` says, or None. left_out: how many pairs were left out, by reason. outside: ids of items that only such pairs name.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    rows: IntArray
    columns: IntArray
    times: FloatArray | None = None
    test: NDArray[np.bool_] | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    outside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def matrix(self, chosen: NDArray[np.bool_] | None = None) -> sparse.csr_array:
        """(U, I) float32 of ones where a chosen pair is."""
        rows, columns = (self.rows, self.columns) if chosen is None else (self.rows[chosen], self.columns[chosen])
        ones = np.ones(len(rows), dtype=np.float32)
        found = sparse.csr_array((ones, (rows, columns)), shape=(len(self.users), len(self.items)))
        found.sort_indices()
        return found


def read_interactions(pairs: str | Path | pd.DataFrame, at_least: float | None = None, core: int = 5) -> Interactions:
    """The liked pairs of a file (.csv, .tsv, .parquet) or DataFrame whose first columns are user, item and, maybe, value.

    at_least: pairs of a smaller value are not liked; None: all pairs are, whatever their value. core: users and items with
    fewer liked pairs are taken out, again and again until none is left. A pair may be listed more than once with one value.
    A column "time" or "timestamp" holds numbers or dates; a column "split" holds "train" and "test".

    Raises InputError for files, ids and values as `read_pairs`, a pair with two values or on both sides of the split, and
    where no pair is left.
    """
    source = "the DataFrame" if isinstance(pairs, pd.DataFrame) else str(pairs)
    header = _header(pairs)
    extra = {"time": next((name for name in TIME_COLUMNS if name in header), None)}
    extra["split"] = SPLIT_COLUMN if SPLIT_COLUMN in header else None
    names = [name for name in header if name not in extra.values()][:3]
    if isinstance(pairs, pd.DataFrame):
        users, items = (tuple(dict.fromkeys(filter(None, map(label, pairs[name])))) for name in names[:2])
        read = pairs_from_frame(pairs, users, items, names, once=False)
    else:
        users, items = ids_of_pairs(pairs, 0, names), ids_of_pairs(pairs, 1, names)
        read = read_pairs(pairs, users, items, names, once=False)
    times = None if extra["time"] is None else _times(_column(pairs, extra["time"]), extra["time"], source)
    test = None if extra["split"] is None else _sides(_column(pairs, extra["split"]), source)
    if any(one is not None and len(one) != len(read) for one in (times, test)):
        raise InputError(f"{source}: has empty lines between its rows; take them out")
    cells = read.rows * len(items) + read.columns
    kept, repeated = _once(cells, read.values, times, test, lambda cell: _pair_name(cell, users, items, source))
    liked = kept if at_least is None else kept[read.values[kept] >= at_least]
    left_out = {"listed again": repeated, f"below {at_least:g}" if at_least is not None else "below": len(kept) - len(liked)}
    if not len(liked):
        top = f"; the largest value is {read.values.max():g}"
        raise InputError(f"{source}: no pair has a value of at least {at_least:g}{top}; give a smaller --at-least")
    dense = _core(read.rows[liked], read.columns[liked], core)
    left_out["fewer than core"] = int((~dense).sum())
    if not dense.any():
        raise InputError(
            f"{source}: nothing is left after taking out users and items with fewer than {core} pairs; give a smaller --core"
        )
    return _compact(users, items, read.rows, read.columns, times, test, liked[dense], left_out)


def _compact(
    users: Sequence[str],
    items: Sequence[str],
    rows: IntArray,
    columns: IntArray,
    times: FloatArray | None,
    test: NDArray[np.bool_] | None,
    kept: IntArray,
    left_out: dict[str, int],
) -> Interactions:
    """The kept pairs with the users and items that they name."""
    seen_users, new_rows = np.unique(rows[kept], return_inverse=True)
    seen_items, new_columns = np.unique(columns[kept], return_inverse=True)
    inside = set(seen_items.tolist())
    return Interactions(
        tuple(users[at] for at in seen_users),
        tuple(items[at] for at in seen_items),
        new_rows.astype(np.int64),
        new_columns.astype(np.int64),
        None if times is None else times[kept],
        None if test is None else test[kept],
        {reason: count for reason, count in left_out.items() if count},
        tuple(name for at, name in enumerate(items) if at not in inside),
    )


def _core(rows: IntArray, columns: IntArray, least: int) -> NDArray[np.bool_]:
    """(R,) which pairs are left when users and items with fewer than `least` are taken out until none is."""
    kept = np.ones(len(rows), dtype=bool)
    while True:
        few_users = np.bincount(rows[kept], minlength=rows.max() + 1) < least
        few_items = np.bincount(columns[kept], minlength=columns.max() + 1) < least
        dropped = kept & (few_users[rows] | few_items[columns])
        if not dropped.any():
            return kept
        kept &= ~dropped


def _once(
    cells: IntArray,
    values: FloatArray,
    times: FloatArray | None,
    test: NDArray[np.bool_] | None,
    pair_name: Callable[[int], str],
) -> tuple[IntArray, int]:
    """The first row of each pair (by time, where that is known), and how many others there are."""
    order = np.lexsort((np.zeros(len(cells)) if times is None else times, cells))
    same = cells[order][1:] == cells[order][:-1]
    for what, told in (("values", values), ("sides of the split", test)):
        if told is not None and (clash := same & (told[order][1:] != told[order][:-1])).any():
            at = int(np.argmax(clash))
            first, second = sorted(int(row) + 1 for row in order[at : at + 2])
            name = pair_name(int(cells[order[at]]))
            raise InputError(f"{name} is in rows {first} and {second} with two {what}; keep one of the two")
    kept = order[np.concatenate([[True], ~same])]
    return np.sort(kept), int(same.sum())


def _pair_name(cell: int, users: Sequence[str], items: Sequence[str], source: str) -> str:
    return f"{source}: the pair {shorten(users[cell // len(items)])}, {shorten(items[cell % len(items)])}"


def _header(pairs: str | Path | pd.DataFrame) -> list[str]:
    """All column names."""
    if isinstance(pairs, pd.DataFrame):
        return [str(name) for name in pairs.columns]
    file = Path(pairs).expanduser()
    ids_of_pairs(file, 0)  # says what is wrong with a file that is no table of pairs
    if file.suffix.lower() == ".parquet":
        from pyarrow import parquet

        return [name for name in parquet.read_schema(file).names if not name.startswith("__index_level_")]
    return [str(name) for name in pd.read_csv(file, sep=_separator(file), nrows=0).columns]


def _column(pairs: str | Path | pd.DataFrame, name: str) -> pd.Series:
    if isinstance(pairs, pd.DataFrame):
        return pairs.set_axis([str(one) for one in pairs.columns], axis=1)[name]
    file = Path(pairs).expanduser()
    if file.suffix.lower() == ".parquet":
        return pd.read_parquet(file, columns=[name])[name]
    return pd.read_csv(file, sep=_separator(file), usecols=[name])[name]


def _separator(file: Path) -> str:
    return "\t" if file.suffix.lower() == ".tsv" else ","


def _times(cells: pd.Series, name: str, source: str) -> FloatArray:
    """Numbers, or seconds of dates. Raises InputError with the row of what is neither."""
    plain = pd.to_numeric(cells, errors="coerce") if cells.dtype.kind != "M" else pd.Series(np.nan, cells.index)
    if plain.isna().all():
        dates = pd.to_datetime(cells, errors="coerce", utc=True, format="ISO8601") if cells.dtype.kind not in "M" else cells
        plain = dates.astype("datetime64[us, UTC]" if dates.dt.tz is not None else "datetime64[us]").astype("int64") / 1e6
        plain = plain.where(dates.notna(), np.nan)
    found = np.asarray(plain, dtype=np.float64)
    if not np.isfinite(found).all():
        row = int(np.argmax(~np.isfinite(found)))
        shown = shorten(cells.iloc[row])
        raise InputError(
            f"{source}: row {row + 1}, column {name!r}: expected a number or a date, found {shown}; correct the cell"
        )
    return found


def _sides(cells: pd.Series, source: str) -> NDArray[np.bool_]:
    labels = [label(cell) for cell in cells]
    known = check_split_labels(labels, [str(row) for row in range(1, len(labels) + 1)], SPLIT_COLUMN, source)
    return np.array([side == "test" for side in known])
