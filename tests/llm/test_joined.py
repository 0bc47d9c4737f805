"""Several models as one: who proposes in which order, who answers what, and what no one knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.joined import JoinedModel
from genz_ppl.llm.registry import open_model
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.served.settings import is_served, joined_parts, served_name
from genz_ppl.llm.table import TableModel
from genz_ppl.types import Contrast, FloatArray, Item

CSV = "id,film is animated,Is old\na,1,0\nb,0,1\nc,,1\n"
ITEMS = [Item(name, name, {"size": size, "film": "drama"}) for name, size in zip("abcd", (1, 2, 3, 4), strict=True)]


class Anything:
    """Answers yes to everything."""

    def __init__(self, wordings: Sequence[str] = ()) -> None:
        self.wordings, self.asked = list(wordings), [""]

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        self.asked = list(features)
        return np.ones((len(items), len(features)))

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return self.wordings[:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return self.wordings[:n]


@pytest.fixture
def table(tmp_path: Path) -> TableModel:
    (tmp_path / "known.csv").write_text(CSV, encoding="utf-8")
    return TableModel(tmp_path / "known.csv")


def test_each_question_goes_to_the_model_that_knows_it(table: TableModel) -> None:
    model = JoinedModel([RulesModel(), table])
    answers = model.answer(ITEMS, ["size is at least 3", "not (is OLD)", "Is old", "Is it any good?"])
    nan = np.nan
    np.testing.assert_array_equal(answers, [[0, 1, 0, nan], [0, 0, 1, nan], [1, 0, 1, nan], [1, nan, nan, nan]])
    assert model.failures == {"no model knows the question": 4}


@pytest.mark.parametrize("table_first", [True, False])
def test_a_listed_question_is_not_read_as_a_rule(table: TableModel, table_first: bool) -> None:
    rules = RulesModel()
    assert rules.knows("film is animated")
    model = JoinedModel([table, rules] if table_first else [rules, table])
    np.testing.assert_array_equal(
        model.answer(ITEMS, ["film is animated", "film is drama"]), [[1, 1], [0, 1], [np.nan, 1], [np.nan, 1]]
    )


def test_a_model_that_takes_any_wording_comes_last(table: TableModel) -> None:
    first, second = Anything(), Anything()
    model = JoinedModel([first, RulesModel(), second, table])
    answers = model.answer(ITEMS, ["size is 1", "Is it any good?", "Is old"])
    np.testing.assert_array_equal(answers[:2], [[1, 1, 0], [0, 1, 1]])
    assert first.asked == ["Is it any good?"]
    assert second.asked == [""]
    assert not model.failures


def test_wordings_come_in_turn_the_best_first_and_none_twice() -> None:
    model = JoinedModel([Anything(["a1", "both", "a3"]), Anything(["b1"]), Anything(["c1", "c2", "both", "c4"])])
    contrast = Contrast(tuple(ITEMS[:2]), tuple(ITEMS[2:]))
    everything = ["a1", "b1", "c1", "both", "c2", "a3", "c4"]
    for n in range(9):
        assert model.propose(contrast, n) == model.suggest(ITEMS, "", n)
    assert model.suggest(ITEMS, "", 4) == everything[:4]
    assert model.propose(contrast, 5) == ["a1", "b1", "c1", "both", "c2"]
    assert model.propose(contrast, 9) == everything


def test_what_exists_of_one_model_does_not_disturb_the_other(table: TableModel) -> None:
    model = JoinedModel([RulesModel(), table])
    contrast = Contrast(tuple(ITEMS[:1]), tuple(ITEMS[1:3]))
    first = model.propose(contrast, 2)
    assert first[1] == "not (Is old)"
    again = model.propose(Contrast(contrast.positive, contrast.negative, existing=tuple(first)), 9)
    assert again
    assert not {*first, "Is old"} & set(again)


def test_names_are_joined_by_plus(tmp_path: Path) -> None:
    path = tmp_path / "a+b.csv"
    path.write_text(CSV, encoding="utf-8")
    model = open_model(f" rules + table:{path}")
    assert isinstance(model, JoinedModel)
    assert [type(part) for part in model.models] == [RulesModel, TableModel]
    assert model.fingerprint == f"rules/1+{TableModel(path).fingerprint}"
    with pytest.raises(InputError, match=r"absent\.csv"):
        open_model("rules+table:absent.csv")
    with pytest.raises(OptionError, match=r"unknown model 'rules\+ruels'; choose .* or several joined by \+"):
        open_model("rules+ruels")
    with pytest.raises(OptionError, match="expected at least two, got 1"):
        JoinedModel([RulesModel()])


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("rules", ["rules"]),
        ("rules+table:x.csv", ["rules", "table:x.csv"]),
        ("table:my+rules.csv", ["table:my+rules.csv"]),
        ("table:a + table:b", ["table:a", "table:b"]),
        ("rules+my.module:thing+similarity", ["rules", "my.module:thing", "similarity"]),
        ("openai:m+v2", ["openai:m+v2"]),
        ("openai:m+rules", ["openai:m", "rules"]),
    ],
)
def test_a_plus_inside_a_name_is_part_of_it(spec: str, parts: list[str]) -> None:
    assert joined_parts(spec) == parts


@pytest.mark.parametrize("spec", ["openai:m+rules", "rules+openai:m", "table:x+openai:m"])
def test_served_models_cannot_be_joined_yet(spec: str) -> None:
    assert is_served(spec)
    for refuse in (served_name, open_model):
        with pytest.raises(OptionError, match="served models cannot be joined yet"):
            refuse(spec)
