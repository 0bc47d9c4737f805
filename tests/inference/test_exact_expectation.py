"""Appendix B against brute force: every expectation of the linear Gaussian strategy, summed over all assignments of z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genz_ppl.inference import linear_gaussian
from genz_ppl.inference.density import observation_log_density
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.linear_gaussian import ExactExpectation, solve_weights
from genz_ppl.inference.state import Data, State

# The terms that fewer or more assignments add up to differ by rounding only.
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}

sizes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "n_items": st.integers(2, 9),
        "n_features": st.integers(0, 5),
        "n_targets": st.integers(1, 3),
        "n_covariates": st.integers(0, 2),
        "likelihood": st.sampled_from(["gaussian", "isotropic"]),
        "missing_answers": st.sampled_from([0.0, 0.4]),
        "missing_targets": st.sampled_from([0.0, 0.4]),
    }
)


def log_densities(state: State, data: Data, table: Tensor) -> Tensor:
    """log p(y | z) of every item for every row of the table, from the Normal distribution alone, (2^K, T)."""
    link, scale = state.model.link, state.model.likelihood.scale
    location = (table @ link.weights)[:, None] + link.intercept + data.covariates @ link.covariate_weights
    terms = dist.Normal(location, scale).log_prob(torch.nan_to_num(data.targets))
    return torch.where(data.observed, terms, torch.zeros_like(terms)).sum(-1)


def probabilities(q: Tensor, table: Tensor) -> Tensor:
    """q(z) of every item for every row of the table, (2^K, T)."""
    return torch.where(table[:, None] > 0.5, q, 1 - q).prod(-1)


@settings(max_examples=40)
@given(size=sizes)
def test_observation_term_is_the_expectation_over_all_assignments(size: dict[str, Any], random_problem: Any, bits: Any) -> None:
    state, data = random_problem(**size)
    table = bits(size["n_features"])
    expected = (probabilities(state.posterior, table) * log_densities(state, data, table)).sum().detach()
    found = ExactExpectation(data).observation(state)
    assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-8)


@settings(max_examples=40)
@given(size=sizes)
def test_sweep_is_equation_27_feature_by_feature(size: dict[str, Any], random_problem: Any, bits: Any) -> None:
    state, data = random_problem(**size)
    table = bits(size["n_features"])
    density = log_densities(state, data, table).detach()
    q = state.posterior.clone()
    log_odds = torch.logit(state.prior(data.answers))
    for k in range(size["n_features"]):
        clamped = []
        for value in (0.0, 1.0):
            fixed = q.clone()
            fixed[:, k] = value
            clamped.append((probabilities(fixed, table) * density).sum(0))
        q[:, k] = torch.sigmoid(clamped[1] - clamped[0] + log_odds[:, k])
    ExactExpectation(data, joint_moves=False).sweep(state)
    torch.testing.assert_close(state.posterior, q, **CLOSE)


@settings(max_examples=40)
@given(size=sizes)
def test_m_step_is_a_stationary_point_of_the_enumerated_bound(size: dict[str, Any], random_problem: Any, bits: Any) -> None:
    size = {**size, "n_items": size["n_items"] + 12}  # enough items for a unique solution
    state, data = random_problem(**size)
    table = bits(size["n_features"])
    with isolated(0):
        ExactExpectation(data).maximise(state)
    link = state.model.link
    parameters = [link.weights, link.intercept, link.covariate_weights]
    scale = state.model.likelihood.scale.detach()
    # An isotropic likelihood has one number to maximise over, shared by all targets.
    free = (scale[:1] if size["likelihood"] == "isotropic" else scale).clone().requires_grad_()

    location = (table @ link.weights)[:, None] + link.intercept + data.covariates @ link.covariate_weights
    terms = dist.Normal(location, free.expand(size["n_targets"])).log_prob(torch.nan_to_num(data.targets))
    density = torch.where(data.observed, terms, torch.zeros_like(terms)).sum(-1)
    bound = (probabilities(state.posterior, table) * density).sum()
    gradients = torch.autograd.grad(bound, [*parameters, free])
    magnitude = float((1 / scale**2).max()) * data.targets.numel()
    for gradient in gradients:
        assert gradient.numel() == 0 or float(gradient.abs().max()) < 1e-9 * max(1.0, magnitude)


@settings(max_examples=25)
@given(size=sizes)
def test_masked_path_equals_complete_path_when_nothing_is_missing(size: dict[str, Any], random_problem: Any) -> None:
    state, data = random_problem(**{**size, "missing_targets": 0.0, "n_items": size["n_items"] + 12})  # weights are unique
    other = state.copy()
    complete, masked = ExactExpectation(data, joint_moves=False), ExactExpectation(data, joint_moves=False)
    assert complete.complete
    masked.complete = False
    with isolated(0):
        for method, target in ((complete, state), (masked, other)):
            method.sweep(target)
            method.maximise(target)
    torch.testing.assert_close(state.posterior, other.posterior, **CLOSE)
    for first, second in zip(state.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("missing_targets", [0.0, 0.3])
def test_blocks_of_items_do_not_change_the_answer(
    missing_targets: float, random_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, data = random_problem(0, n_items=23, missing_targets=missing_targets)
    parts = whole.copy()
    for state, block in ((whole, 1000), (parts, 5)):
        monkeypatch.setattr(linear_gaussian, "BLOCK", block)
        method = ExactExpectation(data)
        for _ in range(3):  # the third sweep tries joint moves
            method.sweep(state)
    torch.testing.assert_close(whole.posterior, parts.posterior, rtol=0, atol=1e-13)


@settings(max_examples=20)
@given(size=sizes)
def test_density_is_read_off_the_program(size: dict[str, Any], random_problem: Any, bits: Any) -> None:
    size = {**size, "n_features": max(1, size["n_features"])}
    state, data = random_problem(**size)
    table = bits(size["n_features"])
    expected = log_densities(state, data, table).detach()
    with isolated(0), torch.no_grad():
        for row, z in enumerate(table):
            found = observation_log_density(state.model, z.expand(size["n_items"], -1), state.error_rates, data)
            torch.testing.assert_close(found, expected[row], **CLOSE)


def test_collinear_features_get_a_finite_solution(random_problem: Any) -> None:
    state, data = random_problem(0, n_items=40, n_features=3, n_targets=2, n_covariates=0)
    posterior = (state.posterior > 0.5).double()
    posterior[:, 1] = posterior[:, 0]
    posterior[:, 2] = 0.0
    found = solve_weights(posterior, data, data.targets, complete=True)
    design = np.column_stack([posterior.numpy(), np.ones(40)])
    expected, *_ = np.linalg.lstsq(design, data.targets.numpy())
    np.testing.assert_allclose(design @ found.numpy(), design @ expected, atol=1e-8)
    assert float(found.abs().max()) < 100
