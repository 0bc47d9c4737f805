"""From tables in memory, whoever made them, to pandas: by what they can do, so that none of their makers is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow

from genz_ppl.errors import InputError, OptionError

_FLAG = re.compile(
    r"--(id|target|covariate|text|image|split|group|varying|drop|as-text|as-number|test-fraction|seed)\b(?: \(\w+=\)| (?=-?\d))?"
)
_PLURALS = {"covariate": "covariates", "image": "images"}


def as_frame(table: Any) -> pd.DataFrame:
    """A table as a DataFrame: one of pandas as it is; others that hand out Arrow's stream (polars, pyarrow, DuckDB), have
    `to_pandas` (a Hugging Face `Dataset`), or speak the interchange protocol `__dataframe__`.

    Raises OptionError, which says what to do, for anything else: arrays, whose columns have no names, lists, lazy frames.
    """
    if isinstance(table, pd.DataFrame):
        return table
    kind = type(table).__name__
    if isinstance(table, pd.Series | pd.Index):
        raise OptionError(f"expected a DataFrame, got a {kind}; make it a column: .to_frame()")
    if hasattr(table, "collect") and hasattr(table, "collect_schema"):
        raise OptionError(f"expected a DataFrame, got a {kind}, which is not computed yet; pass .collect()")
    if hasattr(table, "__arrow_c_stream__"):
        try:
            # Integers with gaps stay integers.
            streamed: pd.DataFrame = pyarrow.table(table).to_pandas(integer_object_nulls=True)
            return streamed
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            raise OptionError(f"expected a table with columns, got a {kind} ({error})") from None
    if callable(getattr(table, "to_pandas", None)) and isinstance(found := table.to_pandas(), pd.DataFrame):
        return found
    if hasattr(table, "__dataframe__"):
        return pd.api.interchange.from_dataframe(table)
    if hasattr(table, "keys") and any(hasattr(table[name], "to_pandas") for name in table):
        raise OptionError(f"expected one table, got a {kind} of several; pass one of them: {', '.join(map(repr, table))}")
    if hasattr(table, "__array__"):
        raise OptionError(
            f"expected a DataFrame, got a {kind}, whose columns have no names; pass pd.DataFrame(array, columns=[...])"
        )
    raise OptionError(f"expected a DataFrame, got a {kind}; pass pd.DataFrame(...), or Items.from_file(path) for a file")


@contextmanager
def in_python() -> Iterator[None]:
    """Errors about columns name the arguments of functions, "target=", in place of the options of the command line."""
    try:
        yield
    except (InputError, OptionError) as error:
        said = _FLAG.sub(lambda found: f"{_PLURALS.get(found[1], found[1]).replace('-', '_')}=", str(error))
        if said == str(error):
            raise
        raise type(error)(said) from None
