from __future__ import annotations

import datetime
import math
import pickle
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.data import Items, Schema
from genz_ppl.errors import GenzError, InputError, OptionError
from genz_ppl.types import Item

WORDS = st.text().map(lambda text: text and "!" + text)  # not what looks like a number or a date
FIELDS = st.none() | st.booleans() | st.integers() | WORDS | st.floats(allow_nan=False, allow_infinity=False)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"key": ["u", "v", "w"], "a": ["x", "y", "z"], "n": [1, 2, 3], "y": [1.0, 2.0, 4.0]} | columns)


def fails(error_type: type[GenzError], data: pd.DataFrame, **roles: object) -> str:
    with pytest.raises(error_type) as error:
        Items.from_frame(data, **{"id": "key", "target": "y", **roles})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_items_are_a_sequence() -> None:
    items = Items.from_frame(frame(), id="key", target="y", covariates=["n"])
    assert isinstance(items, Sequence)
    assert len(items) == 3
    assert items[-1] == list(items)[2] == Item("w", "a: z\nn: 3", {"a": "z", "n": 3})
    assert items[1:].ids == ("v", "w")
    assert items.target_names == ("y",)
    assert items.covariate_names == ("n",)
    assert items.covariates.tolist() == [[1], [2], [3]]
    assert repr(items) == "Items('the DataFrame', 3 items, targets: y; covariates: n)"
    with pytest.raises(IndexError):
        items[3]


def test_items_cannot_be_changed() -> None:
    data = frame()
    items = Items.from_frame(data, target="y", covariates="n")
    data.loc[0, "n"] = 99
    assert items.covariates[0, 0] == 1
    assert items.targets is not None
    for array in (items.targets, items.covariates, items.take([0]).covariates):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


def test_take_keeps_everything_in_order() -> None:
    data = frame(part=["train", "test", "train"])
    items = Items.from_frame(data, id="key", target="y", split="part")
    taken = items.take([2, 0])
    assert taken.ids == ("w", "u")
    assert taken.targets is not None
    assert taken.targets.tolist() == [[4.0], [1.0]]
    assert taken.split_labels == ("train", "train")
    assert items.take(np.array([False, True, False])).ids == ("v",)
    assert len(items.take([])) == 0
    for wrong in ([0.5], [True], ["u"]):
        with pytest.raises(IndexError, match="positions must be whole numbers"):
            items.take(wrong)  # type: ignore[arg-type]


def test_default_text_leaves_out_id_target_split_and_images(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(b"")
    data = frame(part=["train"] * 3, photo=["p.jpg", None, str(tmp_path / "p.jpg")])
    data.to_csv(tmp_path / "a.csv", index=False)
    items = Items.from_csv(tmp_path / "a.csv", id="key", target="y", covariates="n", split="part", images="photo")
    assert items[0].fields == {"a": "x", "n": 1}
    assert [item.images for item in items] == [(tmp_path / "p.jpg",), (), (tmp_path / "p.jpg",)]
    assert items.schema.text == ("a", "n")


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    message = fails(InputError, frame(photo=[None, "nowhere.jpg", None]), images=["photo"])
    assert message.startswith("the DataFrame: image 'photo', row 2 (id 'v'): there is no file nowhere.jpg")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{a} ({n})", "x (1)"),
        ("{{{a}}} }}", "{x} }"),
        ("{a}{a}", "xx"),
        ("{with space.and:more}!", "deep!"),
        ("{gap}|{a}", "|x"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    data = frame(**{"with space.and:more": ["deep"] * 3, "gap": [None, "{a}", "q"]})
    items = Items.from_frame(data, target="y", text=template)
    assert items[0].text == expected
    assert items.schema.text == template
    assert tuple(items[0].fields) == items.schema.readable


def test_what_is_filled_in_is_not_a_template_itself() -> None:
    assert Items.from_frame(frame(gap=["{a}", "b", "c"]), target="y", text="{gap}")[0].text == "{a}"


@pytest.mark.parametrize("template", ["{a", "a}", "{}", "{a} {", "{{a}}"])
def test_templates_that_cannot_be(template: str) -> None:
    assert "text template" in fails(OptionError, frame(), text=template)


@pytest.mark.parametrize("text", ["y", ["a", "y"], "{a} {y}"])
def test_a_target_never_becomes_text(text: str | list[str]) -> None:
    assert fails(OptionError, frame(), text=text).startswith("column 'y' is the target, which a model must not read")


@pytest.mark.parametrize("text", ["key", ["a", "key"], "{key}"])
def test_an_id_never_becomes_text(text: str | list[str]) -> None:
    assert fails(OptionError, frame(), text=text).startswith("column 'key' is the id, which a model must not read")


def test_targets_stay_hidden_in_prediction_too() -> None:
    items = Items.from_frame(frame(), id="key", target="y", require_target=False)
    assert list(items[0].fields) == ["a", "n"]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"covariates": "y"}, "column 'y' cannot be target and covariate at once"),
        ({"images": "y"}, "column 'y' cannot be target and image at once"),
        ({"id": "y"}, "column 'y' cannot be target and id at once"),
        ({"split": "y"}, "column 'y' cannot be target and split at once"),
        ({"group": "y"}, "column 'y' cannot be target and group at once"),
        ({"target": ["y", "y"]}, "column 'y' is named twice as target"),
        ({"text": ["a", "a"]}, "column 'a' is named twice as text"),
        ({"split": "a", "group": "n"}, "split and group exclude each other"),
        ({"target": ()}, "name the column to explain with target= (numeric columns: n, y)"),
    ],
)
def test_roles_that_clash(roles: dict[str, object], expected: str) -> None:
    assert expected in fails(OptionError, frame(), **roles)


