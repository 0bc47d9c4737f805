"""The model that compares meanings: its encoder against published numbers, and what it can and cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.similarity.embedding import LONGEST, missing, open_encoder
from genz_ppl.llm.similarity.model import USUAL, SimilarityModel
from genz_ppl.llm.similarity.phrases import PhrasesModel
from genz_ppl.types import Contrast, Item

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

# No word is shared by all of a side, so words alone do not tell them apart.
SPACE = (
    "A crew drifts in a damaged shuttle above the moon.",
    "Astronauts land on a red planet and find ruins.",
    "Aliens attack a star cruiser far from Earth.",
    "A rocket with three scientists leaves orbit for ever. They quarrel.",
    "A signal from a distant galaxy puzzles an observatory.",
    "Colonists on Mars rebel against their company.",
)
LOVE = (
    "Two strangers meet at a wedding and fall for each other.",
    "A shy baker writes letters to the woman he adores.",
    "Her fiance leaves her, and her best friend kisses her.",
    "A prince courts a maid, who marries him in spring.",
    "After the divorce they date again and become a couple.",
    "A summer romance between a dancer and a lifeguard.",
)
NEW_SPACE = ("An android wakes aboard a wrecked spaceship.", "A comet will hit the earth.", "Pilots test a lunar lander.")
NEW_LOVE = ("The widow falls in love with her doctor.", "A bride runs from the altar.", "Old lovers meet again in Paris.")


@pytest.fixture(scope="module", params=[SimilarityModel, PhrasesModel])
def model(request: pytest.FixtureRequest) -> SimilarityModel:
    kind: type[SimilarityModel] = request.param
    return kind()


def items_of(texts: Sequence[str]) -> tuple[Item, ...]:
    return tuple(Item(str(number), text) for number, text in enumerate(texts))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Naïve CAFÉ—don't pay $5!", [101, 15743, 7668, 1517, 2123, 1005, 1056, 3477, 1002, 1019, 999, 102]),
        ("", [101, 102]),
        ("x" * 101 + " a", [101, 100, 1037, 102]),
    ],
)
def test_tokens_are_those_of_the_original(text: str, tokens: list[int]) -> None:
    """The numbers come from the tokenizer that the weights were trained with."""
    assert open_encoder().tokens(text) == tokens


def test_directions_are_those_of_the_original() -> None:
    """The cosines that the model's makers print for these three sentences, to four digits."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    found = open_encoder().directions(texts)
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(found @ found.T, expected, atol=2e-4)


def test_long_texts_are_cut() -> None:
    assert len(open_encoder().tokens("house " * 1000)) == LONGEST


def test_a_threshold_in_the_wording_decides(model: SimilarityModel) -> None:
    items = items_of(["The kitchen has granite counters.", "A dog sleeps."])
    cosines = open_encoder().directions([item.text for item in items]) @ open_encoder().directions(["stone worktops"])[0]
    assert cosines[0] > cosines[1]
    between = float(np.floor(100 * cosines.mean()) / 100)
    assert model.answer(items, [f'about "stone worktops" (similarity {between:.2f})']).tolist() == [[1.0], [0.0]]
    assert model.answer(items, ['about "stone worktops" (similarity 0.00)'])[0] == 1
    assert model.answer(items, ['about "stone worktops" (similarity 0.99)']).tolist() == [[0.0], [0.0]]


def test_another_wording_is_compared_with_the_usual_threshold(model: SimilarityModel) -> None:
    items = items_of((*SPACE, *LOVE))
    known = model.answer(items, [f'about "outer space" (similarity {USUAL:.2f})'])
    np.testing.assert_array_equal(model.answer(items, ["outer space"]), known)


def test_the_closest_sentence_counts(model: SimilarityModel) -> None:
    feature = ['about "swimming pool" (similarity 0.60)']
    long = "The street is quiet. The garden has a swimming pool. Taxes are low.\nThe roof was repaired."
    assert model.answer(items_of([long, long.replace("swimming pool", "shed")]), feature).tolist() == [[1.0], [0.0]]


def test_an_item_without_text_has_no_answer(model: SimilarityModel) -> None:
    assert np.isnan(model.answer(items_of(["", " \n ... "]), ["outer space"])).all()


