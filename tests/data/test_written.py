"""Hashes of items held as columns are those of the items one by one, so that runs of earlier versions know their items."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl import Items
from genz_ppl.data.values import readable
from genz_ppl.data.written import written

FIELDS = (
    st.none() | st.booleans() | st.integers() | st.text().map(lambda text: f"!{text}") | st.dates() | st.floats(allow_nan=False)
)


def frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series(values, dtype=object) for name, values in zip("ba", zip(*rows, strict=True), strict=True)}
    )


@pytest.mark.filterwarnings("ignore::genz_ppl.errors.GenzWarning")
@given(
    st.lists(st.tuples(FIELDS, FIELDS), min_size=1) | st.lists(st.tuples(st.integers(), st.floats(allow_nan=False)), min_size=1)
)
def test_columns_are_written_as_items_are(rows: list[tuple[Any, ...]]) -> None:
    items = Items.from_frame(frame(rows), text=["b", "a"], require_target=False)
    alone = tuple(items)
    with_id = [json.dumps([item.id, item.text, dict(item.fields)], default=readable) for item in alone]
    without = [json.dumps([item.text, dict(item.fields), []], sort_keys=True, default=readable) for item in alone]
    assert list(written(items, with_id=True)) == list(written(alone, with_id=True)) == with_id
    assert list(written(items, with_id=False)) == list(written(alone, with_id=False)) == without
