"""Screening: what a few answers tell of a wording, and a race that pays little for the wrong ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.discovery.mine.rounds import MOST_FALLEN
from genz_ppl.discovery.mine.screening import Race, alike, evidence, normal_scores, telling_items
from genz_ppl.discovery.run.progress import UNASKED, asked
from genz_ppl.types import FloatArray

T = 400


class World:
    """Named columns of answers; counts what is asked."""

    def __init__(self, **columns: FloatArray) -> None:
        self.columns, self.asked = columns, dict.fromkeys(columns, 0)

    def answer(self, items: Sequence[int], texts: Sequence[str]) -> FloatArray:
        for text in texts:
            self.asked[text] += len(items)
        return np.stack([self.columns[text][list(items)] for text in texts], axis=1)


@pytest.fixture
def depth() -> FloatArray:
    return normal_scores(np.random.default_rng(0).random(T))


def column(depth: FloatArray, effect: float, seed: int) -> FloatArray:
    """Answers whose probability of a yes rises with depth."""
    return (np.random.default_rng(seed).random(len(depth)) < 0.4 + effect * np.tanh(depth)).astype(np.float64)


def race(world: World, pool: dict[str, np.ndarray], depth: FloatArray, care: int = 0) -> Race:
    order = telling_items(depth, np.zeros(0, dtype=np.int64))
    return Race(pool, depth, order, world.answer, 80, 3.0, care=care)


def test_the_right_wording_wins_and_the_wrong_ones_cost_little(depth: FloatArray) -> None:
    wrong = {f"wrong {n}": column(depth, 0.0, n) for n in range(5)}
    world = World(right=column(depth, 0.3, 99), **wrong)
    pool: dict[str, np.ndarray] = {}
    assert race(world, pool, depth).run({**dict.fromkeys(wrong, 1), "right": 1}, []) == "right"
    assert world.asked.pop("right") == T
    assert asked(pool["right"]).all()
    assert sum(world.asked.values()) <= 5 * 40
    assert all(world.asked[text] == asked(pool[text]).sum() for text in wrong)


def test_without_a_right_wording_nobody_wins(depth: FloatArray) -> None:
    wins = 0
    for seed in range(40):
        world = World(**{f"w{n}": column(depth, 0.0, 1000 * seed + n) for n in range(6)})
        pool: dict[str, np.ndarray] = {}
        wins += race(world, pool, depth).run(dict.fromkeys(world.columns, 1), []) is not None
    # A score of 2.3 on the named side is passed by chance once in 93 times, and three rounds must be passed.
    assert wins <= 6


def test_of_many_items_a_wording_good_by_luck_is_not_asked_about_all(depth: FloatArray) -> None:
    """One that passed the last round has to stay good with more answers; a right one does."""
    many = normal_scores(np.random.default_rng(1).random(20_000))
    wins, spent, lucky = 0, 0, 0
    for seed in range(60):
        world = World(**{f"w{n}": column(many, 0.0, 1000 * seed + n) for n in range(9)})
        wins += race(world, {}, many).run(dict.fromkeys(world.columns, 1), []) is not None
        most = max(world.asked.values())
        lucky, spent = lucky + (most > 80), spent + most * (most > 80)
    assert lucky >= 3  # passed the last round
    assert wins <= 1
    assert spent <= lucky * 2000  # asked about all, each would have been 20 000
    world = World(right=column(many, 0.3, 99))
    assert race(world, {}, many).run({"right": 1}, []) == "right"
    assert world.asked == {"right": 20_000}


def test_few_wordings_fall_at_a_checkpoint_of_one_race(depth: FloatArray) -> None:
    """What a plan reckons with: no more than MOST_FALLEN get as far as a checkpoint without winning."""
    many = normal_scores(np.random.default_rng(1).random(4000))
    ends = telling_items(many, np.zeros(0, dtype=np.int64))[:80]
    fallen = []
    for seed in range(10):
        lucky = {f"w{n}": column(many, 0.0, 100 * seed + n) for n in range(12)}
        for n, answers in enumerate(lucky.values()):
            flipped = np.random.default_rng(100 * seed + n).random(len(ends)) < 0.35
            answers[ends] = (many[ends] > 0) ^ flipped
        world = World(**lucky)
        race(world, {}, many).run(dict.fromkeys(world.columns, 1), [])
        fallen.append(sum(80 < n < 4000 for n in world.asked.values()))
    assert max(fallen) == MOST_FALLEN


def test_a_wording_for_the_other_side_does_not_win(depth: FloatArray) -> None:
    world = World(right=column(depth, 0.3, 99))
    assert race(world, {}, depth).run({"right": -1}, []) is None
    assert race(world, {}, depth).run({"right": 1}, []) == "right"


def test_what_was_answered_qualifies_at_no_cost(depth: FloatArray) -> None:
    world = World(right=column(depth, 0.3, 99), other=column(depth, 0.0, 1))
    pool = {text: np.full(T, UNASKED, dtype=np.int8) for text in world.columns}
    for text in pool:
        pool[text][::4] = world.columns[text][::4]
    assert race(world, pool, depth).recall(list(pool)) == "right"
    assert world.asked == {"right": T - T // 4, "other": 0}


def test_more_care_asks_more_of_every_wording(depth: FloatArray) -> None:
    world = World(wrong=column(depth, 0.0, 3))
    first = race(world, {}, depth).rounds
    assert [size for size, _ in race(world, {}, depth, care=1).rounds] == [2 * size for size, _ in first]


def test_a_wording_that_answers_like_another_is_dropped(depth: FloatArray) -> None:
    right = column(depth, 0.3, 99)
    world = World(right=right, again=1 - right)
    pool: dict[str, np.ndarray] = {}
    assert race(world, pool, depth).run({"right": 1, "again": -1}, []) == "right"
    assert world.asked["again"] < T
    assert alike(pool["right"], pool["again"])


@given(st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_every_item_is_in_the_order_once_and_compared_ones_first(seed: int, n_compared: int) -> None:
    random = np.random.default_rng(seed)
    depth = normal_scores(random.random(101))
    compared = random.choice(101, n_compared, replace=False).astype(np.int64)
    order = telling_items(depth, compared)
    assert sorted(order.tolist()) == list(range(101))
    assert set(order[:n_compared].tolist()) == set(compared.tolist())


def test_with_care_a_wording_is_given_up_once_it_cannot_be_worth_its_price(depth: FloatArray) -> None:
    """Of wordings without effect most are asked about few items; few of those just worth their price are lost."""
    asked_about, won = [], 0
    for seed in range(60):
        world = World(wrong=column(depth, 0.0, seed))
        race(world, {}, depth, care=2).run({"wrong": 1}, [])
        asked_about.append(world.asked["wrong"])
        gain = evidence(column(depth, 0.14, seed).astype(np.int8), depth).gain
        won += gain > 8 and race(World(weak=column(depth, 0.14, seed)), {}, depth, care=2).run({"weak": 1}, []) is not None
    assert np.mean(asked_about) < 120
    assert won >= 0.7 * sum(evidence(column(depth, 0.14, seed).astype(np.int8), depth).gain > 8 for seed in range(60))


def test_the_slope_does_not_depend_on_which_depths_were_asked(depth: FloatArray) -> None:
    """The gain promised from the two ends is that of all items, within its standard error."""
    gains, whole = [], []
    for seed in range(200):
        full = column(depth, 0.2, seed).astype(np.int8)
        part = np.full(T, UNASKED, dtype=np.int8)
        ends = telling_items(depth, np.zeros(0, dtype=np.int64))[:160]
        part[ends] = full[ends]
        gains.append(np.sqrt(2 * evidence(part, depth).gain / T))
        whole.append(np.sqrt(2 * evidence(full, depth).gain / T))
    assert abs(float(np.mean(gains)) - float(np.mean(whole))) < 0.05


def test_a_wording_proposed_again_for_another_split_is_asked_about_its_items() -> None:
    random = np.random.default_rng(1)
    first, second = normal_scores(random.random(T)), normal_scores(random.random(T))
    world = World(about_second=column(second, 0.4, 3))
    pool: dict[str, np.ndarray] = {}
    assert race(world, pool, first).run({"about_second": 1}, []) is None
    before = world.asked["about_second"]
    assert 0 < before < T
    # Items at the ends of the first split are anywhere in the second: they tell too little of it.
    assert race(world, pool, second).run({"about_second": 1}, []) == "about_second"


def test_a_wording_proposed_again_goes_on_where_it_stopped(depth: FloatArray) -> None:
    world = World(wrong=column(depth, 0.0, 2))
    pool: dict[str, np.ndarray] = {}
    asked_about = []
    for _ in range(6):
        assert race(world, pool, depth).run({"wrong": 1}, []) is None
        asked_about.append(world.asked["wrong"])
    assert asked_about[:2] == [20, 80]
    assert asked_about[-1] <= 80  # the items of the last round, never all
    assert (pool["wrong"] > UNASKED).sum() == asked_about[-1]


def test_a_sharp_split_needs_fewer_items(depth: FloatArray) -> None:
    order = telling_items(depth, np.zeros(0, dtype=np.int64))
    sizes = []
    for sharpness in (0.1, 0.4, 0.9):
        world = World(wrong=np.where(depth > 0, 0.0, 1.0))
        Race({}, depth, order, world.answer, 80, 3.0, sharpness=sharpness).run({"wrong": 1}, [])
        sizes.append(world.asked["wrong"])
    assert sizes[0] == sizes[1] > sizes[2]


def test_care_finds_weaker_wordings(depth: FloatArray) -> None:
    found = [0, 0]
    for care in (0, 3):
        for seed in range(30):
            world = World(weak=column(depth, 0.12, seed))
            found[care > 0] += race(world, {}, depth, care=care).run({"weak": 1}, []) is not None
    assert found[1] > found[0] + 5
