"""`Table`: the rows of a source before their columns have roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from genz_ppl.cells import Cells, NumberCells, cells_of
from genz_ppl.data.values import listing, shorten, typed_column
from genz_ppl.data.whole_columns import frame_cells, numbers_of, texts_of, typed_cells, written_cells
from genz_ppl.errors import InputError


@dataclass(frozen=True, eq=False)
class Table:
    """What a source holds, see above.

    frame: one row per item. name: for messages. folder: what relative image paths start from.
    written: the cells are text as written in a file, still without types.
    unread: columns that a model does not read unless told to: an index, a column without a name.
    commas: commas before decimals are likely, since they do not separate cells.
    values: columns whose cells were read as a whole (see `readings`). styled: those of them that are numbers written as text.
    room: the memory there is, in bytes, see `genz_ppl.room`; None: as much as it takes.
    """

    frame: pd.DataFrame
    name: str
    folder: Path
    written: bool = False
    unread: frozenset[str] = frozenset()
    commas: bool = False
    values: Mapping[str, Cells] = field(default_factory=dict)
    styled: frozenset[str] = frozenset()
    room: int | None = None
    _typed: dict[str, Cells] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return [str(name) for name in self.frame.columns]

    def cells(self, column: str) -> list[object]:
        """The column's cells as the source holds them, numbers written as text as numbers once they have been read."""
        return list(self.values[column] if column in self.styled else self.frame[column].tolist())

    def plain_cells(self, column: str) -> Cells:
        """The column's cells as plain values, text where they are written. Raises InputError for binary data."""
        if self.written:
            texts = texts_of(self.frame[column])
            return cells_of(self.frame[column].tolist()) if texts is None else written_cells(texts)
        try:
            return frame_cells(self.frame[column])
        except TypeError:
            raise InputError(f"{self.name}: column {shorten(column)} holds binary data: name others with --text") from None

    def fields(self, column: str) -> Cells:
        """The column's cells as typed plain values, as they were read. Raises InputError for binary data."""
        return self.values[column] if column in self.values else self._typed_cells(column)

    def numbers(self, column: str) -> NumberCells | None:
        """The column as finite numbers; None where some cell is none, or not surely."""
        if self.is_binary(column):
            return None
        return numbers_of(self.values[column] if column in self.styled else self._typed_cells(column))

    def _typed_cells(self, column: str) -> Cells:
        """The cells before it was settled how they are read, worked out once."""
        if column not in self._typed:
            texts = texts_of(self.frame[column]) if self.written else None
            if texts is not None:
                self._typed[column] = typed_cells(texts)
            else:
                self._typed[column] = (
                    cells_of(typed_column(self.frame[column].tolist())) if self.written else self.plain_cells(column)
                )
        return self._typed[column]

    def forget(self, column: str) -> None:
        """Let go of a column that is not asked for again."""
        self._typed.pop(column, None)
        self.frame.pop(column)
        if isinstance(self.values, dict):
            self.values.pop(column, None)

    def is_binary(self, column: str) -> bool:
        """Whether the column holds binary data."""
        try:
            self._typed_cells(column)
        except InputError:
            return True
        return False

    def numeric_columns(self) -> list[str]:
        """Columns that hold numbers, true/false not counted."""
        return [column for column in self.columns if self._is_numeric(column)]

    def _is_numeric(self, column: str) -> bool:
        kinds = set() if self.is_binary(column) else self.fields(column).kinds()
        return bool(kinds) and kinds <= {int, float}


def table_from_frame(frame: pd.DataFrame, name: str = "the DataFrame", folder: Path | None = None) -> Table:
    """A table of a DataFrame's cells; named index levels become columns that are not read unless named.

    Raises InputError for duplicate column names and for a DataFrame without rows.
    """
    named = [str(level) for level in frame.index.names if level is not None and level not in frame.columns]
    table = frame.reset_index(level=[level for level in frame.index.names if str(level) in named]) if named else frame
    columns = [str(column) for column in table.columns]
    check_columns(columns, name)
    if not len(table):
        raise InputError(f"{name}: there are no rows; at least one is needed")
    return Table(table.set_axis(columns, axis=1), name, folder or Path(), unread=frozenset(named))


def check_columns(columns: Sequence[str], name: str) -> None:
    """Raise InputError for a name that two columns have."""
    twice = [column for column in dict.fromkeys(columns) if columns.count(column) > 1]
    if twice:
        raise InputError(f"{name}: duplicate column names ({listing(twice)}); give each column its own name")
