"""Frames keep their index, and without a column of ids its values are the ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Items, Schema, open_source
from genz_ppl.errors import InputError
from genz_ppl.types import Item

INDICES: dict[str, Any] = {
    "numbers": pd.Index([7, 3, 5, 1], dtype="int32", name="house"),
    "floats": pd.Index([0.5, 1.5, 2.0, 3.0]),
    "words": pd.Index(list("dcba"), name="key"),
    "days": pd.date_range("2020-02-28", periods=4, tz="UTC", name="when"),
    "categories": pd.CategoricalIndex(list("dcba")),
    "levels": pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["site", "number"]),
    "rows": pd.RangeIndex(4),
}


def frame(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"key_": list("abcd"), "a": ["x", "y", "z", "x"], "y": [1.0, 2.0, 4.0, 3.0]}, index=index)


@pytest.mark.parametrize("index", INDICES.values(), ids=list(INDICES))
@pytest.mark.parametrize("id", [None, "key_"])
def test_a_frame_keeps_its_index(index: pd.Index, id: str | None) -> None:
    items = Items.from_frame(frame(index), id=id, target="y")
    pd.testing.assert_index_equal(items.index, index, exact="equiv")
    for part, positions in ((items[1:3], [1, 2]), (items.take([3, 0]), [3, 0])):
        assert part.index.equals(index.take(positions))
        assert part.index.dtype == index.dtype
    assert len(items.take(np.array([False, True, False, False])).index) == 1
    assert len(set(items.ids)) == 4
    assert "house" not in items[0].fields


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("numbers", ("7", "3", "5", "1")),
        ("floats", ("0.5", "1.5", "2", "3")),
        ("days", ("2020-02-28T00:00:00+00:00", "2020-02-29T00:00:00+00:00", "2020-03-01T00:00:00+00:00")),
        ("levels", ("x|1", "x|2", "y|1", "y|2")),
        ("rows", ("0", "1", "2", "3")),
    ],
)
def test_the_values_of_the_index_are_the_ids(name: str, ids: tuple[str, ...]) -> None:
    assert Items.from_frame(frame(INDICES[name]), target="y").ids[: len(ids)] == ids


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([1, 2, 2, 3], "the index holds '2' in rows 2 and 3, and its values are the ids"),
        ([1, "1", 2, 3], "the index holds '1' in rows 1 and 2"),
        (["a", None, "c", "d"], "the index is empty in row 2"),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 1), ("b", 2)]), r"the index holds 'a\|1' in rows 1 and 2"),
    ],
)
def test_an_index_that_cannot_be_ids(index: Any, expected: str) -> None:
    given = frame(pd.RangeIndex(4)).set_axis(index, axis=0)
    with pytest.raises(InputError, match=expected) as error:
        Items.from_frame(given, target="y")
    assert "name a column of unique ids with id=, or number the rows with reset_index(drop=True)" in str(error.value)
    assert Items.from_frame(given, id="key_", target="y").index.equals(given.index)  # a column of ids will do


def test_files_come_back_on_their_ids_as_pandas_reads_them(tmp_path: Path) -> None:
    given = frame(pd.RangeIndex(4)).assign(number=[4, 3, 2, 1])
    given.to_csv(tmp_path / "a.csv", index=False)
    for id in ("key_", "number", None):
        items = Items.from_csv(tmp_path / "a.csv", id=id, target="y")
        pd.testing.assert_index_equal(items.index, pd.read_csv(tmp_path / "a.csv", index_col=id).index, exact="equiv")
        read = pd.read_csv(tmp_path / "a.csv", index_col=id).assign(same=pd.Series(items.targets[:, 0], items.index))  # type: ignore[index]
        assert (read["same"] == read["y"]).all()
    assert open_source("binary").index.equals(pd.RangeIndex(512))


def test_items_made_by_hand() -> None:
    made = Items((Item("a", "x"), Item("b", "y")), Schema(), None, np.zeros((2, 0)))
    pd.testing.assert_index_equal(made.index, pd.Index(["a", "b"], name="id"))
    with pytest.raises(InputError, match="2 items need an index of as many entries, not 3"):
        Items((Item("a", "x"), Item("b", "y")), Schema(), None, np.zeros((2, 0)), index=pd.RangeIndex(3))