@pytest.mark.parametrize("role", ["id", "target", "covariates", "text", "images", "split", "group"])
def test_missing_columns_are_named_with_what_is_close(role: str) -> None:
    message = fails(InputError, frame(price=[1, 2, 3]), **{role: "Pricee"})
    assert "there is no column 'Pricee'" in message
    assert "did you mean 'price'? columns: key, a, n, y, price" in message


def test_many_columns_are_shortened() -> None:
    data = frame(**{f"column {index}": [1, 2, 3] for index in range(100)})
    assert "and 92 more" in fails(InputError, data, target="q")


@pytest.mark.parametrize(
    ("columns", "roles", "expected"),
    [
        ({"y": [1, "lots\nof", 3]}, {}, "target 'y', row 2 (id 'v'): expected a finite number, found 'lots\\nof'"),
        ({"y": [1, "z" * 99, 3]}, {}, "found '" + "z" * 38 + "…"),
        ({"y": [1, math.inf, 3]}, {}, "row 2 (id 'v'): expected a finite number, found inf"),
        ({"y": [1, "-inf", 3]}, {}, "found '-inf'"),
        ({"y": [1, "1e999", 3]}, {}, "found '1e999'"),
        ({"y": [1, 10**400, 3]}, {}, "expected a finite number"),
        ({"y": [1, [2], 3]}, {}, "found [2]"),
        ({"y": [1, b"2", 3]}, {}, "found b'2'"),
        ({"y": [7, None, 7]}, {}, "target 'y' is 7 wherever it has a value: there is nothing to explain"),
        ({"y": [None, "", "NaN"]}, {}, "target 'y' has no values at all"),
        ({"n": [1, "two", 3]}, {"covariates": "n"}, "covariate 'n', row 2 (id 'v'): expected a finite number, found 'two'"),
        ({"n": [1, 2, None]}, {"covariates": "n"}, "covariate 'n', row 3 (id 'w'): the value is missing"),
        ({"n": [math.inf, 2, 3]}, {"covariates": "n"}, "covariate 'n', row 1 (id 'u'): expected a finite number, found inf"),
        ({"key": ["u", "v", "u"]}, {}, "id 'u' is in rows 1 and 3; ids must be unique"),
        ({"key": ["u", " ", "w"]}, {}, "id column 'key' is empty in row 2"),
        ({"a": [b"x", b"y", b"z"]}, {}, "column 'a' holds binary data"),
    ],
)
def test_faulty_cells_say_where(columns: dict[str, list[object]], roles: dict[str, object], expected: str) -> None:
    assert expected in fails(InputError, frame(**columns), **roles)


def test_one_row_none_left_to_read_and_duplicates() -> None:
    assert "there is one row" in fails(InputError, frame().head(1))
    assert "there are no rows" in fails(InputError, frame().head(0))
    assert "no column is left for a model to read" in fails(InputError, frame()[["key", "y"]])
    doubled = pd.concat([frame(), frame()[["a"]]], axis=1)
    assert "duplicate column names (a)" in fails(InputError, doubled)


def test_unknown_keywords_are_refused(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(TypeError, match="unexpected keyword targets"):
        Items.from_csv(tmp_path / "a.csv", targets="y")  # type: ignore[call-arg]


def test_targets_may_have_gaps_and_be_booleans() -> None:
    items = Items.from_frame(frame(y=[True, None, False], z=["1.5", "n/a", "+2e1"]), target=["y", "z"])
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets, [[1, 1.5], [math.nan, math.nan], [0, 20]])


