"""Predictions average over p(z | h): against sums over all assignments, and against the data they should cover."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl.inference import FitResult, fit, isolated, prediction
from genz_ppl.inference.engines.density import drawn_log_densities
from genz_ppl.inference.prediction import DRAWS, predictive_draws


def chances(result: FitResult, answers: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(z | h) of every item for every row of the table, (2^K, T)."""
    yes = np.where(np.isnan(answers), 0.5, np.where(answers == 1, 1 - result.error_rates, result.error_rates))
    chance: NDArray[np.float64] = np.prod(np.where(table[:, None] == 1, yes, 1 - yes), axis=-1)
    return chance


def link_values(result: FitResult, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The fitted link at every row of the table in the user's units, (2^K, D); no covariates."""
    with torch.no_grad():
        values = result.state.model.link(torch.from_numpy(table), torch.zeros(len(table), 0, dtype=torch.float64))
    located: NDArray[np.float64] = result.scaling.location(values).numpy()
    return located


@pytest.fixture(scope="module", params=["linear", "neural"])
def fitted(request: pytest.FixtureRequest, simulate: Any) -> tuple[Any, FitResult]:
    world = simulate(0, n_items=150, n_features=3, n_targets=2, missing_answers=0.1, noise=0.8)
    return world, fit(world.answers, world.targets, link=request.param, steps=4)


def test_mean_is_the_average_over_all_assignments(fitted: tuple[Any, FitResult], bits: Any) -> None:
    world, result = fitted
    table = bits(3).numpy()
    chance, values = chances(result, world.answers, table), link_values(result, table)
    expected = chance.T @ values
    np.testing.assert_allclose(result.predict(world.answers), expected, rtol=0, atol=1e-9)
    plugged_in = link_values(result, np.nan_to_num(world.answers, nan=1.0))
    assert np.abs(plugged_in - expected).max() > 0.1


def test_a_rare_class_is_not_certain() -> None:
    """Of 400 draws of a class that one item in 500 has most have none of it."""
    answers = np.tile([1.0, 0.0], 500)[:, None]
    targets = np.zeros(1000)
    targets[[0, 500]] = 1.0
    found = fit(answers, targets, likelihood="bernoulli", steps=2).predict_interval(answers)
    assert (found.mean < 0.01).all()
    np.testing.assert_allclose(found.sd, np.sqrt(found.mean * (1 - found.mean)), rtol=1e-9)


@pytest.mark.parametrize("n_features", [2, 10])
def test_items_of_which_the_same_is_known_are_predicted_alike(n_features: int, simulate: Any) -> None:
    """Also where the mean is one of draws: their noise would put the items in an order, and AUC would be its."""
    random = np.random.default_rng(0)
    answers = (random.random((60, n_features)) < 0.5).astype(float)
    answers[40:] = answers[:20]
    targets = (answers[:, 0] + random.normal(size=60) > 0.5).astype(float)
    result = fit(answers, targets, likelihood="bernoulli", steps=2)
    found = result.predict(answers)
    np.testing.assert_array_equal(found[40:], found[:20])
    one = result.predict(answers[:1])
    if 2**n_features <= DRAWS:  # whatever it is predicted together with
        np.testing.assert_allclose(one, found[:1], rtol=0, atol=1e-12)
    variance = found[:1] * (1 - found[:1])
    assert np.abs(one - found[:1]) <= 8 * np.sqrt(variance / DRAWS)
    assert result.predict(answers[:0]).shape == (0, 1)


def test_standard_deviation_and_interval_are_those_of_the_mixture(fitted: tuple[Any, FitResult], bits: Any) -> None:
    world, result = fitted
    table = bits(3).numpy()
    chance, values = chances(result, world.answers, table), link_values(result, table)
    mean = chance.T @ values
    sd = np.sqrt(chance.T @ values**2 - mean**2 + result.parameters["scale"] ** 2)
    found = result.predict_interval(world.answers)
    np.testing.assert_array_equal(found.mean, result.predict(world.answers))
    # The standard error of a standard deviation over the draws is at most about sd / sqrt(DRAWS) for these mixtures.
    np.testing.assert_allclose(found.sd, sd, rtol=6 / np.sqrt(DRAWS))
    assert np.all(found.lower < found.upper)
    wider = result.predict_interval(world.answers, level=0.99)
    assert np.all(wider.lower <= found.lower)
    assert np.all(wider.upper >= found.upper)


def test_log_likelihood_is_the_log_of_the_mixture(fitted: tuple[Any, FitResult], bits: Any) -> None:
    world, result = fitted
    targets = world.targets.copy()
    targets[0, 1] = np.nan
    targets[1] = np.nan
    table = bits(3).numpy()
    chance, values, scale = chances(result, world.answers, table), link_values(result, table), result.parameters["scale"]
    error = (targets - values[:, None]) / scale
    terms = np.where(np.isnan(error), 0.0, -0.5 * error**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)
    expected = np.log(np.sum(chance * np.exp(terms), axis=0))
    relative = np.sqrt((np.sum(chance * np.exp(2 * terms), 0) / np.exp(2 * expected) - 1).clip(0) / DRAWS)
    found = result.log_likelihood(world.answers, targets)
    assert found.shape == (150,)
    assert found[1] == pytest.approx(0, abs=1e-9)
    # Where an item hangs on assignments that are seldom drawn, the average says little: those are left out.
    sure = relative < 0.15
    assert sure.mean() > 0.6
    assert np.all(np.abs(found - expected)[sure] <= 5 * relative[sure] + 1e-9)


OTHERS = ["student_t", "laplace", "low_rank_gaussian", "poisson", "negative_binomial", "bernoulli", "categorical"]


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest, simulate: Any) -> tuple[Any, Any, FitResult]:
    """A world, targets of the likelihood's kind with some missing, and a fit."""
    name = request.param
    world = simulate(0, n_items=150, n_features=3, n_targets=2, missing_answers=0.1, noise=0.8)
    random, targets = np.random.default_rng(0), world.targets
    if name in ("poisson", "negative_binomial"):
        targets = random.poisson(np.exp(0.5 * targets)).astype(np.float64)
    elif name in ("bernoulli", "categorical"):
        targets = np.digitize(targets, [0.0] if name == "bernoulli" else [-1.0, 1.0]).astype(np.float64)
    targets[random.random(targets.shape) < 0.1] = np.nan
    return world, targets, fit(world.answers, targets, likelihood=name, steps=4)


