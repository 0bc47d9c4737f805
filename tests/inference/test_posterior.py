"""Draws from the posterior: the log likelihood sums an item's features out, exactly or by importance."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from plain import PLAIN
from scipy import stats

from genz_ppl.inference import fit, posterior
from genz_ppl.inference.posterior import FittedItems, held_out_draws, posterior_draws


@pytest.fixture(scope="module")
def fitted() -> FittedItems:
    random = np.random.default_rng(0)
    answers = (random.random((120, 3)) < 0.5).astype(float)
    truth = np.where(random.random(answers.shape) < 0.1, 1 - answers, answers)
    targets = truth @ np.array([2.0, -1.0, 0.5]) + 0.5 * random.normal(size=120)
    answers[4, 1] = np.nan
    return fit(answers, targets, **PLAIN).fitted(answers, targets)


def test_log_likelihood_is_the_sum_over_all_features(fitted: FittedItems) -> None:
    draws = posterior_draws(fitted, n=5)
    answers, targets = fitted.answers.numpy(), fitted.targets.numpy()[:, 0]
    for s in range(5):
        weights, intercept = draws.parameters["weights"][s, :, 0], draws.parameters["intercept"][s, 0]
        scale, rates = draws.parameters["scale"][s, 0], draws.error_rates[s]
        total = np.zeros(120)
        for row in itertools.product([0.0, 1.0], repeat=3):
            z = np.array(row)
            prior = np.where(np.isnan(answers), 0.5, np.where(answers == z, 1 - rates, rates)).prod(axis=1)
            density = np.exp(-0.5 * ((targets - z @ weights - intercept) / scale) ** 2) / np.sqrt(2 * np.pi) / scale
            total += prior * density
        np.testing.assert_allclose(draws.log_likelihood[s], np.log(total), atol=1e-8)


def test_importance_draws_come_near_the_sum(fitted: FittedItems, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = posterior_draws(fitted, n=20).log_likelihood
    monkeypatch.setattr(posterior, "MOST_WORK", 0)
    sampled = posterior_draws(fitted, n=20).log_likelihood
    assert not np.array_equal(sampled, exact)
    assert np.sqrt(np.mean((sampled - exact) ** 2)) < 0.1
    assert abs(np.mean(sampled - exact)) < 0.03


def test_held_out_items_are_scored_with_the_same_draws(fitted: FittedItems) -> None:
    draws = posterior_draws(fitted, n=10)
    _, density = held_out_draws(draws, fitted)
    np.testing.assert_allclose(density, draws.log_likelihood, atol=1e-8)  # three features are summed out exactly


def test_a_fit_of_points_is_left_as_it_is(fitted: FittedItems) -> None:
    before: Any = fitted.state.model.link.weights.detach().clone()
    posterior_draws(fitted, n=5)
    assert fitted.state.uncertainty is None
    assert torch.equal(fitted.state.model.link.weights.detach(), before)


def test_a_calibrated_fit_is_scored_by_the_density_it_was_fitted_to() -> None:
    random = np.random.default_rng(0)
    answers = (random.random((80, 2)) < 0.4).astype(float)
    targets = answers @ np.array([[1.0], [-2.0]]) + random.normal(size=(80, 1))
    result = fit(answers, targets)
    draws = posterior_draws(result.fitted(answers, targets), n=4)
    marginal = result.state.model.marginal
    assert marginal is not None
    scale = float(marginal.scale.detach()) * float(result.scaling.target_spread)
    expected = 0.5 + (answers - 0.5) * (1 - 2 * result.error_rates)
    for s in range(4):
        location = expected @ draws.parameters["weights"][s, :, 0] + draws.parameters["intercept"][s, 0]
        np.testing.assert_allclose(draws.log_likelihood[s], stats.norm(location, scale).logpdf(targets[:, 0]), rtol=1e-9)
