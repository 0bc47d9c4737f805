"""Numbers written as text: one style a column, said where it is a guess, recorded, and kept to by other tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.data import Items, Schema, open_like
from genz_ppl.data.readings import check_readings
from genz_ppl.data.styles import NumberStyle, likeliest_style
from genz_ppl.errors import GenzWarning, InputError, OptionError

MARKS = [(",", "."), (".", ","), (" ", ","), ("'", ".")]


def written(folder: Path, name: str = "a.csv", /, **columns: Any) -> Path:
    rows = len(next(iter(columns.values())))
    pd.DataFrame({**columns, "y": [float(row) for row in range(rows)]}).to_csv(folder / name, index=False)
    return folder / name


@given(
    values=st.lists(st.integers(-(10**12), 10**12) | st.decimals(-(10**9), 10**9, places=2), min_size=1),
    marks=st.sampled_from(MARKS),
    affixes=st.sampled_from([("", ""), ("$", ""), ("", " €"), ("", " %"), ("", " m2"), ("EUR ", "")]),
)
def test_a_style_is_found_and_read_back(values: list[Any], marks: tuple[str, str], affixes: tuple[str, str]) -> None:
    texts = [f"{abs(value):,}".translate({44: marks[0], 46: marks[1]}) for value in values]
    cells = [
        affixes[0] + text + affixes[1] if value >= 0 else f"({affixes[0]}{text}{affixes[1]})"
        for value, text in zip(values, texts, strict=True)
    ]
    exact = NumberStyle(*marks, affixes[0].strip(), affixes[1].strip())
    assert [exact.read(cell) for cell in cells] == [float(str(value)) for value in values]
    again = NumberStyle.from_written(exact.written)
    assert again is not None
    assert [again.read(cell) for cell in cells] == [exact.read(cell) for cell in cells]
    found = likeliest_style(dict.fromkeys(cells))
    if found is not None:  # plain numbers need none
        assert all(map(found.reads, cells))


def test_a_style_goes_with_the_schema_to_other_tables(tmp_path: Path) -> None:
    with pytest.warns(GenzWarning, match=r"column 'price' is read as numbers, '\$1,200' as 1200"):
        items = Items.from_csv(written(tmp_path, price=["$1,200", "$90.5"], code=["01", "7"], n=[1, 2]), target="y")
    assert items.schema.readings == (("price", "$1,234.5"), ("code", "text"), ("n", "1234.5"), ("y", "1234.5"))
    assert items[0].text == "price: $1,200\ncode: 01\nn: 1"  # a model reads the unit
    schema = Schema.from_dict(items.schema.to_dict())
    assert schema == items.schema
    other = written(tmp_path, "b.csv", price=["$1,234"], code=["7"], n=["2"])
    assert open_like(str(other), schema)[0].fields == {"price": 1234, "code": "7", "n": 2}
    frame = pd.DataFrame({"price": [80.5], "code": [7], "n": [True]})
    roles: Any = {**schema.roles(), "require_target": False}
    with pytest.raises(InputError, match=r"column .n., row 1: expected a number written as in .1234.5., found True"):
        Items.from_frame(frame, **roles)
    assert Items.from_frame(frame.assign(n=3), **roles)[0].fields["code"] == "7"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"price": ["$5", "1.200,50"]}, r"column 'price', row 2: expected a number written as in '\$1,234.5', found '1.200,50'"),
        ({"price": ["€5"]}, r"row 1: expected a number written as in '\$1,234.5', found '€5'; write it like the data before"),
        ({"n": ["many"]}, "column 'n', row 1: expected a number written as in '1234.5', found 'many'"),
        ({"flag": ["2"]}, "column 'flag', row 1: expected true or false, found '2'"),
    ],
)
def test_what_can_only_be_read_otherwise_is_refused(tmp_path: Path, cells: dict[str, Any], message: str) -> None:
    with pytest.warns(GenzWarning):
        items = Items.from_csv(written(tmp_path, price=["$1,200", "$90.5"], n=[1, 2], flag=[True, False]), target="y")
    rows = len(next(iter(cells.values())))
    other = written(tmp_path, "b.csv", **{"price": ["$5"] * rows, "n": [1] * rows, "flag": [True] * rows} | cells)
    with pytest.raises(InputError, match=message):
        open_like(str(other), items.schema)


def test_a_user_has_the_last_word(tmp_path: Path) -> None:
    path = written(tmp_path, price=["$1,200", "$90"], zip=["01234", "10115"], extra=["u", "v"])
    items = Items.from_csv(path, target="y", as_text="price", as_number=["zip"], drop="extra")
    assert [item.fields for item in items] == [{"price": "$1,200", "zip": 1234}, {"price": "$90", "zip": 10115}]
    with pytest.raises(InputError, match=r"column 'extra', row 1: expected a number written as .* found 'u'; correct it or drop"):
        Items.from_csv(path, target="y", as_number=["extra"])


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"as_text": "nix"}, "there is no column 'nix' (as text)"),
        ({"drop": "zap"}, "there is no column 'zap' (to drop); did you mean 'zip'?"),
        ({"as_text": "zip", "as_number": "zip"}, "column 'zip' cannot be read as text and as number at once"),
        ({"as_text": "y"}, "column 'y' cannot be read as text and a number (covariate or target) at once"),
        ({"drop": "y"}, "column 'y' cannot be dropped and target at once"),
        ({"drop": "zip", "text": "zip"}, "column 'zip' cannot be dropped and text at once"),
    ],
)
def test_choices_that_clash_or_name_nothing(tmp_path: Path, roles: dict[str, str], message: str) -> None:
    path = written(tmp_path, zip=["01234", "10115"], n=[1, 2])
    with pytest.raises((InputError, OptionError)) as error:
        Items.from_csv(path, **{"target": "y", **roles})  # type: ignore[arg-type]
    assert message in str(error.value)


def test_targets_and_covariates_are_read_alike(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": ["1.200,5", "7,0"], "y": ["12 %", "15 %"], "z": ["a", "b"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.warns(GenzWarning) as notes:
        items = Items.from_csv(tmp_path / "a.csv", target="y", covariates="x", text="z")
    assert [str(note.message).split("column ")[1] for note in notes] == [
        "'x' is read as numbers, '1.200,5' as 1200.5",
        "'y' is read as numbers, '12 %' as 12",
    ]
    assert items.covariates.tolist() == [[1200.5], [7.0]]
    assert items.targets is not None
    assert items.targets.tolist() == [[12.0], [15.0]]


def test_other_items_must_be_of_the_same_kind() -> None:
    known = Schema(readings=(("a", "$1,234.5"), ("b", "text")))
    check_readings(known, Schema(readings=(("a", "1234.5"), ("c", "text"))), "new.csv")
    with pytest.raises(InputError, match=r"new.csv: column 'a' was read as text, where the run has numbers: correct its cells"):
        check_readings(known, Schema(readings=(("a", "text"),)), "new.csv")