def test_an_answer_does_not_depend_on_the_company(model: SimilarityModel) -> None:
    items = items_of((*SPACE, *LOVE))
    features = [f'about "{phrase}" (similarity 0.2{digit})' for phrase in ("planet", "marriage", "war") for digit in range(10)]
    together = model.answer(items, features)
    alone = [[SimilarityModel().answer([item], [feature])[0, 0] for feature in features] for item in items]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_topic_without_a_common_word_is_found(model: SimilarityModel, reverse: bool) -> None:
    """The phrase is from the texts, and the first one tells those shown apart, and others better than chance."""
    positive, negative = (items_of(LOVE), items_of(SPACE)) if reverse else (items_of(SPACE), items_of(LOVE))
    wordings = model.propose(Contrast(positive, negative), 3)
    assert 1 <= len(wordings) <= 3
    for wording in wordings:
        assert any(wording.split('"')[1] in item.text for item in positive)
    shown = model.answer([*positive, *negative], wordings)
    assert (shown[:6].mean(0) > shown[6:].mean(0)).all()
    assert shown[:6, 0].mean() - shown[6:, 0].mean() >= 5 / 6
    others = model.answer(items_of((*NEW_SPACE, *NEW_LOVE)), wordings).mean(1)
    assert (others[:3].mean() < others[3:].mean()) if reverse else (others[:3].mean() > others[3:].mean())


def test_what_exists_is_not_worded_again(model: SimilarityModel) -> None:
    contrast = Contrast(items_of(SPACE), items_of(LOVE))
    first = model.propose(contrast, 2)
    again = model.propose(Contrast(contrast.positive, contrast.negative, existing=(first[0],), context=(first[1],)), 20)
    sums = [open_encoder().directions(wording.split('"')[1::2]).sum(0) for wording in (*first, *again)]
    directions = np.array([direction / np.linalg.norm(direction) for direction in sums])
    assert (directions[:2] @ directions[2:].T).max() < 0.8


def test_the_order_of_items_does_not_matter(model: SimilarityModel) -> None:
    contrast = Contrast(items_of(SPACE), items_of(LOVE))
    assert model.propose(Contrast(contrast.positive[::-1], contrast.negative[::-1]), 5) == model.propose(contrast, 5)


def test_nothing_to_tell_apart(model: SimilarityModel) -> None:
    same = items_of(["The same text.", "The same text."])
    assert model.propose(Contrast(same, same), 3) == []
    assert model.propose(Contrast(items_of(["12 34 ...", ""]), same), 3) == []
    assert model.suggest(items_of(["", "..."]), "anything", 3) == []


def test_suggestions_are_about_the_task(model: SimilarityModel) -> None:
    items = items_of((*SPACE, *LOVE))
    first = model.suggest(items, "Is it set in outer space?", 1)[0].split('"')[1]
    assert any(first in text for text in SPACE)
    assert model.suggest(items, "", 2) == model.suggest(items, "", 2) != []


def test_it_knows_no_negation(model: SimilarityModel) -> None:
    """The limit that users must know of: it hears what a text is about, not what it says of it."""
    texts = items_of(["The house has a garage.", "The house has no garage."])
    assert model.answer(texts, ['about "garage" (similarity 0.40)']).tolist() == [[1.0], [1.0]]


def test_it_is_a_foundation_model(model: SimilarityModel) -> None:
    assert isinstance(model, FoundationModel)
    assert "MiniLM" in model.fingerprint


def test_a_group_is_named_by_several_phrases() -> None:
    """A topic that every text puts in other words is one question, and what that says is all that an answer needs."""
    model, items = PhrasesModel(), items_of((*SPACE, *LOVE))
    names = model._names(items[:6], items[6:])
    several = [name for name in names if len(name) > 1]
    assert several
    assert all(phrase in " ".join(SPACE) for name in several for phrase in name)
    assert model._names(items[5::-1], items[:5:-1]) == names
    wording = 'about "Astronauts", "Aliens attack", "Colonists on Mars" (similarity 0.15)'
    answers = PhrasesModel().answer(items, [wording])[:, 0]
    assert answers[:6].mean() - answers[6:].mean() >= 5 / 6
    np.testing.assert_array_equal(SimilarityModel().answer(items, [wording])[:, 0], answers)
