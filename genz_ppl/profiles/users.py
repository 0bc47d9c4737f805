"""Users by what they chose in the training pairs, and in no others; and the hash by which those pairs are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genz_ppl.data.pairs import ids_of_pairs, pairs_from_frame, read_pairs
from genz_ppl.data.reading import read_table
from genz_ppl.data.split import check_split_labels
from genz_ppl.data.values import label
from genz_ppl.errors import InputError
from genz_ppl.types import Item, Pairs

SPLIT = "split"
# Items that a history names: the best liked, and the least.
BEST, LEAST = 40, 10
_LONGEST_NAME = 80


def open_histories(path: str | Path, items: Sequence[Item]) -> tuple[tuple[Item, ...], str, int]:
    """The users of a file of pairs as items to be described, the pairs' hash, and how many pairs of the test side were left out.

    The first three columns are user, item and value (without one, pairs are present); a column named "split" of "train" and
    "test" leaves those of "test" out. Raises InputError as `read_pairs` does.
    """
    file, names = Path(path).expanduser(), [item.id for item in items]
    users = ids_of_pairs(file, 0)
    table = read_table(file) if file.suffix.lower() in (".csv", ".tsv") or _has_split(file) else None
    if table is None or SPLIT not in table.columns:
        pairs, left_out = read_pairs(file, users, names), 0
    else:
        labels = [label(cell) for cell in table.cells(SPLIT)]
        known = check_split_labels(labels, [str(row) for row in range(1, len(labels) + 1)], SPLIT, str(file))
        train = np.array([side == "train" for side in known])
        frame = pd.DataFrame({name: table.frame[name] for name in table.columns if name != SPLIT})[train]
        pairs, left_out = pairs_from_frame(frame, users, names, name=str(file)), int((~train).sum())
    return histories(pairs, users, items), pairs_hash(pairs, users, names), left_out


def _has_split(file: Path) -> bool:
    from pyarrow import parquet

    return SPLIT in parquet.ParquetFile(file).schema_arrow.names


def histories(pairs: Pairs, users: Sequence[str], items: Sequence[Item]) -> tuple[Item, ...]:
    """Each user as an item whose text is the history: "Titanic (5), The Notebook (5), Die Hard (2)"; "" without a training pair.

    pairs: of the training side only, users by items. Best values first, in the order of the items where they are equal; of
    more than 50 the best 40 and the least 10. An item goes by its first field.
    """
    names = [_name(item) for item in items]
    valued = len(np.unique(pairs.values)) > 1
    order = np.lexsort((pairs.columns, -pairs.values, pairs.rows))
    starts = np.searchsorted(pairs.rows[order], np.arange(pairs.n_rows + 1))
    found = []
    for row, user in enumerate(users):
        chosen = order[starts[row] : starts[row + 1]].tolist()
        if len(chosen) > BEST + LEAST:
            chosen = chosen[:BEST] + chosen[-LEAST:]
        said = [f"{names[pairs.columns[at]]} ({pairs.values[at]:g})" if valued else names[pairs.columns[at]] for at in chosen]
        found.append(Item(user, ", ".join(said)))
    if not any(user.text for user in found):
        raise InputError("the pairs have no training pair of any user; at least one is needed")
    return tuple(found)


def _name(item: Item) -> str:
    """What an item is called in a history."""
    first = next((str(value) for value in item.fields.values() if value is not None), item.text)
    return " ".join(first.split())[:_LONGEST_NAME] or item.id


def pairs_hash(pairs: Pairs, users: Sequence[str], items: Sequence[str]) -> str:
    """The sha-256 of a set of pairs with their values, whatever their order: 64 hexadecimal digits."""
    lines = sorted(
        f"{users[row]}\0{items[column]}\0{value!r}"
        for row, column, value in zip(pairs.rows.tolist(), pairs.columns.tolist(), pairs.values.tolist(), strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
