"""The closed forms against brute force: every expectation summed over all assignments of z."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genz_ppl.inference.engines import closed_form, item_sweep
from genz_ppl.inference.engines import sums as linear_gaussian
from genz_ppl.inference.engines.closed_form import ClosedForm
from genz_ppl.inference.engines.density import observation_log_density
from genz_ppl.inference.engines.item_sweep import FEW_TARGETS
from genz_ppl.inference.engines.sums import closed_form_for, is_linear_gaussian
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS, LINKS, GenZ, InteractionLink
from genz_ppl.models.robust import SHARPEST

# The terms that fewer or more assignments add up to differ by rounding only.
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
GAUSSIAN, ROBUST = ["gaussian", "isotropic"], ["student_t", "laplace"]

sizes: dict[str, Any] = {
    "seed": st.integers(0, 10_000),
    "link": st.sampled_from(["linear", "interaction"]),
    "n_items": st.integers(2, 9),
    "n_features": st.integers(0, 5),
    "n_targets": st.sampled_from([1, 2, FEW_TARGETS + 2]),
    "n_covariates": st.integers(0, 2),
    "missing_answers": st.sampled_from([0.0, 0.4]),
    "missing_targets": st.sampled_from([0.0, 0.4]),
}
gaussian_sizes = st.fixed_dictionaries({**sizes, "likelihood": st.sampled_from(GAUSSIAN)})
robust_sizes = st.fixed_dictionaries({**sizes, "likelihood": st.sampled_from(ROBUST)})
all_sizes = st.fixed_dictionaries({**sizes, "likelihood": st.sampled_from(GAUSSIAN + ROBUST)})


@pytest.fixture(scope="session")
def problem(random_problem: Any) -> Callable[..., tuple[State, Data]]:
    """`random_problem` with either link."""

    def make(seed: int, link: str = "linear", **size: Any) -> tuple[State, Data]:
        state, data = random_problem(seed, **size)
        if link == "linear":
            return state, data
        generator = torch.Generator().manual_seed(seed)
        with isolated(seed):
            other = InteractionLink(data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1])
            with torch.no_grad():
                for parameter in other.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            model = GenZ(state.model.features, other, state.model.likelihood)
        return State(model, state.error_rates, state.posterior), data

    return make


def squared_errors(state: State, data: Data, table: Tensor) -> Tensor:
    """(y - f(z))^2 of every entry for every row of the table, (2^K, T, D), by the link's formula; 0 where y is missing."""
    link = state.model.link
    location = (table @ link.weights).unsqueeze(1) + link.intercept + data.covariates @ link.covariate_weights
    if isinstance(link, InteractionLink):
        location = location + torch.einsum("ak,tp,kpd->atd", table, data.covariates, link.interactions)
    return torch.nan_to_num(data.targets - location) ** 2


def densities_at(state: State, squared: Tensor) -> Tensor:
    """log p of entries at their squared errors, by the textbook."""
    likelihood = state.model.likelihood
    density: Tensor
    scale = likelihood.scale
    if likelihood.name == "laplace":
        density = -squared.sqrt() / scale - torch.log(2 * scale)
    elif likelihood.name == "student_t":
        degrees = likelihood.degrees_of_freedom
        constant = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2) - 0.5 * torch.log(math.pi * degrees) - scale.log()
        density = constant - 0.5 * (degrees + 1) * torch.log(1 + squared / scale**2 / degrees)
    else:
        density = -0.5 * squared / scale**2 - torch.log(scale) - 0.5 * math.log(2 * math.pi)
    return density


def log_densities(state: State, data: Data, table: Tensor) -> Tensor:
    """log p(y | z) of every item for every row of the table, (2^K, T)."""
    terms = densities_at(state, squared_errors(state, data, table))
    return torch.where(data.observed, terms, torch.zeros_like(terms)).sum(-1)


