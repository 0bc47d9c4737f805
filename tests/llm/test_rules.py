from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.rules import search
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.rules.predicates import Comparison, parse
from genz_ppl.types import Contrast, FieldValue, Item

MODEL = RulesModel()


def item(name: object, **fields: FieldValue) -> Item:
    return Item(str(name), str(name), fields)


def contrast(positive: Sequence[Item], negative: Sequence[Item], existing: Sequence[str] = ()) -> Contrast:
    return Contrast(tuple(positive), tuple(negative), existing=tuple(existing))


def test_it_is_a_foundation_model() -> None:
    assert isinstance(MODEL, FoundationModel)


def test_answers_are_one_zero_and_nan_for_missing_or_unknown_fields() -> None:
    items = [item(1, area=3500, roof="tile"), item(2, area=None, roof="slate"), item(3)]
    answers = MODEL.answer(items, ["area is at least 3000", "roof is tile", "colour is red"])
    np.testing.assert_array_equal(answers, [[1, 1, np.nan], [np.nan, 0, np.nan], [np.nan, np.nan, np.nan]])
    assert MODEL.answer([], ["a is b"]).shape == (0, 1)
    assert MODEL.answer(items, []).shape == (3, 0)
    with pytest.raises(OptionError, match="cannot read the feature 'Has a garage'"):
        MODEL.answer(items, ["Has a garage"])


def test_items_without_fields_are_read_by_their_text() -> None:
    positive = [Item(str(i), f"granite house {i}") for i in range(6)]
    negative = [Item(str(i), f"wooden house {i}") for i in range(6)]
    (text,) = MODEL.propose(contrast(positive, negative), 1)
    assert text == "text mentions 'granite'"
    np.testing.assert_array_equal(MODEL.answer([positive[0], negative[0]], [text]), [[1], [0]])


