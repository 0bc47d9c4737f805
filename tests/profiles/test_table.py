"""A file of profiles comes back as it was written, and one that is wrong is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from genz_ppl.errors import InputError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.similarity.vectors import read_vectors
from genz_ppl.profiles import Profiles, read_profiles
from genz_ppl.profiles.table import About

Row = Callable[..., Any]


def written(path: Path, rows: list[Any], about: About | None = None) -> Profiles:
    made = Profiles(rows, about or About())
    made.write(path)
    return made


def edited(path: Path, column: str, values: list[Any]) -> Path:
    """The file with other values in one column, past the package."""
    table = parquet.read_table(path)
    place = table.column_names.index(column)
    parquet.write_table(table.set_column(place, table.schema.field(column), pyarrow.array(values, table[column].type)), path)
    return path


def test_comes_back_as_it_was_written(row: Row, tmp_path: Path) -> None:
    answers = np.array([1, np.nan], np.float32)
    rows = [row("a", answers=answers, q=answers / 2), row("b", profile=None, vector=None, tags=()), row("ü 3")]
    about = About("item", ("Is it red?", "Is it big?"), None, {"source": "x"}, Spending(1, 2, 3, 0.5), 2)
    written(tmp_path / "p.parquet", rows, about)
    found = read_profiles(tmp_path / "p.parquet")
    assert found.about == about
    assert found.ids == ("a", "b", "ü 3")
    assert found.rows[0].generated_at == rows[0].generated_at
    assert (found.rows[0].profile, found.rows[0].tags) == ("About a. For everyone.", ("a", "b"))
    np.testing.assert_array_equal(found.answers, [[1, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.q[0], [0.5, np.nan])
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors[0], np.array([0.6, 0.8], np.float32))
    assert found.missing == ("b",)
    assert np.isnan(found.vectors[1]).all()


def test_pandas_reads_it_without_the_package(row: Row, tmp_path: Path) -> None:
    written(tmp_path / "p.parquet", [row("a")])
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert list(frame.columns) == ("id item_hash profile tags vector answers q prompt_version model encoder generated_at".split())
    assert frame["vector"][0].tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "a"}, "the id 'a' is in rows 1 and 2; keep one of the two"),
        ({"encoder": "st:x"}, "the column 'encoder' holds 'similarity' and 'st:x', which cannot be mixed in one file"),
        ({"prompt_version": "2-cd"}, "the column 'prompt_version' holds '1-ab' and '2-cd', which cannot be mixed"),
        ({"vector": [0.0, 0.0]}, "the vector of 'b' is zero"),
        ({"vector": [float("nan"), 1.0]}, "the vector of 'b' holds a number that is not finite"),
        ({"vector": [1.0, 0.0, 0.0]}, "the vector of 'b' has 3 numbers, and that of the first item 2"),
        ({"vector": [3.0, 4.0]}, "the vector of 'b' has length 5, not 1"),
    ],
)
def test_refuses_what_cannot_be_compared(row: Row, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path, rows = tmp_path / "p.parquet", [row("a"), row("b")]
    written(path, rows)
    (column, value), *_ = changes.items()
    first = getattr(rows[0], column)
    edited(path, column, [first.tolist() if column == "vector" else first, value])
    with pytest.raises(InputError) as error:
        read_profiles(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    if column != "prompt_version":  # which who reads the vectors alone does not look at
        with pytest.raises(InputError, match=message[:20]):
            read_vectors(path)


@pytest.mark.parametrize("content", [b"", b"not parquet"])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(InputError, match="not a readable parquet file of profiles"):
        read_profiles(tmp_path / "p.parquet")


def test_refuses_tables_that_are_no_profiles(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pd.DataFrame({"id": ["a"]}).to_parquet(path)
    with pytest.raises(InputError, match="expected the column 'item_hash' of a file of profiles"):
        read_profiles(path)
    written(path, [row("a")])
    parquet.write_table(parquet.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(InputError, match="was not written by 'genz profile'"):
        read_profiles(path)
    for note in (b"[]", b"{}", b'{"format": 9}', b'{"format": 1, "questions": 3, "spent": {}}', b"\xff"):
        parquet.write_table(parquet.read_table(path).replace_schema_metadata({b"genz": note}), path)
        with pytest.raises(InputError, match=r"was not written by 'genz profile'|upgrade genz-ppl"):
            read_profiles(path)
    with pytest.raises(InputError, match="there is no such file; make it with 'genz profile ITEMS -o"):
        read_profiles(tmp_path / "elsewhere.parquet")


def test_refuses_other_pairs_than_users_were_made_of(row: Row) -> None:
    users = Profiles([row("a")], About(kind="user", pairs="f" * 64), "users.parquet")
    users.check_pairs("f" * 64)
    for other in ("0" * 64, None):
        with pytest.raises(InputError, match=r"users.parquet: users were described by other pairs"):
            users.check_pairs(other)
    Profiles([row("a")], About()).check_pairs("0" * 64)  # items are not made of pairs


def test_an_unknown_id_is_told_with_a_near_one(row: Row) -> None:
    profiles = Profiles([row("alpha")], About(), "p.parquet")
    assert profiles.find("alpha").id == "alpha"
    with pytest.raises(InputError, match=r"p.parquet: has no profile of 'alpa'; did you mean 'alpha'"):
        profiles.find("alpa")
