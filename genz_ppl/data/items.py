"""Items: the rows of a table with their targets, covariates and index, checked once and then unchangeable."""

from __future__ import annotations

import hashlib
import json
import operator
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.cells import LARGE, widened
from genz_ppl.data import extract
from genz_ppl.data.columns import BY_WORDS, Classes, FileRoles, Names, Readings, Roles, Schema, Writing, resolve_schema
from genz_ppl.data.files import Written
from genz_ppl.data.frames import as_frame, in_python
from genz_ppl.data.index import index_ids, index_of
from genz_ppl.data.reading import read_table
from genz_ppl.data.readings import read_columns
from genz_ppl.data.split import Split, column_split, group_split, hold_back, random_split
from genz_ppl.data.suspects import suspects
from genz_ppl.data.table import Table, table_from_frame
from genz_ppl.data.values import listing, shorten
from genz_ppl.data.written import written
from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.mapped import is_mapped, let_go, rows_at
from genz_ppl.rows import Rows, chosen, ids_of
from genz_ppl.types import FloatArray, IntArray, Item, Numbers

Array = TypeVar("Array", bound=NDArray[Any])
# Items whose numbers are copied together.
_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False, repr=False)
class Items(Sequence[Item]):
    """T items in order: `items[3]` is an Item, `items[3:5]` and `items.take([3, 4])` are Items.

    items: T items, held as columns (`genz_ppl.rows.Rows`) where they were read from a table. schema: the role of each column.
    covariates: (T, P) float64, finite.
    targets: (T, D) float64, NaN where missing; None where the source has no target columns. Where targets are classes they
    are positions in `class_names`. Of 16 million numbers or more float32 where a file has them so; results are then those of
    float64 but for rounding (6e-8).
    split_labels: "train" or "test" for each item, or None. group_labels: the group of each item, or None;
    the split keeps groups together only if the schema names a group. varying_labels: the group of each item that intercept and
    covariate weights vary by, or None. The arrays are read-only.
    index: what tables by item come back on, (T,): of a DataFrame its own index; of a file the id column, or the row numbers; of
    items made by hand (None) the ids, named "id".
    Raises InputError if the sizes do not agree.
    """

    items: Sequence[Item]
    schema: Schema
    targets: FloatArray | None
    covariates: FloatArray
    split_labels: tuple[str, ...] | None = None
    group_labels: tuple[str, ...] | None = None
    name: str = "items"
    varying_labels: tuple[str, ...] | None = None
    index: pd.Index = None  # type: ignore[assignment]  # set below where it is not given

    def __post_init__(self) -> None:
        if not isinstance(self.items, Rows):
            object.__setattr__(self, "items", tuple(self.items))
        object.__setattr__(self, "index", pd.Index(self.ids, name="id") if self.index is None else self.index)
        if len(self.index) != len(self):
            raise InputError(f"{len(self)} items need an index of as many entries, not {len(self.index)}")
        object.__setattr__(self, "covariates", _frozen_array(self.covariates, len(self), self.covariate_names, "covariates"))
        if self.targets is not None:
            object.__setattr__(self, "targets", _frozen_array(self.targets, len(self), self.target_names, "targets"))
        for role, column, labels in (
            ("split", self.schema.split, self.split_labels),
            ("group", self.schema.group, self.group_labels),
            ("varying", self.schema.varying, self.varying_labels),
        ):
            if labels is None and column is not None:
                raise InputError(f"the schema names the {role} column '{column}', but there are no {role} labels")
            if labels is not None and len(labels) != len(self):
                raise InputError(f"{len(self)} items need as many {role} labels, not {len(labels)}")

    @property
    def ids(self) -> tuple[str, ...]:
        """The T ids."""
        return cast("tuple[str, ...]", tuple(ids_of(self.items)))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The D names of the target columns, also where the targets themselves are absent."""
        return self.schema.target

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each target: target d is `class_names[d][code]`. () where targets are numbers."""
        return self.schema.classes

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """The P names of the covariate columns."""
        return self.schema.covariates

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Items: ...
    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.items[operator.index(index)]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __repr__(self) -> str:
        targets, covariates = listing(self.target_names, most=4), listing(self.covariate_names, most=4)
        return f"Items({self.name!r}, {len(self)} items, targets: {targets or 'none'}; covariates: {covariates or 'none'})"

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        id: str | None = None,
        target: Names = (),
        covariates: Names = (),
        text: Names | None = None,
        images: Names = (),
        split: str | None = None,
        group: str | None = None,
        varying: str | None = None,
        require_target: bool = True,
        classes: Classes = False,
        as_text: Names = (),
        as_number: Names = (),
        drop: Names = (),
        readings: Readings = (),
        name: str = "the DataFrame",
    ) -> Items:
        """Items of a DataFrame's rows, which keep its index: predictions and posterior come back on it.

        frame: of pandas, polars or pyarrow, a Hugging Face `Dataset`, or any other table with columns that `as_frame` knows.

        id: the column of unique ids; None: the index's values as text (those of several levels joined by "|"), which must be
        unique then. target: the columns to explain, numbers, gaps allowed; also by pattern, "y*", or as a range, "y0:y49".
        covariates: columns of finite numbers, likewise. text: the columns a model reads, or a template "{title} ({year})";
        None: all but id, target, split and images. images: columns of image paths (relative to the file, here to the
        working directory). split: a column of "train" and "test". group: rows of one group stay on one side of the split.
        varying: a column of names by whose values intercept and covariate weights vary, partially pooled.
        require_target: False for prediction: targets may be absent, then `targets` is None, and unreadable ones count as
        missing. classes: True: the target columns hold class labels, words or numbers; `class_names` are the sorted distinct
        labels of each and `targets` their positions 0, 1, …. To code new items as known ones, give their `class_names`
        instead: any other label is an InputError, or counts as missing where targets are not required.
        as_text, as_number: columns read as text, or as numbers, whatever they look like. drop: columns not to be read.
        readings: how columns are read, as in the schema of other items; else numbers and dates that are written as text are
        found by all of a column's cells, and a GenzWarning says so. name: for messages.

        Raises InputError for a fault of the data and OptionError for roles that are missing or clash, one line each.
        """
        roles = Roles(id=id, target=target, covariates=covariates, text=text, images=images, split=split, group=group)
        roles |= Roles(varying=varying, require_target=require_target, classes=classes, readings=readings)
        roles |= Roles(as_text=as_text, as_number=as_number, drop=drop)
        frame = as_frame(frame)
        with in_python():
            return _assemble(table_from_frame(frame, name), roles, frame.index)

    @classmethod
    def from_file(cls, path: str | Path, kind: str = "", **roles: Unpack[FileRoles]) -> Items:
        """Items of a file, by its suffix (or `kind`, such as ".csv"), also compressed, of a folder of parquet files with the same
        columns, of an address (https://..., s3://..., with the extra `remote`), or of "-", standard input.

        Files are .csv, .tsv, .json, .jsonl, .parquet, and .xlsx with the extra `excel`. sep, decimal ("," or ".") and encoding
        say how a text is written, where that is not found out. memory: a size such as "2GB"; targets that would take more than a
        fourth of it are kept in a temporary file and mapped. Other keywords and errors: see `from_frame`. In text a column
        of numbers gives int and float fields; "01234" and the like stay text; empty cells are missing.
        """
        unknown = sorted(set(roles) - set(FileRoles.__annotations__))
        if unknown:
            raise TypeError(f"unexpected keyword {listing(unknown)}: known are {listing(FileRoles.__annotations__)}")
        written = Written(*(roles.get(name) for name in Writing.__annotations__))  # type: ignore[arg-type]
        return _assemble(read_table(path, written, kind), roles)

    @classmethod
    def from_csv(cls, path: str | Path, **roles: Unpack[FileRoles]) -> Items:
        """As `from_file`, of cells separated by commas with a header, whatever the file's suffix."""
        return cls.from_file(path, ".csv", **roles)

    @classmethod
    def from_tsv(cls, path: str | Path, **roles: Unpack[FileRoles]) -> Items:
        """As `from_csv`, with tabs between the cells."""
        return cls.from_file(path, ".tsv", **roles)

    @classmethod
    def from_parquet(cls, path: str | Path, **roles: Unpack[FileRoles]) -> Items:
        """As `from_file`, of a parquet file."""
        return cls.from_file(path, ".parquet", **roles)

    @classmethod
    def from_jsonl(cls, path: str | Path, **roles: Unpack[FileRoles]) -> Items:
        """As `from_file`, of one JSON object per line."""
        return cls.from_file(path, ".jsonl", **roles)

    def take(self, indices: Iterable[int]) -> Items:
        """The items at these positions (or where a boolean mask of length T is true), in this order."""
        positions = _positions(indices if isinstance(indices, np.ndarray) else np.asarray(list(indices)), len(self))
        targets = None if self.targets is None else _frozen(rows_at(self.targets, positions))
        return Items(
            items=chosen(self.items, positions),
            schema=self.schema,
            targets=targets,
            covariates=_frozen(self.covariates[positions]),
            split_labels=_take_labels(self.split_labels, positions),
            group_labels=_take_labels(self.group_labels, positions),
            name=self.name,
            varying_labels=_take_labels(self.varying_labels, positions),
            index=self.index[positions],
        )

    def split_indices(self, seed: int, test_fraction: float = 0.2, honest: float = 0.0) -> Split:
        """Positions for fitting and testing: by the split column or the group column the schema names, else at random.

        Random: the first round(T * (1 - test_fraction)) of `numpy.random.RandomState(seed).permutation(T)` are train. honest: the
        share of items that are taken from train and held back, see `hold_back`.
        Raises OptionError for a seed or fraction out of range and if fewer than 2 train or 1 test items are left.
        """
        if self.schema.split is not None and self.split_labels is not None:
            return hold_back(column_split(self.split_labels, self.schema.split), honest, seed, shuffled=False)
        if self.schema.group is not None and self.group_labels is not None:
            split = group_split(self.group_labels, seed, test_fraction, self.schema.group)
            return hold_back(split, honest, seed, self.group_labels)
        return hold_back(random_split(len(self), seed, test_fraction), honest, seed)

    def as_embedding(self) -> Items:
        """The same items, their targets one vector each whose direction matters, not its length: runs then explain that."""
        return replace(self, schema=replace(self.schema, embedding=True))

    def fingerprint(self) -> str:
        """The sha256 of all that the items are; equal only if none of it has changed.

        That is ids, texts, fields, targets, covariates, classes and the groups that effects vary by, in order.
        """
        digest = hashlib.sha256()
        for said in written(self, with_id=True):
            digest.update(said.encode() + b"\n")
        for names, values in ((self.target_names, self.targets), (self.covariate_names, self.covariates)):
            digest.update(json.dumps([names, None if values is None else values.shape]).encode() + b"\n")
            for start in range(0, 0 if values is None else len(values), _AT_ONCE):
                # One bit pattern for all NaN, one byte order for all machines, and whatever memory they are held in.
                part = cast("Numbers", values)[start : start + _AT_ONCE]
                part = widened(part) if part.dtype == np.float32 else part
                digest.update(np.where(np.isnan(part), np.nan, part).astype("<f8").tobytes())
            if values is not None:
                let_go(values)
        if self.class_names:  # numbers keep the fingerprint they had before there were classes
            digest.update(json.dumps(self.class_names).encode() + b"\n")
        if self.varying_labels is not None:
            digest.update(json.dumps([self.schema.varying, self.varying_labels]).encode() + b"\n")
        return digest.hexdigest()


