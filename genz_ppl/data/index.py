"""The index of a DataFrame as the ids of its rows."""

from __future__ import annotations

import pandas as pd

from genz_ppl.data.values import label, shorten
from genz_ppl.errors import InputError

_WAY_OUT = "name a column of unique ids with id=, or number the rows with reset_index(drop=True)"


def index_ids(index: pd.Index, source: str) -> tuple[str, ...]:
    """The T values as text, those of several levels joined by "|". Raises InputError for one that is missing or there twice."""
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
    return tuple(first_row)
