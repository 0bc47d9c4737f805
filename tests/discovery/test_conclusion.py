"""What is known at the end of a run: the improvement with its interval, the null model's error, gains, runs without features."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plain import PLAIN

from genz_ppl import Discovery, Items, discover
from genz_ppl.diagnostics.summary import Summary
from genz_ppl.discovery.card import card_of
from genz_ppl.discovery.conclusion import improvement, summarise
from genz_ppl.discovery.mine.splits import alike
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.errors import GenzWarning
from genz_ppl.inference import fit


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_the_improvement_is_a_share_of_the_other_error() -> None:
    y, other = column(0, 1, 2, 3, 4), np.full((5, 1), 2.0)
    assert improvement(y, y, other, "rmse", 0) == (1.0, 1.0, 1.0)
    assert improvement(y, other, other, "rmse", 0) == (0.0, 0.0, 0.0)
    found, lower, upper = improvement(y, other + (y - 2) / 2, other, "rmse", 0)
    assert (found, lower, upper) == pytest.approx((0.5, 0.5, 0.5))  # half of each error, whichever items are drawn
    worse = improvement(y, other + 4, other, "rmse", 0)
    assert worse[0] == pytest.approx(1 - np.sqrt(18 / 2))
    assert worse[1] < worse[0] < worse[2]
    assert improvement(y, other + 4, other, "rmse", 0) == worse
    assert np.isnan(improvement(y[:0], y[:0], y[:0], "rmse", 0)).all()


def test_of_few_items_there_is_no_interval() -> None:
    """Draws of one item are all that item, and an interval of them would be as narrow as can be."""
    found = improvement(column(3.0), column(2.0), column(1.0), "median_absolute_error", 0)
    assert found[0] == 0.5
    assert np.isnan(found[1:]).all()
    said = Summary(1, "median_absolute_error", 1.0, 1.0, 2.0, improvement=found[0], lower=found[1], upper=found[2]).line()
    assert said.endswith("2 without questions (50 % less)")
    assert Summary(1, "cosine", 0.5, 0.5, 0.25, improvement=0.25).line().endswith("0.25 without questions (+0.250)")


def test_of_two_named_classes_it_is_said_which_one_effects_are_of(frame: pd.DataFrame, tmp_path: Path) -> None:
    red = (frame["colour"] == "red") ^ (np.arange(len(frame)) % 10 == 0)
    frame["y"] = np.where(red, "bought", "left it")
    run = discover(frame, id="key", target="y", cycles=1, add=1, cut=0, max_features=1, out=tmp_path / "run")
    assert run.unit == RunDirectory(tmp_path / "run").unit() == "log-odds of left it"
    effect, text = run.features.query("active")[["effect", "text"]].iloc[0]
    assert (effect < 0) == (text == "colour is red")
    assert "| effect (log-odds of left it) |" in card_of(run)


def test_of_a_cosine_it_is_the_difference() -> None:
    y = np.array([[1.0, 0.0], [0.0, 2.0]] * 3)
    assert improvement(y, 3 * y, np.ones((6, 2)), "cosine", 0) == pytest.approx((1 - 0.5**0.5,) * 3)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    random = np.random.default_rng(0)
    y = random.normal(size=(400, 1))
    predicted, other = y + 0.5 * random.normal(size=y.shape), y + random.normal(size=y.shape)
    found, lower, upper = improvement(y, predicted, other, "rmse", 0)
    spread = 0.5 * np.sqrt(1 / 400)  # of the ratio of two independent root mean squares, each known to 1 / sqrt(2 n)
    assert upper - lower == pytest.approx(2 * 1.645 * spread, rel=0.3)
    assert found == pytest.approx(0.5, abs=4 * spread)


def test_the_summary_stands_beside_the_model_without_questions_and_the_mean() -> None:
    trained, tested = (column(0, 4), column(0, 4)), (column(1, 5, 9), column(1, 5, 8))
    blank = [(trained[0], column(3, 3)), (tested[0], column(3, 3, 3))]
    found = summarise([trained, tested], blank, 2, "median_absolute_error", 0)
    assert (found.test, found.train, found.without, found.guess) == (0.0, 0.0, 2.0, 3.0)
    assert found.r2 == pytest.approx(1 - 1 / 32)
    assert found.improvement == 1.0


def test_ratings_are_measured_by_squared_errors(frame: pd.DataFrame) -> None:
    random = np.random.default_rng(5)
    frame["y"] = np.clip(np.round(5 + 1.5 * (frame["colour"] == "red") + random.normal(size=len(frame))), 0, 10)
    run = discover(Items.from_frame(frame, id="key", target="y"), cycles=1, add=2, cut=0)
    assert set(run.curve["metric"]) == {"rmse"}
    assert run.summary.r2_without < run.summary.r2
    assert run.summary.helps


def test_a_gain_is_what_the_bound_loses_now(frame: pd.DataFrame) -> None:
    items = Items.from_frame(frame, id="key", target="y")
    run = discover(items, cycles=1, add=2, cut=0)
    features, part = run.features, run.fitted()
    assert features["active"].dtype == bool
    assert len(features[features.active].text) == 2
    answers, y = part.answers.numpy(), part.targets.numpy()
    whole = fit(answers, y, **PLAIN).bound
    for k, gain in enumerate(features["gain"]):
        assert gain == pytest.approx(whole - fit(np.delete(answers, k, axis=1), y, **PLAIN).bound, abs=0.5)


@pytest.mark.slow
def test_gains_of_classes_are_nats_of_their_own_model(frame: pd.DataFrame) -> None:
    frame["kind"] = np.where(frame["colour"] == "red", "a", np.where(frame["size"] >= 5, "b", "c"))
    turned = np.random.default_rng(0).random(60) < 0.1
    frame["kind"] = np.where(turned, "c", frame["kind"])
    run = discover(frame.drop(columns="y"), id="key", target="kind", likelihood="categorical", cycles=1, add=2, cut=0)
    gains = run.features.query("active")["gain"]
    assert len(gains) == 2
    assert (gains > 5).all()
    assert (gains < 48 * np.log(3)).all()  # no more than all there is to know


def test_a_run_without_any_feature_has_whole_tables(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame["y"] = np.random.default_rng(5).normal(size=len(frame))
    run = discover(frame, id="key", target="y", cycles=1, add=1, cut=0, smallest_worth=1e6, out=tmp_path / "run")
    for one in (run, Discovery.load(tmp_path / "run")):
        assert one.features[one.features.active].text.tolist() == []
        assert one.features["effect"].dtype == float
        assert one.coefficients.shape == (0, 1)
        assert one.summary.n_features == 0
        assert one.ceiling is None  # of a run of a few steps
    table = pd.read_csv(StringIO((tmp_path / "run" / "features.csv").read_text(encoding="utf-8")))
    assert list(table) == list(run.features)


def test_splits_are_alike_by_their_correlation() -> None:
    random = np.random.default_rng(0)
    one, other = random.random(50), random.random(50)
    assert alike(one, other) == pytest.approx(abs(np.corrcoef(one, other)[0, 1]))
    assert alike(one, 3 - 2 * one) == pytest.approx(1)
    assert alike(np.full(50, 0.5), one) == 1.0
    assert alike(one, np.full(50, 0.5)) == 0.0


@pytest.mark.parametrize("covariates", [(), ("flat", "twin")])
def test_constant_and_collinear_columns_are_no_warning(covariates: tuple[str, ...]) -> None:
    answers = np.random.default_rng(0).integers(0, 2, 40)
    frame = pd.DataFrame({"one": answers, "twin": answers, "other": 1 - answers, "word": np.where(answers, "red", "blue")})
    frame["flat"], frame["same"] = 3.0, "x"
    frame["y"] = 2.0 * answers
    with pytest.warns(GenzWarning, match="tells almost all of target") as said:
        items = Items.from_frame(frame, target="y", covariates=covariates)
    assert all(issubclass(one.category, GenzWarning) for one in said)
    run = discover(items, cycles=1, add=2, cut=0)  # warnings are errors
    assert run.summary.test < 1e-3
    assert len(run.posterior.columns) == (0 if covariates else 1)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "poisson"])
def test_what_a_question_brought_is_nats_of_the_bound_of_the_curve(likelihood: str, frame: pd.DataFrame) -> None:
    """Not of a model that ranks wordings: least squares on indicators tell thousands of nats for 60 items."""
    lively = (frame["colour"] == "red").to_numpy() + np.random.default_rng(0).random(60) > 0.7
    frame["y"] = np.where(lively, 9, 1) if likelihood == "poisson" else np.where(lively, "yes", "no")
    items = Items.from_frame(frame, id="key", target="y", classes=likelihood != "poisson")
    run = discover(items, likelihood=likelihood, cycles=1, add=2, cut=0)
    bounds, events = run.curve["bound"], run.curve["event"]
    rises = {run.curve["feature"][row]: bounds[row] - bounds[row - 1] for row in run.curve.index[events == "add"]}
    brought = run.features.set_index("text")["gain_when_added"]
    assert rises
    assert brought.to_dict() == pytest.approx(rises)
    if likelihood != "poisson":
        assert brought.max() < 48 * np.log(2)  # no more than there is to know of 48 items
