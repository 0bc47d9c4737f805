"""Checks find what was planted, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genz_ppl.diagnostics.checks import contradicted_answers, coverage, held_out_log_likelihood, loose_features, predictive_check
from genz_ppl.diagnostics.compare import Contestant, _advice, compare
from genz_ppl.errors import InputError
from genz_ppl.inference import fit
from genz_ppl.inference.posterior import posterior_draws


def test_contradicted_answers_are_the_wrong_ones(world: Any) -> None:
    found = contradicted_answers(world.fitted)
    assert list(found.columns) == ["item", "feature", "answer", "q"]
    wrong = {f"item {row}" for row in np.flatnonzero(world.fitted.answers.numpy()[:, 0] != world.truth[:, 0])}
    top = found[found["feature"] == "größer als zehn"].head(8)
    assert len(top) == 8
    assert set(top["item"]) <= wrong
    assert np.all(np.diff(np.abs(found["q"] - 0.5)) <= 0)


def test_a_feature_whose_answers_are_noise_is_loose() -> None:
    random = np.random.default_rng(1)
    truth = (random.random((200, 2)) < 0.5).astype(float)
    targets = truth @ np.array([[3.0, 1.0], [2.0, -2.0]]) + 0.2 * random.normal(size=(200, 2))
    answers = truth.copy()
    noise = random.random(200) < 0.35
    answers[noise, 1] = 1 - answers[noise, 1]
    fitted = fit(answers, targets, inference="enumeration").fitted(answers, targets)
    found = loose_features(fitted, posterior_draws(fitted, n=50))
    assert found["feature"].tolist() == ["1"]
    assert found["p_e"].iloc[0] == pytest.approx(noise.mean(), abs=0.06)


def test_predictive_check_of_the_true_model_is_inconspicuous(world: Any) -> None:
    found = predictive_check(world.fitted, world.draws)
    assert found["statistic"].tolist() == ["mean", "sd", "smallest", "largest"]
    assert found["p"].between(0.01, 0.99).all()


def test_predictive_check_sees_what_a_gaussian_cannot_make() -> None:
    random = np.random.default_rng(2)
    answers = (random.random((200, 2)) < 0.5).astype(float)
    targets = answers @ np.array([1.0, -1.0]) + random.exponential(size=200) ** 2
    fitted = fit(answers, targets).fitted(answers, targets)
    found = predictive_check(fitted, posterior_draws(fitted, n=100)).set_index("statistic")["p"]
    assert found["smallest"] < 0.02
    assert found["largest"] < 0.05


def test_coverage_on_training_items(world: Any) -> None:
    found = coverage(world.fitted)
    assert found[0.5] == pytest.approx(0.5, abs=0.13)
    assert found[0.9] == pytest.approx(0.9, abs=0.08)


def contestants() -> dict[str, Contestant]:
    random = np.random.default_rng(3)
    answers = (random.random((300, 2)) < 0.5).astype(float)
    targets = answers @ np.array([2.0, -1.0]) + 0.3 * random.standard_t(df=2, size=300)
    train, test = slice(0, 200), slice(200, 300)
    runs = {}
    for likelihood in ("gaussian", "student_t"):
        result = fit(answers[train], targets[train], likelihood=likelihood)
        fitted = result.fitted(answers[train], targets[train])
        unseen = replace(
            fitted,
            answers=torch.from_numpy(answers[test]),
            covariates=torch.zeros(100, 0, dtype=torch.float64),
            targets=torch.from_numpy(targets[test])[:, None],
            item_ids=tuple(map(str, range(200, 300))),
            state=replace(result.state, posterior=result.state.prior(torch.from_numpy(answers[test]))),
        )
        error = float(np.median(np.abs(targets[test] - result.predict(answers[test])[:, 0])))
        runs[likelihood] = Contestant(fitted, unseen, error, "median_absolute_error")
    return runs


@pytest.mark.slow
def test_heavy_tails_call_for_student_t() -> None:
    runs = contestants()
    found = compare(runs)
    assert found.table["run"].tolist() == ["student_t", "gaussian"]
    assert found.table["elpd_difference"].iloc[1] < -10
    assert "LOO prefers student_t" in found.advice
    # What LOO expects of a new item is what the held-out items show.
    row = found.table.iloc[0]
    assert row["elpd_loo"] / 200 == pytest.approx(row["held_out"], abs=0.25)
    test = held_out_log_likelihood(posterior_draws(runs["student_t"].train), runs["student_t"].test)
    assert row["held_out"] == pytest.approx(test)


def test_runs_on_other_items_are_refused(world: Any) -> None:
    runs = contestants()
    other = Contestant(world.fitted, world.fitted, 0.1, "median_absolute_error")
    with pytest.raises(InputError, match="other: expected the training items and targets of gaussian, got others"):
        compare({"gaussian": runs["gaussian"], "other": other})


@pytest.mark.slow
def test_counts_and_numbers_are_not_on_one_scale() -> None:
    random = np.random.default_rng(4)
    answers = (random.random((40, 1)) < 0.5).astype(float)
    counts = random.poisson(np.exp(answers[:, 0] + 1)).astype(float)
    runs = {}
    for likelihood in ("gaussian", "poisson"):
        fitted = fit(answers, counts, likelihood=likelihood).fitted(answers, counts)
        runs[likelihood] = Contestant(fitted, fitted, 1.0, "deviance" if likelihood == "poisson" else "median_absolute_error")
    found = compare(runs)
    assert any("not on one scale" in warning for warning in found.warnings)
    assert any("different error metrics" in warning for warning in found.warnings)


@pytest.mark.parametrize(("difference", "sure"), [(-3e-13, False), (-30.0, True)])
def test_runs_that_differ_by_rounding_are_no_choice(difference: float, sure: bool) -> None:
    rows = {"run": ["a", "b"], "elpd_loo": [-400.0, -400.0 + difference], "elpd_difference": [0.0, difference]}
    table = pd.DataFrame({**rows, "difference_se": [0.0, 1e-14], "held_out": -1.0, "error": 0.3, "metric": "rmse"})
    assert _advice(table).startswith("LOO prefers a;" if sure else "LOO prefers a, but b is within two standard errors;")
