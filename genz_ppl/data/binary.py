"""The paper's first experiment (section 5.1): numbers as strings, explained by their own value."""

from __future__ import annotations

import pandas as pd

from genz_ppl.data.columns import Schema
from genz_ppl.data.items import Items
from genz_ppl.errors import OptionError

BINARY_SCHEMA = Schema(target=("value",), text="{n}")


def binary_frame(size: int = 512) -> pd.DataFrame:
    """The columns `n` (int, what is read) and `value` (float, the target) of 0 … size - 1. Raises OptionError below 2."""
    if size < 2:
        raise OptionError(f"the binary data set needs a size of at least 2, not {size}")
    return pd.DataFrame({"n": range(size), "value": [float(number) for number in range(size)]})


def binary_items(size: int = 512) -> Items:
    """Items "0" … "size - 1": the text is the number, the field `n` too (an int), the target `value` its value.

    Raises OptionError for a size below 2.
    """
    schema = BINARY_SCHEMA
    return Items.from_frame(binary_frame(size), target=schema.target, text=schema.text, name="binary")
