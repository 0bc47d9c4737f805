from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.cli.sources import open_items, reopen_items
from genz_ppl.data import Items, Schema, open_like, open_source
from genz_ppl.errors import GenzError, GenzWarning, InputError, OptionError

NAN = math.nan
# Words without a dot: "1.0" would be the class "1".
WORDS = st.text(st.characters(exclude_characters=".")).filter(lambda word: word.strip() not in ("nan", "NaN", "<NA>"))


def read(cells: list[Any], **roles: Any) -> Items:
    frame = pd.DataFrame({"a": [f"item {row}" for row in range(len(cells))], "y": pd.Series(cells, dtype=object)})
    return Items.from_frame(frame, **{"target": "y", "classes": True, **roles})


def fails(error_type: type[GenzError], call: Callable[[], object]) -> str:
    with pytest.raises(error_type) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["€1,318.25", "€437.93", "€500"], [1318.25, 437.93, 500.0]),
        (["12 %", "13.5 %", None], [12.0, 13.5, NAN]),
        (["3,5", "4,25", "1,0"], [3.5, 4.25, 1.0]),
        (["2 rooms", "3 rooms", "3 rooms"], [2.0, 3.0, 3.0]),
    ],
)
def test_numbers_with_units_are_no_classes_where_nobody_asked_for_some(cells: list[Any], expected: list[float]) -> None:
    with pytest.warns(GenzWarning, match="column 'y' is read as numbers"):
        items = read(cells, classes="auto")
    assert items.class_names == ()
    same(items.targets, expected)
    assert read(cells).class_names != ()  # they are where they are asked for
    again = Items.from_frame(
        pd.DataFrame({"a": ["new"], "y": cells[:1]}), require_target=False, readings=items.schema.readings, target="y"
    )
    same(again.targets, expected[:1])


@pytest.mark.parametrize("cells", [["grade 1", "grade 2"], ["yes", "no"], ["Q1", "Q2"], ["2024-01-01", "2024-02-01"]])
def test_words_are_classes_where_nobody_asked_for_some(cells: list[Any]) -> None:
    items = read(cells, classes="auto")
    assert items.class_names == (tuple(sorted(cells)),)
    assert dict(items.schema.readings).keys() == {"a"}


def test_too_many_words_are_neither_numbers_nor_classes() -> None:
    said = fails(InputError, lambda: read([f"word {letter}" for letter in "abcdefghijkl"], classes="auto"))
    assert "target 'y' has 12 different labels, classes would be 6 at the most, and texts such as 'word a' are no numbers" in said
    assert "classes=True" not in said


def same(targets: np.ndarray | None, expected: list[float]) -> None:
    assert targets is not None
    assert targets.dtype == np.float64
    np.testing.assert_array_equal(targets, np.array(expected)[:, None])


@pytest.mark.parametrize(
    ("cells", "labels", "codes"),
    [
        (["dog", "cat", " dog ", "ant"], ("ant", "cat", "dog"), [2, 1, 2, 0]),
        (["yes", "no", None, "yes"], ("no", "yes"), [1, 0, NAN, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([10, 2, -1, 2.0], ("-1", "2", "10"), [2, 1, 0, 1]),
        (["10", "2", "2.5", ""], ("2", "2.5", "10"), [2, 0, 1, NAN]),
        (["10", "2", "x"], ("10", "2", "x"), [0, 1, 2]),
        (["1.0", "0.0", "nan", "1", pd.NA, NAN], ("0", "1"), [1, 0, NAN, 1, NAN, NAN]),
        (["01", "1", "1e400", "inf"], ("01", "1", "1e400", "inf"), [0, 1, 2, 3]),
        (["none", "NA", "mild"], ("NA", "mild", "none"), [2, 0, 1]),
        (["B", "a", "é"], ("B", "a", "é"), [0, 1, 2]),
    ],
)
def test_labels_become_codes(cells: list[Any], labels: tuple[str, ...], codes: list[float]) -> None:
    items = read(cells)
    assert items.class_names == items.schema.classes == (labels,)
    same(items.targets, codes)


@pytest.mark.slow
@given(st.lists(st.none() | st.booleans() | st.integers(-(10**18), 10**18) | WORDS, min_size=1, max_size=30))
def test_decoding_gives_back_the_labels(cells: list[Any]) -> None:
    items = read(cells, require_target=False)
    assert items.targets is not None
    (labels,) = items.class_names
    decoded = [None if math.isnan(code) else labels[int(code)] for code in items.targets[:, 0]]
    assert decoded == [None if cell is None or not str(cell).strip() else str(cell).strip() for cell in cells]
    assert set(labels) == {label for label in decoded if label is not None}
    assert len(set(labels)) == len(labels)
    again = read(cells, require_target=False, classes=Schema.from_dict(items.schema.to_dict()).classes)
    np.testing.assert_array_equal(again.targets, items.targets)


@pytest.mark.parametrize("dtype", ["category", "string", "str"])
def test_columns_of_words_of_any_type(dtype: str) -> None:
    frame = pd.DataFrame({"a": ["x", "y", "z"], "y": pd.Series(["b", None, "a"], dtype=dtype)})
    items = Items.from_frame(frame, target="y", classes=True)
    assert items.class_names == (("a", "b"),)
    same(items.targets, [1, NAN, 0])


def test_every_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["u", "v", "w"], "y": [1, None, 0]})  # the CSV says 1.0, the JSON 1.0 and null
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    made = [Items.from_file(file, target="y", classes=True) for file in sorted(tmp_path.iterdir())]
    assert len(made) == 4
    assert {items.class_names for items in made} == {(("0", "1"),)}
    assert len({items.fingerprint() for items in made}) == 1