def test_prediction_needs_no_targets_and_overlooks_unreadable_ones() -> None:
    assert Items.from_frame(frame(), target=["y", "absent"], require_target=False).targets is None
    items = Items.from_frame(frame(y=["?", 2, math.inf]).head(3), target="y", require_target=False)
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets, [[math.nan], [2], [math.nan]])
    one = Items.from_frame(frame().head(1), target="y", require_target=False)
    assert len(one) == 1


def test_ids_are_text() -> None:
    for column, expected in (
        ([1.0, 2.0, 3.0], ("1", "2", "3")),
        (["007", " b", "1.10"], ("007", "b", "1.10")),
        ([1.5, True, 3], ("1.5", "True", "3")),
    ):
        assert Items.from_frame(frame(key=list(column)), id="key", target="y").ids == expected
    assert Items.from_frame(frame(), target="y").ids == ("0", "1", "2")


def test_csv_ids_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,a,y\n1.10,u,1\n1.1,v,2\nNA,w,3\n")
    assert Items.from_csv(tmp_path / "a.csv", id="key", target="y").ids == ("1.10", "1.1", "NA")


def test_a_named_index_can_be_the_id_and_is_not_read() -> None:
    data = frame().set_index("key")
    assert Items.from_frame(data, id="key", target="y").ids == ("u", "v", "w")
    assert "key" not in Items.from_frame(data, target="y")[0].fields


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int8(3), 3),
        (np.float32(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (pd.NA, None),
        (pd.NaT, None),
        (math.nan, None),
        ("  ", None),
        (Decimal("2"), 2),
        (Decimal("2.5"), 2.5),
        (Decimal("NaN"), None),
        (pd.Timestamp("2020-01-02"), "2020-01-02"),
        (pd.Timestamp("2020-01-02 03:04"), "2020-01-02T03:04:00"),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ([1, np.nan, "é"], '[1,null,"é"]'),
        ((np.int64(1), {"k": pd.NA}), '[1,{"k":null}]'),
        (np.array([[1.5, 2]]), "[[1.5,2.0]]"),
        ({"b": True}, '{"b":true}'),
        (Path("p"), "p"),
    ],
)
def test_cells_become_plain_values(value: object, expected: object) -> None:
    cells = pd.Series([value, "other", None], dtype=object)
    found = Items.from_frame(frame().assign(cell=cells), target="y")[0].fields["cell"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("dtype", ["float32", "Float32", "category", "string", "str", "Int64", "boolean", "datetime64[us]"])
def test_columns_of_any_type_become_plain_values(dtype: str) -> None:
    values = {"boolean": [True, False, None], "Int64": [1, 2, None], "float32": [0.1, 2.5, None], "Float32": [0.1, 2.5, None]}
    column = pd.Series(values.get(dtype, ["2020-01-01", "2021-01-01", None]), dtype=dtype)
    cells = [item.fields["c"] for item in Items.from_frame(frame().assign(c=column), target="y")]
    assert cells == values.get(dtype, [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1), None])
    assert {type(cell) for cell in cells} <= {datetime.date, int, float, bool, type(None)}


def test_integers_promoted_by_a_gap_are_integers_again() -> None:
    items = Items.from_frame(frame(zip=[92276, None, 5], whole=[1.0, 2.0, 3.0]), target="y", text=["zip", "whole"])
    assert items[0].text == "zip: 92276\nwhole: 1.0"


@given(values=st.lists(FIELDS, min_size=3, max_size=3))
def test_fields_are_unchanged_if_plain_already(values: list[object]) -> None:
    items = Items.from_frame(frame().assign(c=pd.Series(values, dtype=object)), target="y", text="c")
    expected = [None if isinstance(value, str) and not value.strip() else value for value in values]
    assert [item.fields["c"] for item in items] == expected
    assert items.fingerprint() == pickle.loads(pickle.dumps(items)).fingerprint()  # noqa: S301


@pytest.mark.parametrize("column", ["key", "a", "n", "y"])
def test_the_fingerprint_notices_every_change(column: str) -> None:
    def fingerprint(data: pd.DataFrame) -> str:
        return Items.from_frame(data, id="key", target="y", covariates="n", text="a").fingerprint()

    changed = frame()
    changed.loc[1, column] = 9 if column in ("n", "y") else "changed"
    assert fingerprint(changed) != fingerprint(frame()) == fingerprint(frame(extra=[1, 2, 3]))


