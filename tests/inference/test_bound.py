"""The bound: below the evidence, never falling, equal to eqs. 1-2, and in the user's units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import PLAIN
from scipy import stats

from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import bound_of
from genz_ppl.models.interaction import INTERACTION_SPREAD
from genz_ppl.models.robust import SHARPEST


def rounded_laplace(distance: Any, scale: Any) -> Any:
    """The log density at a distance; nearer than SHARPEST of the scale the parabola that touches it there."""
    touched = np.maximum(distance, SHARPEST * scale)
    return -np.log(2 * scale) - 0.5 * (touched + distance**2 / touched) / scale


#: log p of entries at their (expected) squared errors, from a result's parameters.
DENSITIES: dict[str, Callable[[Any, Any], Any]] = {
    "gaussian": lambda squared, values: stats.norm.logpdf(np.sqrt(squared), scale=values["scale"]),
    "isotropic": lambda squared, values: stats.norm.logpdf(np.sqrt(squared), scale=values["scale"]),
    "student_t": lambda squared, values: stats.t.logpdf(np.sqrt(squared), values["degrees_of_freedom"], scale=values["scale"]),
    "laplace": lambda squared, values: rounded_laplace(np.sqrt(squared), values["scale"]),
}
CLOSED = [(link, likelihood) for link in ("linear", "interaction") for likelihood in DENSITIES]


def expected_squared_errors(result: FitResult, world: Any) -> Any:
    """E_q (y - f(z))^2 in the user's units, (T, D), from what the result says alone; NaN where y is missing."""
    q, values, x = result.posterior, result.parameters, world.covariates
    effects = np.broadcast_to(values["weights"], (len(q), *values["weights"].shape))
    if "interactions" in values:
        effects = effects + np.einsum("tp,kpd->tkd", x, values["interactions"])
    location = np.einsum("tk,tkd->td", q, effects) + values["intercept"] + x @ values["covariate_weights"]
    return (world.targets - location) ** 2 + np.einsum("tk,tkd->td", q * (1 - q), effects**2)


def bound_by_hand(result: FitResult, world: Any, prior: tuple[float, float]) -> float:
    """Eqs. 1-2 in numpy, plus the log priors of the error rates and of products, relative to their modes."""
    q, rates, values = result.posterior, result.error_rates, result.parameters
    observation = np.nansum(DENSITIES[result.settings.likelihood](expected_squared_errors(result, world), values))
    yes = np.where(np.isnan(world.answers), 0.5, np.where(world.answers == 1, 1 - rates, rates))
    feature = np.sum(q * np.log(yes) + (1 - q) * np.log(1 - yes))
    inside = np.clip(q, 1e-300, 1)
    outside = np.clip(1 - q, 1e-300, 1)
    entropy = -np.sum(q * np.log(inside) + (1 - q) * np.log(outside))
    a, b = prior
    mode = np.clip((a - 1) / (a + b - 2), 1e-6, 1 - 1e-6)
    penalty = np.sum((a - 1) * np.log(rates / mode) + (b - 1) * np.log((1 - rates) / (1 - mode)))
    if "interactions" in values:
        products = values["interactions"] * world.covariates.std(0)[:, None] / result.scaling.target_spread.numpy()
        penalty -= 0.5 * np.sum(products**2) / INTERACTION_SPREAD**2
    return float(observation + feature + entropy + penalty)


@pytest.mark.parametrize(("link", "likelihood"), CLOSED)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_bound_is_equations_1_and_2(link: str, likelihood: str, missing: float, simulate: Any) -> None:
    world = simulate(1, n_items=150, n_features=4, n_targets=3, n_covariates=2, missing_answers=missing, missing_targets=missing)
    prior = (2.0, 5.0) if missing > 0 else (1.0, 9.0)
    result = fit(
        world.answers,
        world.targets,
        world.covariates,
        link,
        likelihood,
        steps=6,
        inference="coordinate",
        error_rate_prior=prior,
        **PLAIN,
    )
    assert result.bound == pytest.approx(bound_by_hand(result, world, prior), rel=1e-9)
    terms = result.bound_terms
    assert terms.total == pytest.approx(result.bound, rel=1e-12)
    assert terms.penalty <= 0 <= terms.entropy


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n_features=st.integers(0, 6),
    likelihood=st.sampled_from(list(DENSITIES)),
    missing_targets=st.sampled_from([0.0, 0.3]),
)
def test_bound_is_below_the_evidence(
    seed: int, n_features: int, likelihood: str, missing_targets: float, random_problem: Any, bits: Any
) -> None:
    state, data = random_problem(seed, n_features=n_features, likelihood=likelihood, missing_targets=missing_targets, n_targets=2)
    table = bits(n_features)
    link = state.model.link
    location = (table @ link.weights)[:, None] + link.intercept + data.covariates @ link.covariate_weights
    with isolated(0):
        terms = state.model.likelihood(location).log_prob(torch.nan_to_num(data.targets))
    joint = torch.where(data.observed, terms, torch.zeros_like(terms)).sum(-1)
    prior = state.prior(data.answers)
    joint = joint + torch.where(table[:, None] > 0.5, prior, 1 - prior).log().sum(-1)
    evidence = torch.logsumexp(joint, 0).sum().item()
    method = closed_form_for(state.model, data)
    for _ in range(6):
        bound = bound_of(state, data, method.observation(state))
        assert bound.total - bound.penalty <= evidence + 1e-9 * abs(evidence)
        method.sweep(state)
    if n_features <= 1 and likelihood in ("gaussian", "isotropic"):  # a single feature's q is the exact posterior
        assert bound.total - bound.penalty == pytest.approx(evidence, rel=1e-9)


