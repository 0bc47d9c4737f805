"""items.parquet: the targets, covariates and groups of a run's items on their index, for what is drawn and reported of it later.

What a model reads of them is there only where the user has allowed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from genz_ppl.data import Items
from genz_ppl.discovery.run.folder import ITEMS_FILE, RunDirectory
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.errors import RunDirectoryError
from genz_ppl.mapped import let_go
from genz_ppl.types import Item

_ID, _TEXT, _GROUP, _TARGET, _COVARIATE = "item.id", "item.text", "item.varying", "target.", "covariate."
# Items that are written together, in a group of rows of their own where there are more.
_AT_ONCE = 200_000


def write_items(directory: RunDirectory, items: Items, levels: Sequence[str], keep_texts: bool) -> None:
    """Write the file where it is not there yet. levels: the groups of the varying column, by whose numbers items are noted."""
    if (directory.path / ITEMS_FILE).exists():
        return

    def write(file: BinaryIO, by_ids: bool = False) -> None:
        tables = (_table(items, slice(start, start + _AT_ONCE), levels, keep_texts) for start in range(0, len(items), _AT_ONCE))
        tables = (each.set_axis(pd.Index(each[_ID], name="id")) for each in tables) if by_ids else tables
        if len(items) <= _AT_ONCE:
            next(tables).to_parquet(file)
            return
        first = pyarrow.Table.from_pandas(next(tables), preserve_index=True)
        with pyarrow.parquet.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            for each in tables:
                writer.write_table(pyarrow.Table.from_pandas(each, first.schema, preserve_index=True))

    try:
        directory.replace(ITEMS_FILE, write)
    except (pyarrow.ArrowException, TypeError, ValueError, NotImplementedError):  # an index of values of several kinds
        directory.replace(ITEMS_FILE, partial(write, by_ids=True))


def _table(items: Items, rows: slice, levels: Sequence[str], keep_texts: bool) -> pd.DataFrame:
    """What the file has of some items."""
    some = items if len(items) <= _AT_ONCE else items[rows]
    columns: dict[str, Any] = {_ID: list(some.ids)}
    for prefix, names, values in (
        (_TARGET, items.target_names, items.targets),
        (_COVARIATE, items.covariate_names, items.covariates),
    ):
        columns |= {f"{prefix}{name}": values[rows, column] for column, name in enumerate(names) if values is not None}
    if levels and some.varying_labels is not None:
        place = {level: number for number, level in enumerate(levels)}
        columns[_GROUP] = [place.get(name, -1) for name in some.varying_labels]
    if keep_texts:
        columns[_TEXT] = [item.text.encode("utf-8", "replace").decode() for item in some]
    table = pd.DataFrame(columns, index=some.index)
    if items.targets is not None:
        let_go(items.targets)
    return table


def read_items(directory: RunDirectory, record: RunRecord) -> Items | None:
    """The items of a run without what a model reads, but for their texts where they were kept; None where there is no file."""
    path = directory.path / ITEMS_FILE
    if not path.exists():
        return None
    schema, levels = record.roles, record.levels
    try:
        table = pd.read_parquet(path)
        texts = table[_TEXT].tolist() if _TEXT in table else [""] * len(table)
        targets, covariates = (
            table[[f"{prefix}{name}" for name in names]].to_numpy(dtype=np.float64)
            for prefix, names in ((_TARGET, schema.target), (_COVARIATE, schema.covariates))
        )
        groups = tuple(levels[code] if code >= 0 else "" for code in table[_GROUP]) if levels else None
        items = tuple(Item(name, text) for name, text in zip(table[_ID], texts, strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunDirectoryError(f"{path}: cannot be read ({reason}); take it away, and pass the run's items instead") from None
    schema = replace(schema, split=None, group=None, varying=schema.varying if levels else None)
    return Items(items, schema, targets, covariates, name=record.name, varying_labels=groups, index=table.index)