def _frozen(values: Array) -> Array:
    """An array that nobody else has, read-only: `Items` takes it as it is."""
    values.flags.writeable = False
    return values


def _frozen_array(values: Numbers, n_items: int, names: Sequence[str], what: str) -> Numbers:
    """float64, or of `LARGE` or more numbers as narrow as they come."""
    frozen = isinstance(values, np.ndarray) and (values.flags.owndata or is_mapped(values)) and not values.flags.writeable
    kept = frozen and (values.dtype == np.float64 or (values.dtype == np.float32 and values.size >= LARGE))
    array = values if kept else np.array(values, dtype=np.float64)
    if array.shape != (n_items, len(names)):
        raise InputError(f"{what} must have the shape ({n_items}, {len(names)}), items by named columns, not {array.shape}")
    array.flags.writeable = False
    return array


def _positions(places: NDArray[Any], n_items: int) -> IntArray:
    if places.size == 0:
        return np.zeros(0, dtype=np.int64)
    if places.dtype == bool and places.shape == (n_items,):
        return np.flatnonzero(places)
    if places.dtype.kind not in "iu" or places.ndim != 1:
        raise IndexError(f"positions must be whole numbers or a boolean mask of length {n_items}, not {shorten(places.tolist())}")
    outside = (places < -n_items) | (places >= n_items)
    if outside.any():
        raise IndexError(f"position {places[outside][0]} of {n_items} items")
    return np.where(places < 0, places + n_items, places).astype(np.int64)