def mixture(result: FitResult, table: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """The link's values, and mean and variance of y (or of indicators of classes) at every row of the table, (2^K, L)."""
    with isolated(0), torch.no_grad():
        values = result.state.model.link(torch.from_numpy(table), torch.zeros(len(table), 0, dtype=torch.float64))
        likelihood = result.state.model.likelihood
        mean = likelihood.expected(values)
        variance = mean * (1 - mean) if result.settings.likelihood == "categorical" else likelihood(values).variance
    spread = result.scaling.target_spread.numpy() if mean.shape[1] == 2 else 1.0
    return values, result.scaling.location(mean).numpy(), variance.detach().numpy() * spread**2


def test_moments_with_other_likelihoods_are_those_of_the_mixture(other: tuple[Any, Any, FitResult], bits: Any) -> None:
    world, _, result = other
    table = bits(3).numpy()
    chance, (_, means, variances) = chances(result, world.answers, table), mixture(result, table)
    expected = chance.T @ means
    between = chance.T @ means**2 - expected**2
    np.testing.assert_allclose(result.predict(world.answers), expected, rtol=0, atol=1e-9)
    found = result.predict_interval(world.answers)
    sd = np.sqrt(between + chance.T @ variances)
    if result.settings.likelihood != "student_t":  # a standard deviation from draws means little with tails that heavy
        # Averaged over 150 items: of a class that 1 in 200 has there are about 300 draws.
        np.testing.assert_allclose((found.sd**2).mean(axis=0), (sd**2).mean(axis=0), rtol=0.05, atol=0.001)
    assert np.all(found.lower <= found.upper)


def test_log_likelihood_with_other_likelihoods_is_the_log_of_the_mixture(other: tuple[Any, Any, FitResult], bits: Any) -> None:
    world, targets, result = other
    table = bits(3).numpy()
    chance, (values, _, _) = chances(result, world.answers, table), mixture(result, table)
    standard = (torch.from_numpy(targets) - result.scaling.target_centre) / result.scaling.target_spread
    there = ~torch.isnan(standard)
    with isolated(0), torch.no_grad():
        distribution = result.state.model.likelihood.distribution(values[:, None].expand(-1, 150, -1), there)
        density = distribution.log_prob(torch.nan_to_num(standard)).numpy()
    density = density - (there.numpy() * np.log(result.scaling.target_spread.numpy())).sum(axis=1)
    expected = np.log(np.sum(chance * np.exp(density), axis=0))
    relative = np.sqrt((np.sum(chance * np.exp(2 * density), 0) / np.exp(2 * expected) - 1).clip(0) / DRAWS)
    found = result.log_likelihood(world.answers, targets)
    sure = relative < 0.15
    assert sure.mean() > 0.6
    assert np.all(np.abs(found - expected)[sure] <= 5 * relative[sure] + 1e-9)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_parameters_of_the_interaction_link_reproduce_predictions(likelihood: str, simulate: Any) -> None:
    world = simulate(1, n_items=200, n_features=3, n_targets=2, n_covariates=2, missing_answers=0.1)
    x = world.covariates * [10.0, 0.1] + [100.0, -2.0]
    targets = world.targets + world.truth[:, :1] * world.covariates[:, :1]
    result = fit(world.answers, targets, x, "interaction", likelihood, steps=10)
    values = result.parameters

    def by_hand(z: NDArray[np.float64]) -> Any:
        total = np.tile(values["intercept"], (200, 1))
        for t, k in itertools.product(range(200), range(3)):
            total[t] += z[t, k] * (values["weights"][k] + sum(x[t, p] * values["interactions"][k, p] for p in range(2)))
        return total + x @ values["covariate_weights"]

    rates = result.error_rates
    chance = np.where(np.isnan(world.answers), 0.5, np.where(world.answers == 1, 1 - rates, rates))
    np.testing.assert_allclose(result.predict(world.answers, x), by_hand(chance), rtol=1e-8, atol=1e-8)
    with isolated(0), torch.no_grad():
        location = result.state.model.link(torch.from_numpy(world.truth), result.scaling.covariates(torch.from_numpy(x)))
    np.testing.assert_allclose(result.scaling.location(location).numpy(), by_hand(world.truth), rtol=1e-8, atol=1e-8)
    # A unit of x is a tenth of what made y. The prior of products draws it towards zero.
    assert 0.5 < values["interactions"][0, 0, 0] * 10 < 1.1


def test_probabilities_of_classes_and_intervals_of_indicators(simulate: Any) -> None:
    world = simulate(0, n_items=200, n_features=3, n_targets=2)
    result = fit(world.answers, np.digitize(world.targets, [-1.0, 1.0]), likelihood="categorical", steps=3)
    found = result.predict_interval(world.answers)
    np.testing.assert_allclose(found.mean.reshape(200, 2, 3).sum(axis=-1), 1)
    assert found.lower.min() == 0
    assert found.upper.max() == 1
    nothing = torch.zeros(200, 0, dtype=torch.float64)
    drawn = predictive_draws(result.state, result.scaling, torch.from_numpy(world.answers), nothing, seed=0)
    assert drawn.dtype == np.float64
    assert drawn.shape == (DRAWS, 200, 6)
    assert np.array_equal(drawn.reshape(DRAWS, 200, 2, 3).sum(axis=-1), np.ones((DRAWS, 200, 2)))


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_new_items(level: float, simulate: Any) -> None:
    world = simulate(3, n_items=1400, n_features=4, n_targets=2, n_covariates=1)
    old, new = slice(0, 1000), slice(1000, 1400)
    result = fit(world.answers[old], world.targets[old], world.covariates[old])
    found = result.predict_interval(world.answers[new], world.covariates[new], level=level)
    inside = (world.targets[new] >= found.lower) & (world.targets[new] <= found.upper)
    # Four binomial standard errors over 400 items, each with two dependent targets, and the draws' own quantile error.
    assert inside.mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 400))


