"""What every foundation model that ships must do, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.registry import open_model
from genz_ppl.llm.similarity.embedding import missing
from genz_ppl.types import Contrast, Item

COLOURS = ("red", "green", "blue", None)


@pytest.fixture
def items() -> list[Item]:
    random = np.random.default_rng(0)
    made = []
    for number in range(40):
        colour, size = COLOURS[int(random.integers(4))], int(random.integers(100))
        made.append(Item(f"i{number}", f"colour: {colour}\nsize: {size}", {"colour": colour, "size": size}))
    return made


WEIGHTS = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(params=["rules", "table", "joined", pytest.param("similarity", marks=[pytest.mark.slow, WEIGHTS])])
def model(request: pytest.FixtureRequest, items: Sequence[Item], tmp_path: Path) -> FoundationModel:
    if request.param in ("rules", "similarity"):
        return open_model(request.param)
    rows = ["id,is red,is large"]
    for item in items:
        colour = item.fields["colour"]
        rows.append(f"{item.id},{'' if colour is None else int(colour == 'red')},{int(float(str(item.fields['size'])) >= 50)}")
    (tmp_path / "known.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return open_model(f"{'rules+' * (request.param == 'joined')}table:{tmp_path / 'known.csv'}")


def sides(items: Sequence[Item]) -> Contrast:
    large = [item for item in items if float(str(item.fields["size"])) >= 50]
    small = [item for item in items if float(str(item.fields["size"])) < 50]
    return Contrast(tuple(large), tuple(small))


def test_it_is_a_foundation_model(model: FoundationModel) -> None:
    assert isinstance(model, FoundationModel)


def test_it_answers_what_it_proposes(model: FoundationModel, items: Sequence[Item]) -> None:
    contrast = sides(items)
    texts = model.propose(contrast, 3)
    assert 1 <= len(texts) <= 3
    answers = model.answer(items, texts)
    assert answers.shape == (len(items), len(texts))
    assert set(np.unique(answers[~np.isnan(answers)])) <= {0.0, 1.0}
    positive = np.nanmean(model.answer(contrast.positive, texts), axis=0)
    negative = np.nanmean(model.answer(contrast.negative, texts), axis=0)
    assert (positive > negative).all()


def test_the_reverse_contrast_is_worded_the_other_way_round(model: FoundationModel, items: Sequence[Item]) -> None:
    contrast = sides(items)
    first = model.propose(contrast.reversed(), 1)
    assert np.nanmean(model.answer(contrast.negative, first)) > np.nanmean(model.answer(contrast.positive, first))


def test_it_does_not_repeat_what_exists(model: FoundationModel, items: Sequence[Item]) -> None:
    contrast = sides(items)
    first = model.propose(contrast, 1)
    again = model.propose(Contrast(contrast.positive, contrast.negative, existing=tuple(first)), 5)
    assert not set(first) & set(again)


def test_it_is_repeatable(model: FoundationModel, items: Sequence[Item]) -> None:
    contrast = sides(items)
    assert model.propose(contrast, 4) == model.propose(contrast, 4)
    assert model.suggest(items, "explain the size", 3) == model.suggest(items, "explain the size", 3)


def test_an_answer_does_not_depend_on_the_company(model: FoundationModel, items: Sequence[Item]) -> None:
    texts = model.suggest(items, "explain the size", 2)
    together = model.answer(items, texts)
    alone = np.concatenate([model.answer([item], texts) for item in items])
    np.testing.assert_array_equal(together, alone)


def test_nothing_asked_nothing_answered(model: FoundationModel, items: Sequence[Item]) -> None:
    assert model.answer(items, []).shape == (len(items), 0)
    assert model.answer([], model.suggest(items, "", 1)).shape == (0, 1)
    assert model.propose(sides(items), 0) == []
