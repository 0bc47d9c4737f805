"""Pairs of two sets of items with a value each: read in blocks, their ids matched, and every fault told with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute

from genz_ppl.data.pair_files import BLOCK_ROWS, OPENERS, Block, Cells, choose_columns
from genz_ppl.data.values import class_label, label, listing, number, shorten
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FloatArray, IntArray, Pairs

MOST_CELLS = 50_000_000
_SHOWN_IDS = 5
_UNKNOWN, _MISSING = -1, -2


@dataclass
class _Side:
    """The known ids of one side, and those of the pairs that are not among them with the first row of each."""

    what: str
    column: str
    positions: dict[str, int]
    unknown: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, what: str, column: str, ids: Iterable[object]) -> _Side:
        names = [label(identity) for identity in ids]
        positions = {name: position for position, name in enumerate(names) if name is not None}
        if not names or len(positions) < len(names):
            found = "none" if not names else "some are missing or there twice"
            raise InputError(f"the {what} ids must be there, each once, but {found}; give each {what} an id of its own")
        return cls(what, column, positions)

    def locate(self, cells: Cells, first_row: int, source: str) -> NDArray[np.int32]:
        """The position of each row's id, -1 where unknown."""
        codes, written = cells
        known = np.array([self._position(cell) for cell in written] + [_MISSING], dtype=np.int32)
        found = known[codes]
        if not (found < 0).any():
            return found
        if (found == _MISSING).any():
            row = first_row + int(np.argmax(found == _MISSING))
            raise InputError(f"{source}: row {row}, column {shorten(self.column)}: the id is missing; fill it in or drop the row")
        self._note_unknown(codes, written, found, first_row)
        return found

    def _position(self, cell: object) -> int:
        name = cell if type(cell) is str else _label(cell)
        position = self.positions.get(name) if name is not None else _MISSING
        if position is not None:
            return position
        name = _label(cell)
        if name is None:
            return _MISSING
        # pandas writes a column of whole numbers with gaps as "1.0", so this second form counts too, if the first is unknown.
        return self.positions.get(name, self.positions.get(class_label(name) or name, _UNKNOWN))

    def _note_unknown(self, codes: NDArray[Any], written: list[object], found: NDArray[Any], first_row: int) -> None:
        strange = np.flatnonzero(found < 0)
        distinct, first = np.unique(codes[strange], return_index=True)
        for position, code in sorted(zip(strange[first].tolist(), distinct.tolist(), strict=True)):
            self.unknown.setdefault(str(_label(written[code])), first_row + position)

    def complaint(self) -> str:
        """The unknown ids of this side, "" if there are none."""
        if not self.unknown:
            return ""
        shown = ", ".join(f"{shorten(name)} (row {row})" for name, row in islice(self.unknown.items(), _SHOWN_IDS))
        more = f" and {len(self.unknown) - _SHOWN_IDS} more" if len(self.unknown) > _SHOWN_IDS else ""
        counted = "1 id is" if len(self.unknown) == 1 else f"{len(self.unknown)} ids are"
        return f"column {shorten(self.column)}: {counted} not among the {self.what} ids: {shown}{more}"


def read_pairs(
    path: str | Path,
    row_ids: Sequence[object],
    column_ids: Sequence[object],
    names: Sequence[str] | None = None,
    *,
    once: bool = True,
) -> Pairs:
    """The pairs of a .csv, .tsv or .parquet file: one line each, with a row id, a column id and a value.

    row_ids, column_ids: the ids of all items of each side, in order, as `Items.ids`; 1 and "1" are the same id. names: the
    columns (row ids, column ids, values) by name; None: the first three. Without a column of values, in the file or in
    `names`, listed pairs are present: their value is 1. Text files are UTF-8 with a header. once=False: a pair may be there
    twice, and the rows are as in the file.

    Raises InputError for a file that cannot be read or is empty, missing columns, ids that are missing or not among the
    known ones, values that are no finite number, and pairs that are there twice. Rows are counted from 1, header not counted.
    """
    file = _pair_file(path)
    try:
        columns, blocks = OPENERS[file.suffix.lower()](file, names)
        return _collect(blocks, str(file), columns, row_ids, column_ids, once)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path and its permissions") from None