def _take_labels(labels: tuple[str, ...] | None, positions: Iterable[int]) -> tuple[str, ...] | None:
    return None if labels is None else tuple(labels[position] for position in positions)


def _assemble(table: Table, roles: Roles, index: pd.Index | None = None) -> Items:
    """Gives the columns of a table their roles and checks what they hold. index: the rows' own, None for those of a file."""
    required = roles.get("require_target", True)
    if required and not roles.get("target"):
        kind, columns = ("columns", table.columns) if roles.get("classes") else ("numeric columns", table.numeric_columns())
        known = listing(name for name in columns if name != roles.get("id")) or "none"
        raise OptionError(f"{table.name}: name the column to explain with --target ({kind}: {known})")
    schema = resolve_schema(table.columns, table.unread, table.name, roles)
    if required and len(table.frame) < 2:
        raise InputError(f"{table.name}: there is one row; at least two are needed to explain a target")
    ids = extract.ids(table, schema.id) if index is None or schema.id is not None else index_ids(index, table.name)
    if index is None:
        index = pd.RangeIndex(len(ids)) if schema.id is None else index_of(table.fields(schema.id), schema.id)
    table, schema = read_columns(table, schema, roles)
    has_targets = bool(schema.target) and set(schema.target) <= set(table.columns)
    wanted = roles.get("classes")
    if has_targets and (wanted is True or (wanted == BY_WORDS and extract.are_words(table, schema.target))):
        schema = replace(schema, classes=extract.classes(table, schema.target, ids, required, found=wanted == BY_WORDS))
    # float32 of large files only: no type for everybody to handle
    targets = cast("FloatArray", _frozen(extract.targets(table, schema, ids, required))) if has_targets else None
    items = Items(
        items=extract.items(table, schema, ids),
        schema=schema,
        targets=targets,
        covariates=extract.covariates(table, schema.covariates, ids),
        split_labels=None if schema.split is None else extract.split_labels(table, schema.split, ids),
        group_labels=None if schema.group is None else extract.names(table, schema.group, ids),
        name=Path(table.name).name,
        varying_labels=None if schema.varying is None else extract.names(table, schema.varying, ids, "varying"),
        index=index,
    )
    if required and not roles.get("readings") and table.name != "binary":  # there the number read is the target, by design
        for suspect in suspects(items.name, schema, items.items, targets, items.covariates):
            warnings.warn(f"{table.name}: {suspect}", GenzWarning, stacklevel=2)
    if items.targets is not None:
        let_go(items.targets)
    return items
