"""The estimators as users of scikit-learn use them: frames, arrays, pipelines, clones, and questions as features."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import GenZClassifier, GenZRegressor
from genz_ppl.errors import OptionError
from genz_ppl.types import FloatArray

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

QUICK: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0, "settings": {"proposals": 4, "patience": 1}}


def flats(n: int = 120, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Rents that the city and a garden decide, with a little noise; an index of its own."""
    random = np.random.default_rng(seed)
    city, garden = random.choice(["Rome", "Oslo", "Bonn"], n), random.random(n) < 0.5
    text = np.where(garden, "bright, with a garden", "bright, on a high floor")
    table = pd.DataFrame({"city": city, "about": text}, index=[f"row {number}" for number in range(n)])
    rent = 700 + 150 * (city == "Rome") + 150 * garden + 20 * random.normal(size=n)
    return table, pd.Series(rent, index=table.index, name="rent")


def answered(n: int = 200, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Answers to three questions and a target that two of them move."""
    random = np.random.default_rng(seed)
    answers = (random.random((n, 3)) < 0.4).astype(float)
    return answers, answers @ np.array([2.0, -1.0, 0.0]) + 0.1 * random.normal(size=n)


def test_regressor_finds_what_moves_the_target() -> None:
    table, rent = flats()
    found = GenZRegressor(**QUICK).fit(table, rent)
    assert any("Rome" in question for question in found.questions_)
    assert any("garden" in question or "floor" in question for question in found.questions_)
    new, truth = flats(seed=1)
    assert found.score(new, truth) > 0.93
    mean, sd = found.predict(new, return_std=True)
    assert mean.shape == sd.shape == (120,)
    assert 0.8 < np.mean(np.abs(truth - mean) < 1.645 * sd) <= 1.0


def test_all_rows_but_one_train() -> None:
    table, rent = flats(50)
    run = GenZRegressor(**QUICK).fit(table, rent).run_
    assert len(run.record.split.train) == 49
    kept = GenZRegressor(**{**QUICK, "settings": {"patience": 1, "test_fraction": 0.2}}).fit(table, rent).run_
    assert len(kept.record.split.train) == 40


def test_predictions_are_those_of_the_run() -> None:
    table, rent = flats()
    found = GenZRegressor(**QUICK).fit(table, rent)
    np.testing.assert_array_equal(found.predict(table), found.run_.predict(table)["mean"])


def test_transform_gives_questions_as_features() -> None:
    table, rent = flats()
    found = GenZRegressor(output="answers", **QUICK).fit(table, rent)
    answers = found.transform(table)
    assert set(np.unique(answers)) <= {0.0, 1.0}
    assert list(found.get_feature_names_out()) == found.questions_
    named = found.set_output(transform="pandas").transform(table)
    assert list(named.columns) == found.questions_
    assert (named.index == table.index).all()
    rates = found.run_.features.query("active")["p_e"].to_numpy()
    chances = clone(found).set_params(output="posterior").fit(table, rent).set_output(transform="default").transform(table)
    np.testing.assert_allclose(chances, np.where(answers == 1, 1 - rates, rates), atol=1e-6)


def test_missing_answer_leaves_the_posterior_open() -> None:
    answers, target = answered()
    answers[5, 1] = np.nan
    found = GenZRegressor(answers=True).fit(answers, target)
    assert found.transform(answers)[5, 1] == pytest.approx(0.5)
    assert np.isfinite(found.predict(answers)).all()


def test_questions_feed_another_model_in_a_pipeline() -> None:
    table, rent = flats()
    model = make_pipeline(GenZRegressor(**QUICK), LinearRegression())
    assert cross_val_score(model, table, rent, cv=3).min() > 0.9


def test_grid_search_and_clone_keep_parameters() -> None:
    answers, target = answered()
    search = GridSearchCV(GenZRegressor(answers=True), {"likelihood": ["gaussian", "student_t"]}, cv=2).fit(answers, target)
    assert search.best_score_ > 0.9
    given = GenZRegressor(max_features=3, random_state=7, settings={"patience": 2})
    assert clone(given).get_params() == given.get_params()


def test_several_targets_come_back_as_they_went_in() -> None:
    answers, target = answered()
    both = np.column_stack([target, -target])
    found = GenZRegressor(answers=True).fit(answers, both)
    assert found.predict(answers).shape == (200, 2)
    assert found.score(answers, both) > 0.97
    table, rent = flats()
    several = GenZRegressor(**QUICK).fit(table, pd.DataFrame({"rent": rent, "city": rent / 12}))
    assert several.predict(table).shape == (120, 2)


@pytest.mark.parametrize("labels", [("cheap", "dear"), (3, 1)])
def test_two_classes(labels: tuple[Any, Any]) -> None:
    table, rent = flats()
    truth = np.where(rent > 775, labels[0], labels[1])
    found = GenZClassifier(**QUICK).fit(table, truth)
    assert list(found.classes_) == sorted(labels)
    chances = found.predict_proba(table)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert found.score(table, truth) > 0.95
    assert (found.predict(table) == found.classes_[chances.argmax(axis=1)]).all()


@pytest.mark.parametrize("mined", [True, False])
def test_three_classes(mined: bool) -> None:
    if mined:
        columns: Any
        columns, rent = flats(240)
        found, truth = GenZClassifier(**QUICK), np.digitize(rent, [775, 925])
    else:
        columns, target = answered(300)
        truth = np.digitize(target, [-0.5, 1.0])
        found = GenZClassifier(answers=True)
    found.fit(columns, truth)
    assert found.predict_proba(columns).shape == (len(truth), 3)
    assert found.score(columns, truth) > 0.9


def test_arrays_are_named_and_covariates_have_weights() -> None:
    random = np.random.default_rng(0)
    size, rooms = random.normal(size=150), random.integers(1, 5, 150)
    target = 2.0 * size + (rooms >= 3) + 0.05 * random.normal(size=150)
    found = GenZRegressor(covariates=["x0"], text=["x1"], **QUICK).fit(np.column_stack([size, rooms]), target)
    assert found.questions_ == ["x1 is at least 3"] or found.questions_ == ["x1 is less than 3"]
    assert found.score(np.column_stack([size, rooms]), target) > 0.98


def test_a_seed_gives_one_result() -> None:
    table, rent = flats()
    first, second = (GenZRegressor(random_state=3, **QUICK).fit(table, rent).predict(table) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("found", "change", "message"),
    [
        (GenZRegressor(), {"X": "sparse"}, "Sparse data was passed"),
        (GenZRegressor(output="odds"), {}, "output: expected answers or posterior, got 'odds'"),
        (GenZRegressor(link="cubic"), {}, "link"),
        (GenZRegressor(likelihood="bernoulli"), {}, "take GenZClassifier"),
        (GenZClassifier(likelihood="gaussian"), {"y": np.arange(20) % 2}, "expected auto or bernoulli or categorical"),
        (GenZRegressor(answers=True, covariates=["size"]), {}, "there is no 'size'"),
        (GenZRegressor(answers=True), {"X": 2.0}, "answers"),
        (GenZClassifier(), {"y": 1.0}, "one class"),
        (GenZRegressor(), {"y": np.nan}, "NaN"),
    ],
)
def test_refused_in_words(found: Any, change: dict[str, Any], message: str) -> None:
    answers, target = answered(20)
    columns: Any = answers
    if change.get("X") == "sparse":
        columns = pytest.importorskip("scipy.sparse").csr_array(answers)
    elif "X" in change:
        columns = answers + change["X"]
    target = np.broadcast_to(change["y"], 20) if "y" in change else target
    with pytest.raises((ValueError, TypeError), match=message):
        found.fit(columns, target)


def test_given_answers_have_no_run() -> None:
    answers, target = answered()
    with pytest.raises(OptionError, match="answers=True"):
        _ = GenZRegressor(answers=True).fit(answers, target).run_


def test_says_what_to_install() -> None:
    hide = (
        "import importlib.util as u; found = u.find_spec; u.find_spec = lambda name: None if name == 'sklearn' else found(name)"
    )
    code = f"{hide}\nimport genz_ppl\ngenz_ppl.GenZRegressor"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'genz-ppl[sklearn]'" in ended.stderr