def test_the_same_seed_gives_the_same_prediction(fitted: tuple[Any, FitResult]) -> None:
    world, result = fitted
    first, second = (result.predict_interval(world.answers) for _ in range(2))
    assert np.array_equal(first.lower, second.lower)
    assert np.array_equal(result.predict(world.answers), result.predict(world.answers))


def test_tables_and_tensors_are_as_good_as_arrays(simulate: Any) -> None:
    world = simulate(0, n_items=60, n_features=3, n_targets=2, n_covariates=1)
    plain = fit(world.answers, world.targets, world.covariates, steps=3)

    def converted(make: Callable[[Any], Any]) -> FitResult:
        return fit(make(world.answers), make(world.targets), make(world.covariates), steps=3)

    frames, tensors = converted(pd.DataFrame), converted(torch.from_numpy)
    yes_no = fit(world.answers.astype(bool), world.targets.tolist(), world.covariates, steps=3)
    for other in (frames, tensors, yes_no):
        np.testing.assert_allclose(other.posterior, plain.posterior, atol=1e-9)
    expected = plain.predict(world.answers, world.covariates)
    again = plain.predict(pd.DataFrame(world.answers), torch.from_numpy(world.covariates))
    np.testing.assert_allclose(again, expected, rtol=1e-9)


def test_one_target_may_come_as_a_vector(simulate: Any) -> None:
    world = simulate(0, n_items=60, n_features=3, n_targets=1)
    flat, column = fit(world.answers, world.targets[:, 0], steps=3), fit(world.answers, world.targets, steps=3)
    assert np.array_equal(flat.posterior, column.posterior)
    assert flat.predict(world.answers).shape == (60, 1)