WORLDS: list[tuple[str, dict[str, Any]]] = [
    ("linear", {"n_targets": 1}),
    ("linear", {"n_targets": 3, "n_covariates": 2}),
    ("linear", {"n_targets": 2, "missing_answers": 0.3}),
    ("linear", {"n_targets": 3, "missing_targets": 0.3, "n_covariates": 1}),
    ("linear", {"n_targets": 6, "missing_targets": 0.1}),
    ("linear", {"n_targets": 2, "wrong": 0.45, "noise": 2.0}),
    ("linear", {"n_targets": 2, "noise": 0.01}),
    ("interaction", {"n_targets": 3, "n_covariates": 2}),
    ("interaction", {"n_targets": 2, "missing_targets": 0.3, "n_covariates": 1, "noise": 0.01}),
    ("interaction", {"n_targets": 6, "missing_targets": 0.1, "n_covariates": 1}),
]


@pytest.mark.parametrize(("link", "world_options"), WORLDS, ids=str)
@pytest.mark.parametrize("likelihood", DENSITIES)
def test_bound_never_falls(link: str, likelihood: str, world_options: dict[str, Any], simulate: Any) -> None:
    for seed, (joint_moves, free) in enumerate([(True, 0), (True, 2), (False, 1)]):
        world = simulate(seed, **{"n_items": 120, "n_features": 5, **world_options})
        answers, targets = world.answers.copy(), world.targets.copy()
        answers[:, :free] = np.nan
        targets[::20] += 10.0
        result = fit(
            answers,
            targets,
            world.covariates,
            link,
            likelihood,
            steps=25,
            joint_moves=joint_moves,
            error_rate_prior=(1.0, 9.0) if seed % 2 else (2.0, 6.0),
        )
        falls = -np.diff(result.bounds)
        assert falls.max() <= 1e-8 * np.abs(result.bounds).max(), f"seed {seed}: falls by {falls.max():.3g}"


def test_bound_of_a_perfect_fit_with_laplace_noise_never_falls() -> None:
    for seed in range(4):  # absolute errors put the fit through points: their errors become exactly 0
        random = np.random.default_rng(seed)
        z = (random.random((14, 4)) < 0.5).astype(np.float64)
        targets = z @ random.normal(size=(4, 2)) + 0.1 * (seed % 2) * random.laplace(size=(14, 2))
        result = fit(z, targets, likelihood="laplace", steps=60)
        assert np.diff(result.bounds).min() >= -1e-8 * np.abs(result.bounds).max()


@pytest.mark.parametrize(("link", "likelihood"), CLOSED)
def test_units_of_the_targets_shift_the_bound_and_nothing_else(link: str, likelihood: str, simulate: Any) -> None:
    world = simulate(0, n_items=150, n_features=4, n_targets=3, n_covariates=1)
    plain = fit(world.answers, world.targets, world.covariates, link, likelihood, steps=8)
    scaled = fit(world.answers, 10 * world.targets + 4, world.covariates, link, likelihood, steps=8)
    np.testing.assert_allclose(scaled.bounds, plain.bounds - 150 * 3 * np.log(10), rtol=1e-9)
    np.testing.assert_allclose(scaled.posterior, plain.posterior, atol=1e-8)
    for name, value in plain.parameters.items():
        expected = {"intercept": 10 * value + 4, "degrees_of_freedom": value}.get(name, 10 * value)
        np.testing.assert_allclose(scaled.parameters[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_units_of_the_covariates_do_not_matter(link: str, likelihood: str, simulate: Any) -> None:
    world = simulate(0, n_items=150, n_features=4, n_targets=2, n_covariates=2)
    plain = fit(world.answers, world.targets, world.covariates, link, likelihood, steps=8)
    other = world.covariates * [10.0, 0.01] + [100.0, -3.0]
    scaled = fit(world.answers, world.targets, other, link, likelihood, steps=8)
    np.testing.assert_allclose(scaled.bounds, plain.bounds, rtol=1e-9)
    np.testing.assert_allclose(scaled.posterior, plain.posterior, atol=1e-8)
    np.testing.assert_allclose(scaled.predict(world.answers, other), plain.predict(world.answers, world.covariates), atol=1e-7)


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
