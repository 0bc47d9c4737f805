"""Predictions from every question that was answered, beside those of the run's own list."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from phrases import Phrases

from genz_ppl import Discovery, Items, discover
from genz_ppl.errors import OptionError


@pytest.fixture(scope="module")
def world() -> tuple[pd.DataFrame, Phrases]:
    """Twelve of thirty phrases move the target, all alike."""
    random = np.random.default_rng(3)
    present = (random.random((300, 30)) < 0.4).astype(np.float64)
    y = present[:, :12] @ np.where(np.arange(12) % 2, 1.0, -1.0) + random.normal(size=300)
    return pd.DataFrame({"key": np.arange(300), "note": [f"item {number}" for number in range(300)], "y": y}), Phrases(present)


@pytest.fixture(scope="module")
def run(world: tuple[pd.DataFrame, Phrases]) -> Discovery:
    return discover(Items.from_frame(world[0], id="key", target="y"), world[1], max_features=4, cycles=3, screen=0)


def test_all_that_was_answered_predicts_better_than_the_list(world: tuple[pd.DataFrame, Phrases], run: Discovery) -> None:
    frame, phrases = world
    test = frame[frame.key.astype(str).isin(run.record.split.test)]
    alone = run.predict(test)["mean"]
    phrases.asked.clear()
    pooled = run.predict(test, predict_with="pool")["mean"]
    # Each question of the pool is asked once about each item that the run has no answers of.
    assert set(phrases.asked.values()) == {len(test)}
    assert len(phrases.asked) == run.pool.n_questions > 20
    errors = [((found - test.y.to_numpy()) ** 2).mean() for found in (alone.to_numpy(), pooled.to_numpy())]
    assert errors[1] < 0.8 * errors[0]
    assert run.pool.pool_r2 > run.pool.list_r2 + 0.1
    assert errors[1] / test.y.var() == pytest.approx(1 - run.pool.pool_r2, abs=0.15)
    assert len(run.features[run.features.active]) == 4  # the run is as it was
    pd.testing.assert_series_equal(run.predict(test)["mean"], alone)


def test_the_questions_of_the_list_come_first_and_none_twice(run: Discovery) -> None:
    listed = run.features[run.features.active].text.tolist()
    texts = [record.text for record in run.pool.progress.active]
    assert texts[: len(listed)] == listed
    assert len(set(texts)) == len(texts)


@pytest.fixture(scope="module")
def screened(world: tuple[pd.DataFrame, Phrases]) -> Discovery:
    return discover(Items.from_frame(world[0], id="key", target="y"), world[1], max_features=4, cycles=3, screen=60)


def test_what_was_asked_about_some_items_only_helps(world: tuple[pd.DataFrame, Phrases], screened: Discovery) -> None:
    frame, phrases = world
    pool = screened.pool
    partial = [text for text, entry in screened.progress.pool.items() if (entry == -2).any() and (entry > -2).sum() >= 15]
    texts = [record.text for record in pool.progress.active]
    assert set(partial) <= set(texts)
    assert len(partial) >= 2
    assert pool.pool_r2 > pool.list_r2 + 0.03
    test = frame[frame.key.astype(str).isin(screened.record.split.test)]
    phrases.asked.clear()
    errors = [((screened.predict(test, predict_with=name)["mean"] - test.y) ** 2).mean() for name in ("list", "pool")]
    assert errors[1] < 0.9 * errors[0]


def test_training_items_are_asked_about_what_they_were_not(world: tuple[pd.DataFrame, Phrases], screened: Discovery) -> None:
    frame, phrases = world
    train = frame[frame.key.astype(str).isin(screened.record.split.train)]
    phrases.asked.clear()
    table = screened.predict(train, predict_with="pool")
    assert sum(phrases.asked.values()) > 0
    errors = [((table["mean"] - train.y) ** 2).mean(), ((screened.predict(train)["mean"] - train.y) ** 2).mean()]
    assert errors[0] < errors[1]
    phrases.asked.clear()
    screened.predict(train)
    assert not phrases.asked


def test_where_weights_have_other_forms_only_whole_answers_count(world: tuple[pd.DataFrame, Phrases]) -> None:
    items = Items.from_frame(world[0], id="key", target="y")
    run = discover(items, world[1], max_features=4, cycles=1, screen=30, likelihood="student_t")
    whole = [text for text, entry in run.progress.pool.items() if (entry > -2).all()]
    assert {record.text for record in run.pool.progress.active} <= set(whole)
    assert len(whole) < len(run.progress.pool)


def test_weights_that_cannot_shrink_have_no_pool(world: tuple[pd.DataFrame, Phrases]) -> None:
    frame = world[0].assign(y=(world[0].y > 0).astype(int))
    run = discover(Items.from_frame(frame, id="key", target="y"), world[1], likelihood="bernoulli", cycles=1, add=1)
    with pytest.raises(OptionError, match="needs weights that shrink, which the link linear with the likelihood bernoulli"):
        run.predict(frame, predict_with="pool")
    with pytest.raises(OptionError, match="expected list or pool, got 'all'"):
        run.predict(frame, predict_with="all")
