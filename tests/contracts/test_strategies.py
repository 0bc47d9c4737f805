"""What every way of fitting promises, whatever link, likelihood and expectation it uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genz_ppl.inference import FitResult, fit
from genz_ppl.models import LIKELIHOODS, LINKS
from genz_ppl.settings import EXPECTATION_NAMES, INFERENCE_NAMES

Array = NDArray[np.float64]
ITEMS, FEATURES, TARGETS, COVARIATES = 60, 3, 2, 1

STRATEGIES = [
    {"inference": inference, "link": link, "likelihood": likelihood, "expectation": expectation}
    for inference in INFERENCE_NAMES
    for link in LINKS
    for likelihood in LIKELIHOODS
    for expectation in EXPECTATION_NAMES
    if link == "linear" or expectation != "exact"
]


def world(missing: bool) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(0)
    truth = (random.random((ITEMS, FEATURES)) < 0.5).astype(np.float64)
    covariates = random.normal(size=(ITEMS, COVARIATES))
    targets = truth @ random.normal(size=(FEATURES, TARGETS)) * 2 + covariates + 0.3 * random.normal(size=(ITEMS, TARGETS))
    answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)
    if missing:
        answers[random.random(answers.shape) < 0.2] = np.nan
        targets[random.random(targets.shape) < 0.2] = np.nan
        answers[5], targets[5] = np.nan, np.nan
    return answers, targets, covariates


@pytest.fixture(scope="module", params=[False, True], ids=["complete", "missing"])
def data(request: pytest.FixtureRequest) -> tuple[Array, Array, Array]:
    return world(request.param)


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: "-".join(options.values()))
def test_contract(options: dict[str, Any], data: tuple[Array, Array, Array]) -> None:
    copies = tuple(part.copy() for part in data)
    answers, targets, covariates = data
    result = fit(answers, targets, covariates, steps=2, seed=3, **options)
    assert all(np.array_equal(now, then, equal_nan=True) for now, then in zip(data, copies, strict=True))
    check_shapes(result)
    again = fit(answers, targets, covariates, steps=2, seed=3, **options)
    assert np.array_equal(again.posterior, result.posterior)
    assert again.bound == result.bound
    check_predictions(result, answers, targets, covariates)


def check_shapes(result: FitResult) -> None:
    assert result.posterior.shape == (ITEMS, FEATURES)
    assert result.posterior.dtype == np.float64
    assert np.all((result.posterior >= 0) & (result.posterior <= 1))
    assert result.error_rates.shape == (FEATURES,)
    assert np.all((result.error_rates > 0) & (result.error_rates < 1))
    assert result.bounds.shape == (2,)
    assert np.all(np.isfinite(result.bounds))
    assert result.bound == result.bounds[-1] == pytest.approx(result.bound_terms.total)
    assert all(np.all(np.isfinite(value)) for value in result.parameters.values())
    if result.settings.link == "linear":
        shapes = {name: value.shape for name, value in result.parameters.items()}
        expected = {"weights": (FEATURES, TARGETS), "intercept": (TARGETS,), "covariate_weights": (COVARIATES, TARGETS)}
        assert shapes == {**expected, "scale": (TARGETS,)}


def check_predictions(result: FitResult, answers: Array, targets: Array, covariates: Array) -> None:
    mean = result.predict(answers, covariates)
    assert mean.shape == (ITEMS, TARGETS)
    assert np.all(np.isfinite(mean))
    found = result.predict_interval(answers, covariates)
    for part in (found.mean, found.sd, found.lower, found.upper):
        assert part.shape == (ITEMS, TARGETS)
    assert np.all(found.sd > 0)
    density = result.log_likelihood(answers, targets, covariates)
    assert density.shape == (ITEMS,)
    assert np.all(np.isfinite(density))
    assert np.all(density[np.isnan(targets).all(axis=1)] == pytest.approx(0))


@pytest.mark.parametrize("expectation", ["exact", "mode"])
def test_order_of_items_does_not_matter(expectation: str, data: tuple[Array, Array, Array]) -> None:
    order = np.random.default_rng(1).permutation(ITEMS)
    answers, targets, covariates = data
    plain = fit(answers, targets, covariates, steps=4, expectation=expectation)
    shuffled = fit(answers[order], targets[order], covariates[order], steps=4, expectation=expectation)
    np.testing.assert_allclose(shuffled.posterior, plain.posterior[order], atol=1e-7)
    assert shuffled.bound == pytest.approx(plain.bound, rel=1e-8)


@pytest.mark.parametrize("expectation", ["exact", "mode", "sample"])
def test_answers_turned_around_turn_the_posterior_around(expectation: str) -> None:
    answers, targets, covariates = world(missing=False)
    plain = fit(answers, targets, covariates, steps=8, expectation=expectation)
    turned = fit(1 - answers, targets, covariates, steps=8, expectation=expectation)
    sure = np.abs(plain.posterior - 0.5) > 0.45
    assert sure.mean() > 0.5
    if expectation == "exact":  # at the mode ties, and with samples chance, may fall differently
        np.testing.assert_allclose(turned.posterior, 1 - plain.posterior, atol=1e-6)
        np.testing.assert_allclose(turned.parameters["weights"], -plain.parameters["weights"], atol=1e-6)
    else:
        assert np.mean((turned.posterior > 0.5) == (plain.posterior <= 0.5)) > 0.9


def test_the_answers_are_used() -> None:
    answers, targets, covariates = world(missing=False)
    noise = (np.random.default_rng(2).random(answers.shape) < 0.5).astype(np.float64)
    assert fit(answers, targets, covariates, steps=5).bound > fit(noise, targets, covariates, steps=5).bound + 20