def test_each_target_has_its_own_labels() -> None:
    frame = pd.DataFrame({"a": ["u", "v", "w"], "y": ["b", "a", "b"], "z": [3, 3, 7]})
    items = Items.from_frame(frame, target=["z", "y"], classes=True)
    assert items.class_names == (("3", "7"), ("a", "b"))
    assert items.targets is not None
    assert items.targets.tolist() == [[0, 1], [0, 0], [1, 1]]
    assert [list(item.fields) for item in items] == [["a"]] * 3


def test_taking_some_keeps_all_labels() -> None:
    items = read(["dog", "cat", "ant"])
    for some in (items[:1], items.take([0])):
        assert some.class_names == (("ant", "cat", "dog"),)
        same(some.targets, [2])


def test_numbers_have_no_classes_and_the_fingerprint_they_had() -> None:
    frame = pd.DataFrame({"key": ["u", "v", "w"], "a": ["x", "y", "z"], "n": [1, 2, 3], "y": [1.0, None, 4.0]})
    items = Items.from_frame(frame, id="key", target="y", covariates="n")
    assert items.class_names == ()
    assert items.fingerprint() == "dcabcdfa7065b0cee1f40da9e53a0b110384e255160ebf5b77d3d488bae63e84"
    assert open_source("binary").fingerprint() == "c9aa20a590e4056599ab9573fb08f4d484b0f21261d40c01eb5f49d9fffc6d8f"


def test_the_fingerprint_notices_labels() -> None:
    prints = {read(cells).fingerprint() for cells in (["a", "b"], ["a", "c"], ["b", "a"], [0, 1])}
    prints.add(read([0, 1], classes=False).fingerprint())
    assert len(prints) == 5
    assert read(["a", "b"]).fingerprint() == read(["a", " b"]).fingerprint()


def test_schema_with_classes_goes_through_json() -> None:
    schema = Schema(target=("y", "z"), text=("a",), classes=(("no", "yes"), ("1", "2", "10")))
    record = json.loads(json.dumps(schema.to_dict()))
    assert record["classes"] == [["no", "yes"], ["1", "2", "10"]]
    assert Schema.from_dict(record) == schema
    numbers = Schema(target=("y",))
    assert numbers.to_dict()["classes"] == []
    old = {name: value for name, value in numbers.to_dict().items() if name != "classes"}
    assert Schema.from_dict(old) == numbers
    for wrong in ("yes", ["yes", "no"], [["a", 1]], [["a", "a"]], 3, None):
        message = fails(InputError, partial(Schema.from_dict, {"target": ["y"], "classes": wrong}))
        assert message.startswith("the schema's entry 'classes' must be lists of different labels, not ")
    message = fails(InputError, lambda: Schema(target=("y",), classes=(("a", "b"), ("c", "d"))))
    assert message.startswith("expected the class labels of 1 targets, found those of 2")


@pytest.mark.parametrize("wrong", ["y", ["a", "b"], None, 1, [["a", "a"]]])
def test_classes_that_cannot_be(wrong: object) -> None:
    message = fails(OptionError, lambda: read(["a", "b"], classes=wrong))
    assert message.startswith("classes must be True, False, 'auto' or a list of different labels for each target, not ")