def ids_of_pairs(path: str | Path, side: int, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The distinct row ids (side 0) or column ids (side 1) of a file of pairs, by first appearance: a side without a table.

    Raises InputError as `read_pairs` does for files.
    """
    file, found = _pair_file(path), dict[str, None]()
    for block in OPENERS[file.suffix.lower()](file, names)[1]:
        codes, written = (block.row_ids, block.column_ids)[side]
        _, first = np.unique(codes, return_index=True)
        for position in sorted(first.tolist()):
            code = int(codes[position])
            name = None if code < 0 else _label(written[code])
            if name is not None:
                found[name] = None
    return tuple(found)


def _pair_file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if file.suffix.lower() not in OPENERS:
        raise InputError(f"{file}: unknown suffix {file.suffix!r}; known are {', '.join(OPENERS)}: save as one of these")
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; check the path")
    return file


def pairs_from_frame(
    frame: pd.DataFrame,
    row_ids: Sequence[object],
    column_ids: Sequence[object],
    names: Sequence[str] | None = None,
    name: str = "the DataFrame",
    *,
    once: bool = True,
) -> Pairs:
    """The pairs of a DataFrame's rows; arguments and errors as `read_pairs`. name: for messages."""
    columns = choose_columns([str(column) for column in frame.columns], names, name)
    chosen = frame.set_axis([str(column) for column in frame.columns], axis=1)[columns]

    def blocks() -> Iterator[Block]:
        for start in range(0, len(chosen), BLOCK_ROWS):
            part = chosen.iloc[start : start + BLOCK_ROWS]
            sides = [_factorized(part[column], name) for column in columns[:2]]
            yield Block(sides[0], sides[1], part[columns[2]] if len(columns) == 3 else None, len(part))

    return _collect(blocks(), name, columns, row_ids, column_ids, once)


def with_absent(pairs: Pairs) -> Pairs:
    """All n_rows * n_columns pairs, row after row: those that are not listed get the value 0.

    Raises OptionError for more than 50 million cells.
    """
    cells = pairs.n_rows * pairs.n_columns
    if cells > MOST_CELLS:
        raise OptionError(
            f"pairs that are not listed cannot become zeros: {pairs.n_rows} x {pairs.n_columns} are {cells} cells, more than "
            f"{MOST_CELLS}; take fewer items, or list a sample of the zeros among the pairs"
        )
    values = np.zeros((pairs.n_rows, pairs.n_columns))
    values[pairs.rows, pairs.columns] = pairs.values
    rows, columns = np.divmod(np.arange(cells, dtype=np.int64), max(pairs.n_columns, 1))
    return Pairs(rows, columns, values.ravel(), pairs.n_rows, pairs.n_columns)


def _collect(
    blocks: Iterator[Block],
    source: str,
    columns: Sequence[str],
    row_ids: Sequence[object],
    column_ids: Sequence[object],
    once: bool,
) -> Pairs:
    sides = _Side.of("row", columns[0], row_ids), _Side.of("column", columns[1], column_ids)
    if all(side.positions.get(column, -1) >= 0 for side, column in zip(sides, columns, strict=False)):
        shown = listing(columns)
        raise InputError(f"{source}: the header ({shown}) is itself a pair of known ids; add a first line with column names")
    found: list[list[NDArray[Any]]] = [[], [], []]
    n_rows = 0
    for block in blocks:
        found[0].append(sides[0].locate(block.row_ids, n_rows + 1, source))
        found[1].append(sides[1].locate(block.column_ids, n_rows + 1, source))
        if block.values is not None:
            found[2].append(_numbers(block.values, n_rows + 1, source, columns[2]))
        n_rows += block.n_rows
    if not n_rows:
        raise InputError(f"{source}: there are no pairs; at least one is needed")
    complaints = [side.complaint() for side in sides if side.unknown]
    if complaints:
        raise InputError(f"{source}: {'; '.join(complaints)}; correct the ids, add the items or drop these pairs")
    rows, others = (np.concatenate(parts).astype(np.int64) for parts in found[:2])
    values = np.concatenate(found[2]) if found[2] else np.ones(n_rows)
    if once:
        _check_once(rows, others, len(sides[1].positions), source, row_ids, column_ids)
    return Pairs(rows, others, values, len(sides[0].positions), len(sides[1].positions))


def _check_once(
    rows: IntArray, columns: IntArray, n_columns: int, source: str, row_ids: Sequence[object], column_ids: Sequence[object]
) -> None:
    cells = rows * n_columns + columns
    ordered = np.sort(cells)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    second = int(np.argmax(pd.Series(cells).duplicated().to_numpy()))
    first = int(np.argmax(cells == cells[second]))
    pair = f"the pair {shorten(label(row_ids[rows[second]]))}, {shorten(label(column_ids[columns[second]]))}"
    raise InputError(f"{source}: {pair} is in rows {first + 1} and {second + 1}; keep one of the two")


def _numbers(values: Any, first_row: int, source: str, column: str) -> FloatArray:
    """The values of a block as float64. Raises InputError for the first one that is missing or no finite number."""
    try:
        found = _fast_numbers(values)
        if np.isfinite(found).all():
            return found
    except (pyarrow.ArrowException, TypeError, ValueError):
        pass
    cells = values.to_pylist() if isinstance(values, pyarrow.Array) else values.tolist()
    result = np.empty(len(cells))
    for position, cell in enumerate(cells):
        place = f"{source}: row {first_row + position}, column {shorten(column)}"
        try:
            result[position] = number(cell)
        except (ValueError, TypeError):
            raise InputError(
                f"{place}: expected a finite number, found {shorten(cell)}; correct the cell or drop the row"
            ) from None
        if np.isnan(result[position]):
            raise InputError(f"{place}: the value is missing; fill it in or drop the row")
    return result


def _fast_numbers(values: Any) -> FloatArray:
    if isinstance(values, pyarrow.Array):
        if pyarrow.types.is_string(values.type) or pyarrow.types.is_large_string(values.type):
            values = compute.utf8_trim_whitespace(values)
        return np.asarray(compute.cast(values, pyarrow.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return np.array(values.to_numpy(dtype=np.float64, na_value=np.nan))
    raise TypeError("not numbers yet")


def _factorized(cells: pd.Series, source: str) -> Cells:
    try:
        codes, uniques = pd.factorize(cells)
    except TypeError:
        raise InputError(f"{source}: column {shorten(str(cells.name))} holds no single values; its cells must be ids") from None
    return codes, list(uniques.tolist())


def _label(cell: object) -> str | None:
    try:
        return label(cell) or None
    except TypeError:  # binary data
        return str(cell)