def test_schema_goes_through_json() -> None:
    schema = Schema("key", ("y",), ("n",), ("a",), (), None, "g")
    assert Schema.from_dict(schema.to_dict()) == schema
    assert Schema.from_dict({"text": "{a}"}) == Schema(text="{a}")
    with pytest.raises(InputError, match="a schema has no entry colour"):
        Schema.from_dict({"colour": 1})
    with pytest.raises(InputError, match="the schema's entry 'target' must be a list of column names, not 3"):
        Schema.from_dict({"target": 3})
    with pytest.raises(InputError, match="the schema's entry 'id' must be a column name or null, not 3"):
        Schema.from_dict({"id": 3})


def test_sizes_must_agree() -> None:
    item = Item("u", "x")
    with pytest.raises(InputError, match=r"covariates must have the shape \(1, 0\)"):
        Items((item,), Schema(), None, np.zeros((2, 0)))
    with pytest.raises(InputError, match=r"targets must have the shape \(1, 1\)"):
        Items((item,), Schema(target=("y",)), np.zeros(1), np.zeros((1, 0)))
    with pytest.raises(InputError, match="names the group column 'g', but there are no group labels"):
        Items((item,), Schema(group="g"), None, np.zeros((1, 0)))
    with pytest.raises(InputError, match="1 items need as many split labels, not 2"):
        Items((item,), Schema(), None, np.zeros((1, 0)), split_labels=("train", "test"))


def test_the_column_that_effects_vary_by() -> None:
    data = frame(town=["p", "q", "p"])
    items = Items.from_frame(data, id="key", target="y", covariates="n", varying="town")
    assert items.varying_labels == ("p", "q", "p")
    assert items.take([2, 1]).varying_labels == ("p", "q")
    assert items[0].fields["town"] == "p"  # a model reads it, too
    assert Schema.from_dict(items.schema.to_dict()) == items.schema
    others = [
        Items.from_frame(data, id="key", target="y", covariates="n"),
        Items.from_frame(frame(town=["p", "q", "q"]), id="key", target="y", covariates="n", varying="town", text="a"),
        Items.from_frame(data, id="key", target="y", covariates="n", varying="town", text="a"),
    ]
    assert len({items.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_what_cannot_be_the_column_that_effects_vary_by() -> None:
    data = frame(town=["p", None, "p"])
    assert "row 2 (id 'v'): the cell is empty" in fails(InputError, data, varying="town")
    assert "no column 'city' (varying)" in fails(InputError, data, varying="city")
    assert "'y' cannot be target and varying at once" in fails(OptionError, data, varying="y")
    assert "'n' cannot be covariate and varying at once" in fails(OptionError, data, varying="n", covariates="n")
    assert "'key' cannot be id and varying at once" in fails(OptionError, data, varying="key")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["y*"], ("y0", "y1", "y2")),
        ("y0:y2", ("y0", "other", "y1", "y2")),
        (["y2", "y[01]"], ("y2", "y0", "y1")),
        ("y?", ("y0", "y1", "y2")),
        (["odd*"], ("odd*",)),
    ],
)
def test_targets_by_pattern(wanted: Any, found: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"word": ["a", "b"], "y0": [1.0, 2], "other": [0.5, 1], "y1": [2.0, 3], "y2": [4.0, 5], "odd*": [1, 2]})
    assert Items.from_frame(frame, target=wanted, text="word").target_names == found


@pytest.mark.parametrize("wanted", ["z*", "y1:y0", "y0:z"])
def test_patterns_that_no_column_meets(wanted: str) -> None:
    frame = pd.DataFrame({"word": ["a", "b"], "y0": [1.0, 2], "y1": [2.0, 3]})
    with pytest.raises(InputError, match=re.escape(f"there is no column '{wanted}' (target)")):
        Items.from_frame(frame, target=wanted)


def test_numbers_of_float32_are_those_that_are_written_the_shortest() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=500), 10 ** random.uniform(-5, 5, 500)]).astype(np.float32)
    values[::50] = np.nan
    items = Items.from_frame(pd.DataFrame({"y": values, "what": "a thing"}), target="y")
    expected = [float(str(value)) for value in values]
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets[:, 0], expected)


def test_items_keep_what_they_were_given_apart() -> None:
    """A caller may write into its own array; parts of items need no copy."""
    targets = np.array([[1.0], [2.0]])
    items = Items([Item("a", "x"), Item("b", "y")], Schema(target=("t",)), targets, np.zeros((2, 0)))
    targets[0] = 7.0
    assert items.targets is not None
    assert items.targets[0, 0] == 1.0
    part = items.take([1])
    assert part.targets is not None
    assert not part.targets.flags.writeable
