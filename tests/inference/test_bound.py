"""The bound: below the evidence, never falling, equal to eqs. 1-2, and in the user's units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.linear_gaussian import ExactExpectation
from genz_ppl.inference.state import bound_of


def normal_log_density(error: Any, scale: Any) -> Any:
    return -0.5 * (error / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def bound_by_hand(result: FitResult, world: Any, prior: tuple[float, float]) -> float:
    """Eqs. 1-2 for a linear Gaussian fit from what the result says alone, in numpy, plus the error rates' log prior."""
    q, rates, values = result.posterior, result.error_rates, result.parameters
    location = q @ values["weights"] + values["intercept"] + world.covariates @ values["covariate_weights"]
    spread = (q * (1 - q)) @ values["weights"] ** 2
    observation = np.nansum(normal_log_density(world.targets - location, values["scale"]) - 0.5 * spread / values["scale"] ** 2)
    yes = np.where(np.isnan(world.answers), 0.5, np.where(world.answers == 1, 1 - rates, rates))
    feature = np.sum(q * np.log(yes) + (1 - q) * np.log(1 - yes))
    inside = np.clip(q, 1e-300, 1)
    outside = np.clip(1 - q, 1e-300, 1)
    entropy = -np.sum(q * np.log(inside) + (1 - q) * np.log(outside))
    a, b = prior
    mode = np.clip((a - 1) / (a + b - 2), 1e-6, 1 - 1e-6)
    penalty = np.sum((a - 1) * np.log(rates / mode) + (b - 1) * np.log((1 - rates) / (1 - mode)))
    return float(observation + feature + entropy + penalty)


@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("prior", [(1.0, 9.0), (2.0, 5.0)])
def test_bound_is_equations_1_and_2(likelihood: str, missing: float, prior: tuple[float, float], simulate: Any) -> None:
    world = simulate(1, n_items=150, n_features=4, n_targets=3, n_covariates=2, missing_answers=missing, missing_targets=missing)
    result = fit(world.answers, world.targets, world.covariates, likelihood=likelihood, steps=6, error_rate_prior=prior)
    assert result.bound == pytest.approx(bound_by_hand(result, world, prior), rel=1e-9)
    terms = result.bound_terms
    assert terms.total == pytest.approx(result.bound, rel=1e-12)
    assert terms.penalty <= 0 <= terms.entropy


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n_features=st.integers(0, 6),
    likelihood=st.sampled_from(["gaussian", "isotropic"]),
    missing_targets=st.sampled_from([0.0, 0.3]),
)
def test_bound_is_below_the_evidence(
    seed: int, n_features: int, likelihood: str, missing_targets: float, random_problem: Any, bits: Any
) -> None:
    state, data = random_problem(seed, n_features=n_features, likelihood=likelihood, missing_targets=missing_targets, n_targets=2)
    table = bits(n_features)
    link, scale = state.model.link, state.model.likelihood.scale
    location = (table @ link.weights)[:, None] + link.intercept + data.covariates @ link.covariate_weights
    terms = dist.Normal(location, scale).log_prob(torch.nan_to_num(data.targets))
    joint = torch.where(data.observed, terms, torch.zeros_like(terms)).sum(-1)
    prior = state.prior(data.answers)
    joint = joint + torch.where(table[:, None] > 0.5, prior, 1 - prior).log().sum(-1)
    evidence = torch.logsumexp(joint, 0).sum().item()
    method = ExactExpectation(data, joint_moves=True)
    for _ in range(6):
        bound = bound_of(state, data, method.observation(state))
        assert bound.total - bound.penalty <= evidence + 1e-9 * abs(evidence)
        method.sweep(state)
    if n_features <= 1:  # a single feature's q is the exact posterior
        assert bound.total - bound.penalty == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("joint_moves", [True, False])
@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
@pytest.mark.parametrize(
    "world_options",
    [
        {"n_targets": 1},
        {"n_targets": 3, "n_covariates": 2},
        {"n_targets": 2, "missing_answers": 0.3},
        {"n_targets": 3, "missing_targets": 0.3, "n_covariates": 1},
        {"n_targets": 2, "wrong": 0.45, "noise": 2.0},
        {"n_targets": 2, "noise": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("free", [0, 2])
def test_bound_never_falls(joint_moves: bool, likelihood: str, world_options: dict[str, Any], free: int, simulate: Any) -> None:
    for seed in range(4):
        world = simulate(seed, **{"n_items": 120, "n_features": 5, **world_options})
        answers = world.answers.copy()
        answers[:, :free] = np.nan
        result = fit(
            answers,
            world.targets,
            world.covariates,
            likelihood=likelihood,
            steps=30,
            joint_moves=joint_moves,
            error_rate_prior=(1.0, 9.0) if seed % 2 else (2.0, 6.0),
        )
        falls = -np.diff(result.bounds)
        assert falls.max() <= 1e-8 * np.abs(result.bounds).max(), f"seed {seed}: falls by {falls.max():.3g}"


@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
def test_units_of_the_targets_shift_the_bound_and_nothing_else(likelihood: str, simulate: Any) -> None:
    world = simulate(0, n_items=200, n_features=4, n_targets=3)
    plain = fit(world.answers, world.targets, likelihood=likelihood, steps=12)
    scaled = fit(world.answers, 10 * world.targets + 4, likelihood=likelihood, steps=12)
    np.testing.assert_allclose(scaled.bounds, plain.bounds - 200 * 3 * np.log(10), rtol=1e-9)
    np.testing.assert_allclose(scaled.posterior, plain.posterior, atol=1e-8)
    np.testing.assert_allclose(scaled.parameters["weights"], 10 * plain.parameters["weights"], rtol=1e-6)
    np.testing.assert_allclose(scaled.parameters["intercept"], 10 * plain.parameters["intercept"] + 4, rtol=1e-6)
    np.testing.assert_allclose(scaled.parameters["scale"], 10 * plain.parameters["scale"], rtol=1e-6)


def test_units_of_one_target_do_not_matter_to_the_others(simulate: Any) -> None:
    world = simulate(0, n_items=200, n_features=4, n_targets=3, missing_targets=0.1)
    plain = fit(world.answers, world.targets, steps=8)
    scaled = fit(world.answers, world.targets * np.array([1.0, 100.0, 1.0]), steps=8)
    np.testing.assert_allclose(scaled.posterior, plain.posterior, atol=1e-8)
    counted = int((~np.isnan(world.targets[:, 1])).sum())
    assert scaled.bound == pytest.approx(plain.bound - counted * np.log(100), rel=1e-9)


def test_posterior_is_one_half_only_where_nothing_is_known() -> None:
    answers = np.array([[1.0], [0.0], [np.nan], [1.0], [0.0], [1.0]])
    targets = np.array([[2.0], [0.1], [np.nan], [2.1], [0.0], [1.9]])
    with isolated(0):
        result = fit(answers, targets, steps=5)
    assert result.posterior[2, 0] == pytest.approx(0.5)
    assert np.all(np.abs(result.posterior[[0, 1, 3, 4, 5], 0] - 0.5) > 0.4)
