from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl import discover
from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.table import TableModel
from genz_ppl.types import Contrast, Item

CSV = "id,Has a pool,Is old\na,yes,0\nb,NO,1\nc,,True\n"
JSONL = (
    '{"id": "a", "Has a pool": true, "Is old": 0}\n{"id": "b", "Has a pool": "no", "Is old": 1}\n{"id": "c", "Is old": true}\n'
)


def items(names: str) -> tuple[Item, ...]:
    return tuple(Item(name, name) for name in names)


def written(folder: Path, text: str | bytes, name: str = "known.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"), [("k.csv", CSV), ("k.tsv", CSV.replace(",", "\t")), ("k.jsonl", JSONL), ("k.csv", "\ufeff" + CSV)]
)
def test_answers_are_looked_up_by_id_in_every_layout(tmp_path: Path, name: str, text: str) -> None:
    model = TableModel(written(tmp_path, text, name))
    assert isinstance(model, FoundationModel)
    answers = model.answer(items("bacz"), [" has a  POOL ", "not (Has a pool)", "Is old"])
    nan = np.nan
    np.testing.assert_array_equal(answers, [[0, 1, 1], [1, 0, 0], [nan, nan, 1], [nan, nan, nan]])
    assert len(model.fingerprint) == 64


def test_the_id_column_can_be_named_and_is_the_first_without_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, "house,x\n1,yes\n0,no\n")
    np.testing.assert_array_equal(TableModel(path).answer(items("10"), ["x"]), [[1], [0]])
    np.testing.assert_array_equal(TableModel(path, id_column="x").answer([Item("no", "")], ["house"]), [[0]])
    with pytest.raises(InputError, match="expected an id column 'name', found house, x"):
        TableModel(path, id_column="name")


def test_the_long_layout_knows_the_items_that_any_line_lists(tmp_path: Path) -> None:
    text = '{"question": "Is red", "yes": [1, "2"]}\n{"question": "Is new", "yes": []}\n{"ids": [3]}\n'
    model = TableModel(written(tmp_path, text, "k.jsonl"))
    answers = model.answer(items("1234"), ["is red", "is new"])
    np.testing.assert_array_equal(answers, [[1, 0], [1, 0], [0, 0], [np.nan, np.nan]])


def test_an_unknown_attribute_is_named_with_the_closest_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has no attribute 'Has a pond'; the closest it knows is 'Has a pool'"):
        TableModel(written(tmp_path, CSV)).answer(items("a"), ["Has a pond"])


def test_proposals_are_the_attributes_of_the_positives_or_opposites_of_those_of_the_negatives(tmp_path: Path) -> None:
    rows = [f"p{i},1,0,{i % 2},1" for i in range(8)] + [f"n{i},0,{int(i > 0)},{i % 2},1" for i in range(8)]
    model = TableModel(written(tmp_path, "\n".join(["id,best,worst,noise,all", *rows])))
    positive, negative = (tuple(Item(f"{group}{i}", "") for i in range(8)) for group in "pn")
    contrast = Contrast(positive, negative)
    assert model.propose(contrast, 9) == ["best", "not (worst)"]
    assert model.propose(contrast, 1) == ["best"]
    assert model.propose(contrast.reversed(), 9) == ["not (best)", "worst"]
    taken = Contrast(positive, negative, existing=("not (BEST)", "worst", "something else"))
    assert model.propose(taken, 9) == []
    assert model.suggest([*positive, *negative], "task", 2) == ["best", "noise"]
    assert model.suggest([], "task", 2) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("k.csv", "", "the file is empty"),
        ("k.csv", "id,x\n", "a header and no row"),
        ("k.csv", "id\na\n", "expected attribute columns beside the ids in 'id', found none"),
        ("k.csv", "id,x\na,yes\nb,maybe\n", "line 3, column 'x': expected yes, no, .* found 'maybe'"),
        ("k.csv", "id,x\na,yes\na,no\n", "line 3: the id 'a' was on line 2 already"),
        ("k.csv", "id,x\n,yes\n", "line 2: expected an id"),
        ("k.csv", "id,x,X\na,yes,no\n", "the column 'X' is there twice"),
        ("k.csv", "id,x\na,yes,no\n", "line 2: expected 2 cells as in the header, found 3"),
        ("k.csv", b"id,x\n\xe9,yes\n", "line 2: expected UTF-8 text"),
        ("k.xlsx", "id,x\na,1\n", r"a \.csv, \.tsv or \.jsonl file"),
        ("k.jsonl", "{id}\n", "line 1: expected one JSON object"),
        ("k.jsonl", "[1]\n", "line 1: expected a JSON object with keys"),
        ("k.jsonl", '{"id": 1, "x": [1]}\n', r"line 1, column 'x': .* found \[1\]"),
        ("k.jsonl", '{"question": "x", "yes": 3}\n', "line 1: expected .*question"),
        ("k.jsonl", '{"question": "x", "yes": [1]}\n{"question": "X", "yes": []}\n', "the question 'X' is there twice"),
        ("k.jsonl", '{"ids": [1]}\n', "expected questions with the ids"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TableModel(written(tmp_path, text, name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: expected a readable table of attributes: No such file"):
        TableModel(tmp_path / "none.csv")


def test_the_recorded_answers_about_films(data_folder: Path) -> None:
    model = TableModel(data_folder / "ml-1m" / "movie_answers.jsonl")
    with (data_folder / "ml-1m" / "movies_top512.csv").open(encoding="utf-8") as file:
        films = [Item(row["ml_id"], row["title"]) for row in csv.DictReader(file)]
    answers = model.answer(films, model.texts)
    assert answers.shape == (512, 114)
    animated = answers[:, model.texts.index("Is animated")]
    assert np.nansum(animated) == 22
    texts = model.propose(Contrast(tuple(f for f, a in zip(films, animated, strict=True) if a == 1), tuple(films[:40])), 3)
    assert texts[0] == "Is animated"


def test_proposals_for_both_groups_are_attributes_and_no_opposites(tmp_path: Path) -> None:
    model = TableModel(written(tmp_path, "id,red,old,big,new\na,1,0,1,0\nb,1,0,0,0\nc,0,1,1,1\nd,0,1,0,0\n"))
    contrast = Contrast(items("ab"), items("cd"), (), ())
    assert model.propose_both(contrast, 3) == (["red"], ["old", "new"])
    assert model.propose_both(contrast, 1) == (["red"], ["old"])
    assert model.propose_both(contrast.reversed(), 3) == (["old", "new"], ["red"])
    taken = Contrast(items("ab"), items("cd"), (), ("not (old)", "red"))
    assert model.propose_both(taken, 3) == ([], ["new"])


def test_a_table_of_other_items_is_refused_before_the_run(tmp_path: Path) -> None:
    """Else all answers would be missing, and the run end with no question and no word about it."""
    path = written(tmp_path, CSV)
    TableModel(path).check_items(items("xyc"))
    table = pd.DataFrame({"colour": ["red", "blue"] * 10, "y": np.arange(20.0)})
    for model in (f"table:{path}", f"rules+table:{path}"):
        with pytest.raises(OptionError, match="knows none of the items by id: theirs are such as '0', its own such as 'a'"):
            discover(table, model, target="y", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
