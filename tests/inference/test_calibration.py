"""Simulation-based calibration of the exact posterior: the true features look like one more draw from it, or it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from genz_ppl.inference.engines.exact import exact_posterior
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data, State

# Ranks are 0 ... DRAWS, in BINS of equal size.
DRAWS, BINS, ITEMS, FEATURES, TARGETS = 99, 20, 4000, 5, 2


@pytest.fixture(autouse=True)
def set_aside() -> Iterator[None]:
    with isolated(0):
        yield


def simulated(likelihood: str, seed: int) -> tuple[State, Data, Any]:
    """A model with random parameters, and z and y drawn from it with numpy: z ~ p(z | h), y ~ p(y | z). Returns also z."""
    random = np.random.default_rng(seed)
    rates, answers = random.uniform(0.05, 0.4, size=FEATURES), random.integers(2, size=(ITEMS, FEATURES)).astype(np.float64)
    answers[random.random(answers.shape) < 0.15] = np.nan
    prior = np.where(np.isnan(answers), 0.5, np.where(answers == 1, 1 - rates, rates))
    truth = (random.random(prior.shape) < prior).astype(np.float64)
    weights, intercept = random.normal(size=(FEATURES, TARGETS)), random.normal(size=TARGETS)
    weights *= 0.5 if likelihood == "poisson" else 1.0
    f, scale, degrees = truth @ weights + intercept, random.uniform(0.5, 1.0, size=TARGETS), 3.0
    model = build_model(FEATURES, TARGETS, 0, likelihood=likelihood)
    if likelihood == "poisson":
        base = torch.full((TARGETS,), 0.5, dtype=torch.float64)
        model.likelihood.base.copy_(base)
        targets = random.poisson(np.exp(0.5 + f)).astype(np.float64)
    elif likelihood == "student_t":
        targets = f + scale * random.standard_t(degrees, size=f.shape)
        model.likelihood.degrees_of_freedom = torch.full((TARGETS,), degrees, dtype=torch.float64)
    else:
        targets = f + scale * random.normal(size=f.shape)
    if likelihood != "poisson":
        model.likelihood.scale = torch.from_numpy(scale)
    no_covariates = torch.zeros(0, TARGETS, dtype=torch.float64)
    model.link.set_solution(torch.from_numpy(weights).unsqueeze(1), torch.from_numpy(intercept), no_covariates)
    targets[random.random(targets.shape) < 0.1] = np.nan
    data = Data(torch.from_numpy(answers), torch.zeros(ITEMS, 0, dtype=torch.float64), torch.from_numpy(targets))
    return State(model, torch.from_numpy(rates), torch.from_numpy(prior)), data, truth


def location(state: State, z: Any) -> Any:
    """z.w for the first target."""
    return z @ state.model.link.weights.detach().numpy()[:, 0]


def number(state: State, z: Any) -> Any:
    """How many features are true."""
    return z.sum(-1)


def ranks(state: State, data: Data, truth: Any, statistic: Callable[[State, Any], Any], seed: int) -> Any:
    """How many of an item's draws come before the truth, (T,); those that equal it are put before and behind it at random."""
    draws = statistic(state, exact_posterior(state, data).draws(DRAWS, seed).numpy())
    true = statistic(state, truth)
    below, equal = (draws < true - 1e-9).sum(0), (np.abs(draws - true) <= 1e-9).sum(0)
    return below + np.random.default_rng(seed).integers(equal + 1)


def uniformity(counted: Any) -> float:
    """p-value of the hypothesis that all ranks are equally likely."""
    return float(chisquare(np.bincount(counted * BINS // (DRAWS + 1), minlength=BINS)).pvalue)


@pytest.mark.parametrize("statistic", [location, number])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson", "student_t"])
def test_the_truth_is_one_more_draw(likelihood: str, seed: int, statistic: Callable[[State, Any], Any]) -> None:
    assert uniformity(ranks(*simulated(likelihood, seed), statistic, seed)) > 1e-3


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_noise_taken_for_half_as_large_is_noticed(likelihood: str) -> None:
    state, data, truth = simulated(likelihood, 0)
    state.model.likelihood.scale = state.model.likelihood.scale.detach() / 2
    assert uniformity(ranks(state, data, truth, location, 0)) < 1e-6


def test_a_mean_count_taken_for_a_third_larger_is_noticed() -> None:
    state, data, truth = simulated("poisson", 0)
    state.model.likelihood.base += 0.3
    assert uniformity(ranks(state, data, truth, location, 0)) < 1e-6


def test_error_rates_taken_for_too_small_are_noticed() -> None:
    state, data, truth = simulated("gaussian", 0)
    state.error_rates /= 3
    assert uniformity(ranks(state, data, truth, number, 0)) < 1e-6
