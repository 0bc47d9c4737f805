"""Effects of features against least squares, tables of counts and predictions worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plain import PLAIN

from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.feature_effects import NINE_IN_TEN, FeatureEffects, effect_draws, feature_effects, mean_change
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems, posterior_draws

Array = NDArray[np.float64]
COUNT = 120


def world(n_features: int = 2) -> tuple[Array, Array]:
    """Answers and a covariate, (T, 1), in a unit of its own."""
    random = np.random.default_rng(0)
    return (random.random((COUNT, n_features)) < 0.4).astype(float), 300 + 20 * random.normal(size=(COUNT, 1))


def fitted_to(answers: Array, targets: Array, covariates: Array | None = None, **settings: Any) -> tuple[FittedItems, FitResult]:
    result = fit(answers, targets, covariates, **(PLAIN | settings))
    return result.fitted(answers, targets, covariates), result


@pytest.fixture(scope="module")
def linear() -> tuple[FittedItems, FitResult, Array]:
    """Two targets, two features, one covariate: the fit, and the targets."""
    answers, covariates = world()
    noise = np.random.default_rng(1).normal(size=(COUNT, 2)) * [0.5, 50.0]
    targets = answers @ np.array([[3.0, -200.0], [-2.0, 0.0]]) + covariates * [0.05, 1.0] + noise
    return *fitted_to(answers, targets, covariates, steps=200), targets


def test_numbers_have_the_effects_of_least_squares(linear: tuple[FittedItems, FitResult, Array]) -> None:
    fitted, result, targets = linear
    q = result.posterior
    design = np.column_stack([q, fitted.covariates.numpy() - 300, np.ones(COUNT)])
    normal = design.T @ design + np.diag([*(q * (1 - q)).sum(0), 0, 0])  # E[z z'] of features that are not sure
    found = feature_effects(fitted)
    np.testing.assert_allclose(found.mean, np.linalg.solve(normal, design.T @ targets)[:2], rtol=1e-4, atol=1e-4)
    by_hand = np.sqrt(np.diag(np.linalg.inv(normal)))[:2, None] * result.parameters["scale"]
    np.testing.assert_allclose(found.sd, by_hand, rtol=1e-6)
    np.testing.assert_allclose(found.spread, targets.std(axis=0), rtol=1e-9)
    assert fitted.state.model.effect_unit == "sd"


@pytest.mark.parametrize(("likelihood", "told"), [("student_t", lambda df: (df + 1) / (df + 3)), ("laplace", lambda _: 1.0)])
def test_noise_with_tails_tells_of_effects_what_its_density_does(likelihood: str, told: Callable[[float], float]) -> None:
    """Fisher's information of an entry: of Student-t noise (df + 1) / (df + 3) over its squared scale, of Laplace noise one over
    it; the bound's Gaussians have 1 and a multiple."""
    answers, missing = world()[0], np.arange(COUNT) % 12 == 0
    random = np.random.default_rng(3)
    noise = random.standard_t(3, (COUNT, 1)) if likelihood == "student_t" else random.laplace(size=(COUNT, 1))
    targets = np.where(missing[:, None], np.nan, 20 * answers[:, :1] - 12 * answers[:, 1:] + noise)
    fitted, result = fitted_to(answers, targets, likelihood=likelihood, steps=300, error_rate_prior=(1.0, 1e6))
    design = np.column_stack([answers, np.ones(COUNT)])[~missing]
    degrees = float(result.parameters.get("degrees_of_freedom", [np.nan])[0])
    by_hand = result.parameters["scale"][0] * np.sqrt(np.diag(np.linalg.inv(told(degrees) * design.T @ design)))[:2]
    np.testing.assert_allclose(feature_effects(fitted).sd[:, 0], by_hand, rtol=0.05)


