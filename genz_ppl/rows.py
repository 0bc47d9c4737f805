"""`Rows`: items as columns; an `Item` is made when it is asked for, so that a million of them need not be objects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import MANY, Cells, TextCells, text_cells
from genz_ppl.types import FieldValue, IntArray, Item

#: From the columns of some rows to what a model reads of each.
Render = Callable[[Mapping[str, Sequence[FieldValue]]], list[str]]
Made = TypeVar("Made")
# The most rows whose items are kept once they are made, and how many are made at a time of more.
MOST_KEPT, AT_A_TIME = 50_000, 4096


@dataclass(frozen=True, eq=False)
class Store:
    """Columns that several `Rows` may be parts of.

    ids: (T,) texts. fields: what `Item.fields` holds, by column. shown: the same as it is written in texts. images: of each row,
    () for none at all. kept: what was worked out of whole columns, such as an index of words.
    """

    ids: Cells
    fields: Mapping[str, Cells]
    shown: Mapping[str, Cells]
    render: Render
    images: Sequence[tuple[Path, ...]] = ()
    kept: dict[Hashable, Any] = field(default_factory=dict)

    def items(self, places: IntArray | slice) -> list[Item]:
        """The items at some places."""
        ids, columns, texts = self.read(places)
        rows = zip(*columns.values(), strict=True) if columns else [()] * len(ids)
        fields = [dict(zip(columns, row, strict=True)) for row in rows]
        images: Any = [()] * len(ids)
        if self.images:
            images = self.images[places] if isinstance(places, slice) else [self.images[place] for place in places.tolist()]
        return [Item(*parts) for parts in zip(ids, texts, fields, images, strict=True)]

    def read(self, places: IntArray | slice) -> tuple[list[str], dict[str, list[FieldValue]], list[str]]:
        """Ids, fields by name and texts of the items at some places."""
        ids = cast("list[str]", self.ids.take(places).tolist())
        columns = {name: cells.take(places).tolist() for name, cells in self.fields.items()}
        styled = {name: cells for name, cells in self.shown.items() if cells is not self.fields[name]}
        shown = columns | {name: cells.take(places).tolist() for name, cells in styled.items()}
        return ids, columns, self.render(shown) if shown else [""] * len(ids)


class Rows(Sequence[Item]):
    """Rows of a store, all of them or those at `places`, (T,) int64, in this order. Equal to any sequence of equal items."""

    def __init__(self, store: Store, places: IntArray | None = None) -> None:
        self.store, self.places = store, places
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.store.ids) if self.places is None else len(self.places)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Item | Rows:
        if isinstance(index, slice):
            return self.take(np.arange(len(self), dtype=np.int64)[index])
        row = range(len(self))[operator.index(index)]
        place = row if self.places is None else int(self.places[row])
        if len(self.store.ids) <= MOST_KEPT:
            return self._all()[place]
        return self.store.items(slice(place, place + 1))[0]

    def __iter__(self) -> Iterator[Item]:
        if len(self.store.ids) <= MOST_KEPT:
            made = self._all()
            yield from made if self.places is None else (made[place] for place in self.places.tolist())
            return
        for part in self.parts():
            yield from self.store.items(part)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return self is other or all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list: items hold mappings

    def __add__(self, other: Sequence[Item]) -> tuple[Item, ...]:
        return (*self, *other)

    def __repr__(self) -> str:
        return f"Rows({len(self)} items)"

    def take(self, positions: IntArray) -> Rows:
        """The rows at these positions (from 0), in this order, of the same store."""
        return Rows(self.store, positions if self.places is None else self.places[positions])

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that every item has."""
        return tuple(self.store.fields)

    @property
    def id_cells(self) -> Cells:
        """The ids, (T,)."""
        return self.here(self.store.ids)

    def column(self, name: str) -> Cells:
        """A field of all rows, (T,)."""
        return self.here(self.store.fields[name])

    def here(self, cells: Cells) -> Cells:
        """Of a column of the store the cells of these rows."""
        return cells if self.places is None else cells.take(self.places)

    def parts(self) -> Iterator[IntArray | slice]:
        """The places of the rows in the store, a few at a time."""
        for start in range(0, len(self), AT_A_TIME):
            part = slice(start, min(len(self), start + AT_A_TIME))
            yield part if self.places is None else self.places[part]

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` works out of the store, once for all its rows."""
        if key not in self.store.kept:
            self.store.kept[key] = make()
        made: Made = self.store.kept[key]
        return made

    def kept_here(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` works out of these rows alone, once."""
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def mask(self) -> NDArray[np.bool_] | None:
        """Which rows of the store these are, None where they are all."""
        if self.places is None:
            return None
        mask = np.zeros(len(self.store.ids), dtype=np.bool_)
        mask[self.places] = True
        return mask

    def _all(self) -> list[Item]:
        return self.kept("items", lambda: self.store.items(slice(0, len(self.store.ids))))


def rows_of(items: Sequence[Item]) -> Rows | None:
    """Items as columns, those of `genz_ppl.Items` too; None where they are not held so."""
    found = getattr(items, "items", items)
    return found if isinstance(found, Rows) else None


def chosen(items: Sequence[Item], positions: IntArray) -> Sequence[Item]:
    """The items at some positions, as columns where they are held so."""
    rows = rows_of(items)
    return tuple(items[position] for position in positions.tolist()) if rows is None else rows.take(positions)


def ids_of(items: Sequence[Item]) -> Cells:
    """The ids of items, (len(items),)."""
    rows = rows_of(items)
    return text_cells(item.id for item in items) if rows is None else rows.id_cells


def places_of(names: Cells, known: Cells) -> IntArray:
    """(len(names),) where each name is first among those that are known, -1 for one that is not."""
    if isinstance(names, TextCells) and isinstance(known, TextCells):
        if len(names) < len(known):  # looking up takes some 100 bytes of each that is looked among
            return _few_places(names.texts, known.texts)
        found = pyarrow.compute.index_in(names.texts, known.texts).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    places = {name: len(known) - place for place, name in enumerate(reversed(known.tolist()), start=1)}
    return np.array([places.get(name, -1) for name in names], dtype=np.int64)


def _few_places(names: pyarrow.Array, known: pyarrow.Array) -> IntArray:
    """`places_of` fewer names than there are: the many are looked up among the few."""
    alike = pyarrow.compute.index_in(names, names).to_numpy(zero_copy_only=False)
    which = pyarrow.compute.index_in(known, names)
    there = np.flatnonzero(which.is_valid().to_numpy(zero_copy_only=False))
    found = np.full(len(names), -1, dtype=np.int64)
    found[which.take(pyarrow.array(there)).to_numpy(zero_copy_only=False)[::-1]] = there[::-1]  # the first is written last
    places: IntArray = found[alike]
    if len(known) >= MANY:
        pyarrow.default_memory_pool().release_unused()
    return places