def probabilities(q: Tensor, table: Tensor) -> Tensor:
    """q(z) of every item for every row of the table, (2^K, T)."""
    return torch.where(table[:, None] > 0.5, q, 1 - q).prod(-1)


def touching_precision(state: State, data: Data, table: Tensor) -> Tensor:
    """Precision of every entry at its expected squared error, (T, D); 0 where y is missing."""
    expected = torch.einsum("at,atd->td", probabilities(state.posterior, table), squared_errors(state, data, table))
    precision: Tensor = state.model.likelihood.precision(expected).detach() * data.observed
    return precision


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("link", LINKS)
def test_where_there_is_a_closed_form(link: str, likelihood: str) -> None:
    with isolated(0):
        model = build_model(2, 2, 1, link, likelihood)
    assert model.has_closed_form == (link in ("linear", "interaction") and likelihood in GAUSSIAN + ROBUST)


@settings(max_examples=60)
@given(size=gaussian_sizes)
def test_observation_term_is_the_expectation_over_all_assignments(size: dict[str, Any], problem: Any, bits: Any) -> None:
    state, data = problem(**size)
    table = bits(size["n_features"])
    expected = (probabilities(state.posterior, table) * log_densities(state, data, table)).sum().detach()
    found = closed_form_for(state.model, data).observation(state)
    assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-8)


@settings(max_examples=40)
@given(size=robust_sizes)
def test_observation_term_of_other_noise_is_below_the_expectation(size: dict[str, Any], problem: Any, bits: Any) -> None:
    state, data = problem(**size)
    table = bits(size["n_features"])
    density = log_densities(state, data, table).detach()
    expected = float((probabilities(state.posterior, table) * density).sum())
    found = closed_form_for(state.model, data).observation(state)
    assert found <= expected + 1e-9 * abs(expected)
    # At 0 and 1 there is nothing to take an expectation over; Laplace's tip is rounded.
    state.posterior = state.posterior.round()
    expected = float((probabilities(state.posterior, table) * density).sum())
    at_corner = closed_form_for(state.model, data).observation(state)
    tip = 0.5 * SHARPEST * data.targets.numel() if size["likelihood"] == "laplace" else 0.0
    assert expected - tip - 1e-8 <= at_corner <= expected + 1e-8


@settings(max_examples=80)
@given(size=all_sizes)
def test_sweep_is_equation_27_feature_by_feature(size: dict[str, Any], problem: Any, bits: Any) -> None:
    state, data = problem(**size)
    table = bits(size["n_features"])
    precision = touching_precision(state, data, table)
    density = -0.5 * (squared_errors(state, data, table) * precision).sum(-1).detach()
    q = state.posterior.clone()
    log_odds = torch.logit(state.prior(data.answers))
    for k in range(size["n_features"]):
        clamped = []
        for value in (0.0, 1.0):
            fixed = q.clone()
            fixed[:, k] = value
            clamped.append((probabilities(fixed, table) * density).sum(0))
        q[:, k] = torch.sigmoid(clamped[1] - clamped[0] + log_odds[:, k])
    closed_form_for(state.model, data, joint_moves=False).sweep(state)
    torch.testing.assert_close(state.posterior, q, **CLOSE)