@pytest.mark.parametrize(
    ("cells", "roles", "expected"),
    [
        (["cat", None, "cat"], {}, "target 'y' is 'cat' wherever it has a value: there is nothing to explain"),
        ([None, "", "nan"], {}, "target 'y' has no values at all; name another column"),
        (
            [*range(101)] * 2,
            {},
            "target 'y' has 101 different labels, more than 100: it looks like numbers or ids; drop classes=True",
        ),
        (["a", b"b"], {}, "target 'y', row 2 (id '1'): expected a class label, found b'b'"),
        (["a", "b"], {"target": ()}, "name the column to explain with target= (columns: a, y)"),
        (
            ["cat", "wolf\n"],
            {"classes": [["cat", "dog"]]},
            "target 'y', row 2 (id '1'): expected one of the classes cat, dog, found 'wolf'; correct the cell or drop the row",
        ),
        (
            [1, "wolf"],
            {"classes": False},
            "target 'y', row 2 (id '1'): expected a finite number, found 'wolf'; correct the cell or leave the column out, "
            "or read classes with --likelihood categorical or bernoulli (in Python likelihood=, for Items classes=True)",
        ),
    ],
)
def test_faulty_targets_say_where(cells: list[Any], roles: dict[str, Any], expected: str) -> None:
    assert f"the DataFrame: {expected}" in fails(GenzError, lambda: read(cells, **roles))


def test_a_hundred_labels_are_allowed() -> None:
    same(read([*range(100)] * 2).targets, [*range(100)] * 2)


def test_a_covariate_that_is_no_number_gets_no_hint() -> None:
    message = fails(InputError, lambda: read(["x", "y"], covariates="a"))
    assert "classes" not in message


def test_known_labels_code_other_items() -> None:
    known = read(["dog", "cat", "ant"]).class_names
    items = read(["dog", "cat"], classes=known)
    assert items.class_names == known
    same(items.targets, [2, 1])


def test_prediction_codes_by_the_labels_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("key,title,species\n1,Rex,dog\n2,Tom,cat\n3,Z,\n4,Adam,ant\n")
    run = open_source(str(tmp_path / "old.csv"), id="key", target="species", classes=True)
    schema = Schema.from_dict(json.loads(json.dumps(run.schema.to_dict())))
    (tmp_path / "new.csv").write_text("key,title,species\n5,Rex,dog\n6,Grey,wolf\n7,Kit,cat\n8,Q,\n")
    new = open_like(str(tmp_path / "new.csv"), schema)
    assert new.class_names == run.class_names == (("ant", "cat", "dog"),)
    same(new.targets, [2, NAN, 1, NAN])
    (tmp_path / "blind.jsonl").write_text('{"key": 9, "title": "Kim"}\n')
    blind = open_like(str(tmp_path / "blind.jsonl"), schema)
    assert blind.targets is None
    assert blind.class_names == run.class_names


def test_prediction_overlooks_what_is_no_label() -> None:
    same(read(["b", b"a", "x"], classes=[["a", "b"]], require_target=False).targets, [1, NAN, NAN])
    same(read(["b"], require_target=False).targets, [0])
    assert len(read(list(range(101)), require_target=False).class_names[0]) == 101
    absent = read(["b"], target=["y", "z"], require_target=False)
    assert absent.targets is None
    assert absent.class_names == ()


@pytest.mark.parametrize("source", ["binary", "houses:nowhere"])
def test_named_sources_have_no_classes(source: str) -> None:
    assert "has numbers to explain, not classes: drop classes" in fails(OptionError, lambda: open_source(source, classes=True))


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_the_command_line_reads_classes_where_the_likelihood_has_them(tmp_path: Path, likelihood: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,churned\nu,yes\nv,no\nw,\n")
    given = dict.fromkeys(("id", "covariate", "text", "image", "split", "group", "likelihood")) | {"target": ["churned"]}
    items = open_items(str(path), {**given, "likelihood": likelihood})
    assert items.class_names == (("no", "yes"),)
    same(items.targets, [1, 0, NAN])
    assert open_items(str(path), given).class_names == items.class_names  # words, and no likelihood that says otherwise
    message = fails(InputError, partial(open_items, str(path), {**given, "likelihood": "gaussian"}))
    assert "--likelihood categorical or bernoulli" in message
    schema = Schema.from_dict(json.loads(json.dumps(items.schema.to_dict())))
    assert reopen_items(str(path), schema, tmp_path).fingerprint() == items.fingerprint()
    path.write_text("title,churned\nu,yes\nv,no\nw,maybe\n")
    message = fails(InputError, lambda: reopen_items(str(path), schema, tmp_path))
    assert "row 3 (id '2'): expected one of the classes no, yes, found 'maybe'" in message


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_zeros_and_ones_keep_their_values(tmp_path: Path, likelihood: str) -> None:
    (tmp_path / "a.csv").write_text("title,y\nu,1\nv,0\nw,\n")
    given = dict.fromkeys(("id", "covariate", "text", "image", "split", "group")) | {"target": ["y"]}
    as_numbers = open_items(str(tmp_path / "a.csv"), given)
    same(open_items(str(tmp_path / "a.csv"), {**given, "likelihood": likelihood}).targets, [1, 0, NAN])
    same(as_numbers.targets, [1, 0, NAN])
