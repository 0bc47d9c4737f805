"""The index of a DataFrame as the ids of its rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow

from genz_ppl.cells import Cells, NumberCells, TextCells, text_cells
from genz_ppl.data.values import label, shorten
from genz_ppl.errors import InputError

_WAY_OUT = "name a column of unique ids with id=, or number the rows with reset_index(drop=True)"


def index_ids(index: pd.Index, source: str) -> Cells:
    """The T values as text, those of several levels joined by "|". Raises InputError for one that is missing or there twice."""
    if isinstance(index, pd.RangeIndex):
        return TextCells(pyarrow.array(index.to_numpy()).cast(pyarrow.large_string()))
    levels = [index.get_level_values(number).tolist() for number in range(index.nlevels)]
    first_row: dict[str, int] = {}
    for row, values in enumerate(zip(*levels, strict=True), start=1):
        names = [label(value) for value in values]
        name = "|".join(part for part in names if part is not None)
        if None in names:
            raise InputError(f"{source}: the index is empty in row {row}, and its values are the ids; {_WAY_OUT}")
        if name in first_row:
            place = f"{shorten(name)} in rows {first_row[name]} and {row}"
            raise InputError(f"{source}: the index holds {place}, and its values are the ids; {_WAY_OUT}")
        first_row[name] = row
    return text_cells(first_row)


def index_of(cells: Cells, name: str) -> pd.Index:
    """The values of an id column as an index."""
    values: Any
    if isinstance(cells, TextCells):
        values = pyarrow.table([cells.texts], names=["ids"]).to_pandas()["ids"]
    elif isinstance(cells, NumberCells) and cells.there is None:
        values = cells.numbers.copy()
    else:
        values = cells.tolist()
    index: pd.Index = pd.Index(values, name=name)
    return index