@settings(max_examples=60)
@given(size=all_sizes)
def test_m_step_is_a_stationary_point_of_the_enumerated_bound(size: dict[str, Any], problem: Any, bits: Any) -> None:
    size = {**size, "n_items": size["n_items"] + 25}  # enough items for a unique solution
    state, data = problem(**size)
    table, link = bits(size["n_features"]), state.model.link
    chance, precision = probabilities(state.posterior, table), touching_precision(state, data, table)
    with isolated(0):
        closed_form_for(state.model, data).maximise(state)
        squared = torch.einsum("at,atd->td", chance, squared_errors(state, data, table))
        bound = -0.5 * (squared * precision).sum() + link.penalty()
        gradients = torch.autograd.grad(bound, list(link.parameters()))
        magnitude = max(1.0, float(precision.max())) * data.targets.numel()
        for gradient in gradients:
            assert gradient.numel() == 0 or float(gradient.abs().max()) < 1e-9 * magnitude
        if size["likelihood"] in GAUSSIAN:  # the noise of the others moves by a step of EM
            scale = state.model.likelihood.scale.detach()
            # An isotropic likelihood has one number to maximise over, shared by all targets.
            free = (scale[:1] if size["likelihood"] == "isotropic" else scale).clone().requires_grad_()
            noise = free.expand(size["n_targets"])
            density = torch.where(data.observed, -0.5 * squared.detach() / noise**2 - noise.log(), torch.zeros_like(squared))
            (gradient,) = torch.autograd.grad(density.sum(), free)
            assert float(gradient.abs().max()) < 1e-9 * max(1.0, float(scale.min()) ** -1) * data.targets.numel()


@settings(max_examples=25)
@given(size=all_sizes)
def test_masked_path_equals_complete_path_when_nothing_is_missing(size: dict[str, Any], problem: Any) -> None:
    state, data = problem(**{**size, "missing_targets": 0.0, "n_items": size["n_items"] + 25})  # weights are unique
    other = state.copy()
    complete, masked = closed_form_for(state.model, data, joint_moves=False), ClosedForm(replace(data), joint_moves=False)
    assert is_linear_gaussian(state.model, data) == (size["link"] == "linear" and size["likelihood"] in GAUSSIAN)
    masked.data.__dict__["complete"] = False  # of its own copy of the data
    with isolated(0):
        for method, target in ((complete, state), (masked, other)):
            method.sweep(target)
            method.maximise(target)
    torch.testing.assert_close(state.posterior, other.posterior, **CLOSE)
    for first, second in zip(state.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-8)


@settings(max_examples=25)
@given(size=all_sizes)
def test_either_way_of_sweeping_gives_the_same(size: dict[str, Any], problem: Any) -> None:
    """On each item's own K x K matrix, and on the errors of all targets."""
    state, data = problem(**size)
    other = state.copy()
    with pytest.MonkeyPatch.context() as patch:
        for few, target in ((100, state), (0, other)):
            patch.setattr(item_sweep, "FEW_TARGETS", few)
            closed_form_for(target.model, data, joint_moves=False).sweep(target)
    torch.testing.assert_close(state.posterior, other.posterior, **CLOSE)


@pytest.mark.parametrize("missing_targets", [0.0, 0.3])
@pytest.mark.parametrize(("link", "likelihood"), [("linear", "gaussian"), ("interaction", "gaussian"), ("linear", "student_t")])
def test_blocks_of_items_do_not_change_the_answer(
    link: str, likelihood: str, missing_targets: float, problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few features, so that every block tries all pairs.
    whole, data = problem(0, link, n_items=23, missing_targets=missing_targets, likelihood=likelihood)
    parts = whole.copy()
    for state, block in ((whole, 1000), (parts, 5)):
        monkeypatch.setattr(closed_form, "BLOCK", block)
        monkeypatch.setattr(linear_gaussian, "BLOCK", block)
        method = closed_form_for(state.model, data)
        for _ in range(3):  # the third sweep tries joint moves
            method.sweep(state)
    torch.testing.assert_close(whole.posterior, parts.posterior, rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(size=all_sizes)
def test_density_is_read_off_the_program(size: dict[str, Any], problem: Any, bits: Any) -> None:
    size = {**size, "n_features": max(1, size["n_features"])}
    state, data = problem(**size)
    table = bits(size["n_features"])
    expected = log_densities(state, data, table).detach()
    with isolated(0), torch.no_grad():
        for row, z in enumerate(table):
            found = observation_log_density(state.model, z.expand(size["n_items"], -1), state.error_rates, data)
            torch.testing.assert_close(found, expected[row], **CLOSE)