def test_the_table_over_several_targets_is_of_the_norm(linear: tuple[FittedItems, FitResult, Array]) -> None:
    found = FeatureEffects(np.array([[3.0, 80.0], [0.0, 0.0]]), np.array([[0.1, 1.0], [1.0, 1.0]]), np.array([1.0, 20.0]))
    effect, lower, upper = found.table
    assert effect.tolist() == [5.0, 0.0]  # 3 and 4 standard deviations
    width = NINE_IN_TEN * np.hypot(0.6 * 0.1, 0.8 * 1 / 20)
    assert (lower[0], upper[0]) == (pytest.approx(5 - width), pytest.approx(5 + width))
    assert lower[1] == 0
    one = FeatureEffects(np.array([[-3.0]]), np.array([[0.1]]), np.array([9.0]))
    assert [float(part[0]) for part in one.table] == pytest.approx([-3.0, -3 - 0.1 * NINE_IN_TEN, -3 + 0.1 * NINE_IN_TEN])
    assert one.strength.tolist() == [3.0]
    found = feature_effects(linear[0])
    np.testing.assert_allclose(found.table[0], np.sqrt(((found.mean / found.spread) ** 2).sum(axis=1)), rtol=1e-12)


def test_products_with_covariates_count_where_these_are_at_their_means() -> None:
    answers, covariates = world()
    targets = answers @ np.array([[3.0], [-2.0]]) + 0.1 * answers[:, :1] * (covariates - 320)
    targets += 0.3 * np.random.default_rng(2).normal(size=targets.shape)
    fitted, result = fitted_to(answers, targets, covariates, link="interaction", steps=100)
    slopes = result.parameters["weights"][:, 0] + covariates.mean() * result.parameters["interactions"][:, 0, 0]
    found = feature_effects(fitted)
    np.testing.assert_allclose(found.mean[:, 0], slopes, rtol=1e-9)
    assert found.mean[0, 0] == pytest.approx(3 + 0.1 * (covariates.mean() - 320), abs=0.2)
    with isolated(0):
        changes = np.array([mean_change(fitted, k) for k in range(2)])
    np.testing.assert_allclose(changes, found.mean, rtol=1e-6)
    drawn = effect_draws(fitted, posterior_draws(fitted, n=100).parameters)
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - found.mean), 4 * found.sd / 10)


def test_two_classes_have_the_log_odds_of_their_table() -> None:
    answers = np.repeat([1.0, 0.0], [60, 60])[:, None]
    targets = np.array([1.0] * 45 + [0.0] * 15 + [1.0] * 20 + [0.0] * 40)[:, None]
    fitted, result = fitted_to(answers, targets, likelihood="bernoulli", steps=10, error_rate_prior=(1.0, 1e6))
    found = feature_effects(fitted)
    np.testing.assert_allclose(found.mean, result.parameters["weights"], rtol=1e-12)
    assert found.mean[0, 0] == pytest.approx(np.log(45 * 40 / (15 * 20)), rel=0.03)
    assert found.sd[0, 0] == pytest.approx(np.sqrt(1 / 45 + 1 / 15 + 1 / 20 + 1 / 40), rel=0.25)
    with isolated(0):
        assert mean_change(fitted, 0)[0] == pytest.approx(45 / 60 - 20 / 60, abs=0.01)


def test_of_many_classes_effects_are_against_their_mean() -> None:
    answers, _ = world(1)
    targets = np.where(answers > 0, 2.0, np.arange(COUNT)[:, None] % 3)
    fitted, result = fitted_to(answers, targets, likelihood="categorical", steps=5)
    weights, found = result.parameters["weights"], feature_effects(fitted)
    np.testing.assert_allclose(found.mean.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found.mean[:, 2] - found.mean[:, 0], weights[:, 2] - weights[:, 0], rtol=1e-9)
    assert found.mean[0].argmax() == 2
    assert fitted.column_names == ("0 is 0", "0 is 1", "0 is 2")
    assert (found.sd > 0).all()
    assert fitted.state.model.effect_unit == "log-odds"


def test_a_network_has_mean_changes_without_an_interval() -> None:
    answers, _ = world(1)
    fitted, _ = fitted_to(answers, 2 * answers, link="neural", steps=1)
    found = feature_effects(fitted)
    with isolated(fitted.seed):
        np.testing.assert_array_equal(found.mean[0], mean_change(fitted, 0))
    assert np.isnan(found.sd).all()
    assert np.isnan(found.table[1]).all()
    assert fitted.state.model.effect_unit == ""


def test_without_features_there_are_none() -> None:
    fitted, _ = fitted_to(np.zeros((COUNT, 0)), np.arange(COUNT, dtype=float)[:, None])
    found = feature_effects(fitted)
    assert found.mean.shape == found.sd.shape == (0, 1)
    assert [part.shape for part in found.table] == [(0,)] * 3