def bit_contrast(bit: int, seed: int, kind: str, field: str, misplaced: int = 0) -> Contrast:
    """About 40 numbers with the bit and 40 without, none near a boundary of a long period."""
    rng = random.Random(1000 * bit + seed)
    period = 2 ** (bit + 1)
    margin = rng.uniform(0, period / 8) if bit >= 3 else 0.0
    clear = [n for n in range(512) if min(abs(n % period - edge) for edge in (0, period // 2, period)) >= margin]
    upper = rng.sample([n for n in clear if n >> bit & 1], 40)
    lower = rng.sample([n for n in clear if not n >> bit & 1], 40)
    for place in range(misplaced):  # far from a boundary, or else the boundary itself would be in doubt
        centre = [
            n for n in clear if not n >> bit & 1 and n not in lower and abs(n % period - period / 4) <= max(period / 8, 0.5)
        ]
        upper[place] = rng.choice(centre)
    convert = str if kind == "text" else int
    return contrast(
        [Item(str(n), str(n), {field: convert(n)}) for n in upper], [Item(str(n), str(n), {field: convert(n)}) for n in lower]
    )


@pytest.mark.parametrize("bit", range(8, -1, -1))
@pytest.mark.parametrize(("kind", "field", "misplaced"), [("int", "n", 0), ("text", "the value", 0), ("int", "n", 1)])
def test_the_first_proposal_is_the_bit_that_differs(bit: int, kind: str, field: str, misplaced: int) -> None:
    numbers = range(512)
    items = [Item(str(n), str(n), {field: n}) for n in numbers]
    truth = np.array([[float(n >> bit & 1)] for n in numbers])
    for seed in range(8):
        shown = bit_contrast(bit, seed, kind, field, misplaced)
        np.testing.assert_array_equal(MODEL.answer(items, MODEL.propose(shown, 6)[:1]), truth)
        np.testing.assert_array_equal(MODEL.answer(items, MODEL.propose(shown.reversed(), 6)[:1]), 1 - truth)


@pytest.mark.parametrize(
    ("expected", "yes", "no"),
    [
        ("roof is tile", [{"roof": "tile"}], [{"roof": "slate"}, {"roof": "shingle"}]),
        ("pool is true", [{"pool": True}], [{"pool": False}, {"pool": False}]),
        ("code starts with 92", [{"code": "92a1"}, {"code": "92b2"}], [{"code": "90c3"}, {"code": "93d4"}]),
        ("code starts with 07", [{"code": "0711"}, {"code": "0722"}], [{"code": "0911"}, {"code": "0122"}]),
        (
            "about mentions 'granite'",
            [{"about": "a Granite top"}, {"about": "much granite"}],
            [{"about": "the laminate top"}, {"about": "top, of formica"}],
        ),
    ],
)
def test_each_kind_is_found_in_its_own_words(
    expected: str, yes: list[dict[str, FieldValue]], no: list[dict[str, FieldValue]]
) -> None:
    positive = [Item(f"p{i}", "", yes[i % len(yes)]) for i in range(12)]
    negative = [Item(f"n{i}", "", no[i % len(no)]) for i in range(12)]
    assert expected in MODEL.propose(contrast(positive, negative), 1)


def test_ranges_and_thresholds_take_simple_numbers() -> None:
    inside = [item(i, area=1510 + 35 * i) for i in range(20)]
    outside = [item(i, area=area) for i, area in enumerate([*range(800, 1480, 70), *range(2260, 3000, 70)])]
    assert MODEL.propose(contrast(inside, outside), 1)[0].startswith("area is between 1500 and 2")
    high, low = [item(i, area=3011 + 9 * i) for i in range(9)], [item(i, area=2987 - 9 * i) for i in range(9)]
    assert MODEL.propose(contrast(high, low), 1) == ["area is at least 3000"]
    assert MODEL.propose(contrast(low, high), 1) == ["area is less than 3000"]


@pytest.mark.parametrize(("shared", "proposed"), [(2, False), (3, True)])
def test_fractions_that_few_items_share_are_the_same_by_chance(shared: int, proposed: bool) -> None:
    positive = [item(i, size=2.5 if i < shared else 0.1 + i) for i in range(8)]
    negative = [item(10 + i, size=0.3 + i) for i in range(8)]
    assert ("size is 2.5" in MODEL.propose(contrast(positive, negative), 50)) is proposed
    whole = [Item(each.id, each.text, {"size": int(10 * float(str(each.fields["size"])))}) for each in (*positive, *negative)]
    assert "size is 25" in MODEL.propose(contrast(whole[:8], whole[8:]), 50)


def test_existing_texts_and_their_opposites_do_not_come_back() -> None:
    high, low = [item(i, size=i, kind="a") for i in range(20, 30)], [item(i, size=i, kind="b") for i in range(10)]
    assert MODEL.propose(contrast(high, low), 1) == ["kind is a"]
    assert MODEL.propose(contrast(high, low, ["words of another model"]), 1) == ["kind is a"]
    (text,) = MODEL.propose(contrast(high, low, ["kind IS NOT a"]), 1)
    cut = parse(text)
    assert isinstance(cut, Comparison)
    assert cut.relation == "at least"
    opposite = Comparison("size", "less than", cut.numbers).wording
    again = MODEL.propose(contrast(high, low, ["kind is a", opposite]), 20)
    assert text not in again
    assert opposite not in MODEL.propose(contrast(low, high, [text]), 20)


def test_proposals_differ_on_what_is_shown() -> None:
    rng = random.Random(3)
    numbers = rng.sample(range(4096), 80)
    items = [item(n, n=n, twice=2 * n) for n in sorted(numbers)]
    shown = contrast(items[40:], items[:40])
    texts = MODEL.propose(shown, 10)
    answers = MODEL.answer(items, texts)
    assert len({column.tobytes() for column in answers.T}) == len(texts) == 10
    cuts = [answers[:, i] for i, text in enumerate(texts) if text.startswith("n is")]
    assert all(np.mean(a != b) >= 0.1 for i, a in enumerate(cuts) for b in cuts[:i])


def test_missing_values_do_not_count_and_nothing_to_tell_gives_nothing() -> None:
    positive = [item(i, a="x" if i < 5 else None, b=i % 2 == 0) for i in range(10)]
    negative = [item(i, a="y" if i < 5 else None, b=i % 2 == 0) for i in range(10)]
    assert MODEL.propose(contrast(positive, negative), 5) == ["a is x"]
    assert MODEL.propose(contrast(positive, positive), 5) == []
    assert MODEL.propose(contrast(positive, []), 5) == []
    assert MODEL.propose(contrast(positive, negative), 0) == []


def test_proposals_are_deterministic_and_hold_more_often_among_the_positives() -> None:
    rng = random.Random(1)
    made = [item(i, n=rng.randrange(1000), c=rng.choice("xyz"), t=f"{rng.choice('abc') * 4} and word") for i in range(60)]
    shown = contrast(made[:30], made[30:])
    texts = MODEL.propose(shown, 8)
    assert texts == RulesModel().propose(shown, 8)
    assert len(texts) == 8
    answers = MODEL.answer(made, texts)
    assert (answers[:30].mean(axis=0) > answers[30:].mean(axis=0)).all()


def test_suggestions_are_balanced_and_take_the_fields_in_turn() -> None:
    items = [item(i, n=i, half=i % 4 < 2, rare="a" if i == 0 else "b", note=None) for i in range(100)]
    texts = MODEL.suggest(items, "explain the price", 4)
    assert {parse(text).field for text in texts[:2]} == {"n", "half"}
    assert texts == MODEL.suggest(items, "another task", 4)
    shares = np.nanmean(MODEL.answer(items, texts), axis=0)
    assert shares[:2] == pytest.approx([0.5, 0.5])
    assert len(set(texts)) == 4
    assert not any("rare" in text for text in texts)
    assert MODEL.suggest([], "task", 3) == []


def test_proposals_on_the_houses_are_answered_for_every_house_that_has_the_field(data_folder: Path) -> None:
    from genz_ppl.data.houses import houses_items

    houses = houses_items(data_folder / "houses")
    assert houses.targets is not None
    order = np.argsort(houses.targets[:, 0])
    low, high = ([houses.items[index] for index in part] for part in (order[:40], order[-40:]))
    texts = MODEL.propose(contrast(high, low), 10)
    answers = MODEL.answer([*high, *low], texts)
    assert len(texts) == 10
    assert (np.nanmean(answers[:40], axis=0) - np.nanmean(answers[40:], axis=0) > 0.4).all()


KINDS: list[st.SearchStrategy[FieldValue]] = [
    st.integers(-50, 3000),
    st.integers(100, 999).map(str),
    st.one_of(st.floats(-5, 5), st.just(float("nan"))),
    st.booleans(),
    st.sampled_from(["tile", "Tile", "clay tile", "3.0", "true", " x", "92-A", "92-B", 'a "b"', ""]),
    st.text(max_size=12),
]


COLUMNS = st.one_of([st.lists(st.one_of(st.none(), kind), min_size=12, max_size=30) for kind in KINDS])


@given(COLUMNS, st.integers(2, 10))
def test_every_proposal_answers_as_the_search_counted(values: list[FieldValue], positives: int) -> None:
    """Proposals are ranked by truth found fast, and answered one by one: both must be the same."""
    items = [item(i, value=value) for i, value in enumerate(values)]
    pool = search._pool(items, positives)
    worded = list(pool.worded(len(pool.score)))
    for candidate, column in zip(worded, MODEL.answer(items, [c.text for c in worded]).T, strict=True):
        np.testing.assert_array_equal(np.nan_to_num(column, nan=-1.0), candidate.truth, err_msg=candidate.text)


def test_a_set_of_values_is_found_and_must_earn_its_length() -> None:
    random = np.random.default_rng(0)
    codes = [f"9{number}" for number in range(1000, 1040)]
    dear = {"91003", "91017", "91029", "91036"}
    items = [Item(str(i), "", {"zip": codes[random.integers(len(codes))]}) for i in range(600)]
    positive = [item for item in items if item.fields["zip"] in dear][:30]
    negative = [item for item in items if item.fields["zip"] not in dear][:30]
    first = RulesModel().propose(Contrast(tuple(positive), tuple(negative)), 1)
    assert first == ["zip is one of 91003, 91017, 91029, 91036"]
    mixed = random.permutation(len(items))
    chance = Contrast(tuple(items[i] for i in mixed[:30]), tuple(items[i] for i in mixed[30:60]))
    assert not any("one of" in text for text in RulesModel().propose(chance, 3))