def test_items_without_any_answer_get_the_average(simulate: Any) -> None:
    world = simulate(0, n_items=100, n_features=3, n_targets=2)
    result = fit(world.answers, world.targets, steps=5)
    found = result.predict(np.full((1, 3), np.nan))
    np.testing.assert_allclose(found[0], result.parameters["weights"].sum(0) / 2 + result.parameters["intercept"])


def test_nothing_to_predict(fitted: tuple[Any, FitResult]) -> None:
    _, result = fitted
    assert result.predict(np.zeros((0, 3))).shape == (0, 2)


def test_parameters_in_the_users_units(simulate: Any) -> None:
    world = simulate(1, n_items=500, n_features=3, n_targets=2, n_covariates=2, wrong=0.0, noise=0.2)
    result = fit(world.answers, world.targets, 100 + 10 * world.covariates, steps=20)
    values = result.parameters
    np.testing.assert_allclose(values["weights"], world.weights, atol=0.1)
    np.testing.assert_allclose(values["scale"], 0.2, atol=0.03)
    location = world.truth @ values["weights"] + values["intercept"] + (100 + 10 * world.covariates) @ values["covariate_weights"]
    assert np.sqrt(np.mean((world.targets - location) ** 2)) == pytest.approx(0.2, abs=0.02)
    values["weights"][:] = 0
    assert not np.allclose(result.parameters["weights"], 0)


@pytest.mark.parametrize(("n_features", "n_covariates", "missing"), [(0, 0, 0.0), (3, 0, 0.0), (3, 2, 0.0), (3, 2, 0.3)])
def test_density_at_draws_is_that_of_the_program(n_features: int, n_covariates: int, missing: float, random_problem: Any) -> None:
    sizes = {"n_features": n_features, "n_covariates": n_covariates, "n_targets": 3}
    state, data = random_problem(0, missing_targets=missing, **sizes)
    z = (torch.from_numpy(np.random.default_rng(0).random((5, *state.posterior.shape))) < 0.5).double()
    with torch.no_grad(), isolated(0):
        found = drawn_log_densities(state.model, z, data)
        expected = state.model.log_density(z, data.covariates, data.targets)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_blocks_of_items_draw_their_own_answers_and_agree(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two estimates from other draws differ by their standard errors; the mean over items of each is known to a few of them."""
    world = simulate(5, n_items=300, n_features=4, n_targets=2, wrong=0.2)
    result = fit(world.answers, world.targets, steps=10)
    whole = result.log_likelihood(world.answers, world.targets)
    monkeypatch.setattr(prediction, "CHUNK", 400 * 4 * 7)
    parts = result.log_likelihood(world.answers, world.targets)
    assert not np.array_equal(whole, parts)
    difference = whole - parts
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
