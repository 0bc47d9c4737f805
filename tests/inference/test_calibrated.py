"""Calibrated bounds and weights whose spreads are learned: against densities written out, and what must hold of every fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import PLAIN
from pyro import poutine
from pyro.distributions import MultivariateNormal, Normal
from torch import Tensor

from genz_ppl.inference import fit, isolated
from genz_ppl.inference.engines.calibration import move_error_rates
from genz_ppl.inference.engines.coefficient_posterior import STRENGTH
from genz_ppl.inference.engines.coordinate import coordinate, em_step, measured
from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ
from genz_ppl.inference.start import Scaling, build_model, first_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GaussianLikelihood
from genz_ppl.models.features import SMALLEST_ERROR_RATE

LINKS = ("linear", "interaction")
NOISE = ("gaussian", "isotropic", "student_t", "laplace")


def state_of(
    world: Any, link: str = "linear", likelihood: str = "gaussian", steps: int = 0, **options: Any
) -> tuple[State, Data]:
    """A model of simulated data after some steps, and the data, standardised."""
    answers, covariates, targets = (torch.from_numpy(part) for part in (world.answers, world.covariates, world.targets))
    scaling = Scaling.of(targets, covariates, GaussianLikelihood)
    data = scaling.data(answers, covariates, targets)
    with isolated(0):
        state = first_state(data, scaling, link, "gaussian", (1.0, 9.0), **options)
        coordinate(state, data, steps)
    return state, data


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    link=st.sampled_from(LINKS),
    likelihood=st.sampled_from(NOISE),
    n_targets=st.sampled_from([1, 2, 6]),
    missing=st.sampled_from([0.0, 0.2]),
    varying=st.booleans(),
    calibration=st.sampled_from([0.0, 1.0, 5.0]),
    shrinkage=st.booleans(),
)
def test_the_bound_never_falls(
    seed: int,
    link: str,
    likelihood: str,
    n_targets: int,
    missing: float,
    varying: bool,
    calibration: float,
    shrinkage: bool,
    simulate: Any,
) -> None:
    world = simulate(
        *(seed, 60, 3, n_targets), n_covariates=2, wrong=0.15, missing_answers=missing, missing_targets=missing, noise=1.0
    )
    groups = np.random.default_rng(seed).integers(0, 5, 60).astype(str).tolist() if varying else None
    options: dict[str, Any] = {"varying": groups, "calibration": calibration, "shrinkage": shrinkage}
    bounds = fit(world.answers, world.targets, world.covariates, link, likelihood, steps=12, **options).bounds
    assert np.diff(bounds).min() > -1e-9 * np.abs(bounds).max()


def densities(state: State, data: Data, z: Tensor) -> Tensor:
    """E over q(W) of log p(y | z, W) by item, (T,), for Gaussian noise and a linear link, by the formula."""
    link, scale, covariance = state.model.link, state.model.likelihood.scale, state.coefficient_covariance
    error = data.targets - link(z, data.covariates)
    spread = torch.zeros_like(error)
    if covariance is not None:
        spread = torch.einsum("tk,dkj,tj->td", z - 0.5, covariance, z - 0.5)
    terms: Tensor = Normal(0.0, scale).log_prob(error) - 0.5 * spread / scale**2
    return terms.sum(1).detach()


@pytest.mark.parametrize("shrinkage", [False, True])
def test_the_bound_is_what_it_says(simulate: Any, bits: Any, shrinkage: bool) -> None:
    world = simulate(2, n_items=40, n_features=3, n_targets=2, n_covariates=1)
    state, data = state_of(world, steps=3, calibration=3.0, shrinkage=shrinkage)
    model, q, prior, rates = state.model, state.posterior, state.prior(data.answers), state.error_rates
    found = measured(state, closed_form_for(model, data))
    table = bits(3)
    chance = torch.where(table[:, None] > 0.5, q, 1 - q).prod(-1)
    expected = sum(
        float((weight * densities(state, data, row.expand_as(q))).sum()) for row, weight in zip(table, chance, strict=True)
    )
    assert found.observation == pytest.approx(expected, rel=1e-9)
    assert found.feature == pytest.approx(float((q * prior.log() + (1 - q) * (1 - prior).log()).sum()), rel=1e-9)
    assert found.marginal == pytest.approx(marginal_by_hand(state, data, prior), rel=1e-9)
    penalty = 0.25 * rate_terms_by_hand(rates)
    if shrinkage:
        penalty += weight_terms_by_hand(state)
    assert found.penalty == pytest.approx(penalty, rel=1e-9)
    explained = found.observation + found.feature + found.entropy
    assert found.total == pytest.approx(0.25 * explained + 0.75 * found.marginal + found.penalty, rel=1e-12)


def rate_terms_by_hand(rates: Tensor) -> float:
    """Log Beta(1, 9) density relative to its mode, the smallest rate there is."""
    return 8 * float((torch.log1p(-rates) - math.log1p(-SMALLEST_ERROR_RATE)).sum())


def marginal_by_hand(state: State, data: Data, prior: Tensor) -> float:
    """E over q(W) of log p(y | f(E[z | h])), with the noise of its own."""
    other = state.copy()
    assert other.model.marginal is not None
    other.model.likelihood.load_state_dict(other.model.marginal.state_dict())
    return float(densities(other, data, prior).sum())


def weight_terms_by_hand(state: State) -> float:
    """-KL(q(W) || p(W)) by torch.distributions, and the log prior of the spreads relative to its mode."""
    link, covariance = state.model.link, state.coefficient_covariance
    assert covariance is not None
    prior = MultivariateNormal(torch.zeros(link.n_features).double(), torch.diag(1 / link.shrinkage))
    total = 0.0
    for d, one in enumerate(covariance):
        q = MultivariateNormal(link.weights[:, d].detach(), one)
        total -= float(torch.distributions.kl_divergence(q, prior))
    ratio = link.shrinkage / link.shrinkage.mean()
    return total + 0.5 * STRENGTH * float((ratio.log() + 1 - ratio).sum())


def test_with_certain_features_it_is_the_evidence_of_a_bayesian_regression(simulate: Any) -> None:
    world = simulate(4, n_items=50, n_features=4, n_targets=1, wrong=0.0)
    state, data = state_of(world, calibration=0.0, shrinkage=True, steps=2)
    state.posterior = data.answers.clone()
    engine = closed_form_for(state.model, data)
    link, scale, spread = state.model.link, state.model.likelihood.scale.detach().clone(), state.model.link.shrinkage.rsqrt()
    engine.maximise(state)  # q(W) for the noise and the spreads as they were; both then move
    link.shrinkage, state.model.likelihood.scale = spread**-2, scale
    bound = measured(state, engine)
    u = data.answers - 0.5
    middle = (link.intercept + 0.5 * link.weights.sum(0)).detach()
    covariance = u @ torch.diag(spread**2) @ u.T + scale**2 * torch.eye(50).double()
    evidence = MultivariateNormal(middle.expand(50), covariance).log_prob(data.targets[:, 0])
    ratio = link.shrinkage / link.shrinkage.mean()
    spreads = 0.5 * STRENGTH * float((ratio.log() + 1 - ratio).sum())
    rates = rate_terms_by_hand(state.error_rates)
    assert bound.observation + bound.penalty - spreads - rates == pytest.approx(float(evidence), rel=1e-9)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("likelihood", NOISE)
def test_a_question_and_its_opposite_are_one_feature(link: str, likelihood: str, simulate: Any) -> None:
    world = simulate(3, n_items=80, n_features=3, n_targets=2, n_covariates=1)
    given = (world.targets, world.covariates, link, likelihood)
    asked, opposite = fit(world.answers, *given, steps=10), fit(1 - world.answers, *given, steps=10)
    np.testing.assert_allclose(opposite.posterior, 1 - asked.posterior, atol=1e-9)
    assert opposite.bound == pytest.approx(asked.bound, rel=1e-10)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shrinkage", [False, True])
def test_rates_move_and_what_answers_predict_stays(link: str, shrinkage: bool, simulate: Any) -> None:
    world = simulate(5, n_items=200, n_features=3, n_targets=2, n_covariates=1, missing_answers=0.1)
    state, data = state_of(world, link, calibration=5.0, shrinkage=shrinkage)
    engine = closed_form_for(state.model, data)
    with isolated(0):
        engine.maximise(state)
        for _ in range(4):
            em_step(state, engine)
        engine.sweep(state)
        engine.maximise(state)
    rates, expected = state.error_rates, state.model.link(state.prior(data.answers), data.covariates).detach()
    marginal, total = engine.marginal(state), measured(state, engine).total
    move_error_rates(state, engine)
    assert float((state.error_rates - rates).abs().max()) > 1e-4
    moved = state.model.link(state.prior(data.answers), data.covariates).detach()
    torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)
    assert engine.marginal(state) == pytest.approx(marginal, rel=1e-9)
    assert measured(state, engine).total >= total


def test_the_program_has_both_densities_by_their_shares(simulate: Any) -> None:
    world = simulate(6, n_items=30, n_features=2, n_targets=2)
    state, data = state_of(world, calibration=3.0, shrinkage=True, steps=2)
    with isolated(0):
        trace = poutine.trace(state.model).get_trace(data.answers, data.covariates, data.targets)
    assert {name: trace.nodes[name]["scale"] for name in ("p_e", "z", "y", "y_given_answers")} == pytest.approx(
        {"p_e": 0.25, "z": 0.25, "y": 0.25, "y_given_answers": 0.75}
    )
    with isolated(0):
        enumerated = poutine.trace(EnumeratedGenZ(state.model)).get_trace(data.answers, data.covariates, data.targets)
    for name in ("weights", "y", "y_given_answers"):
        assert enumerated.nodes[name]["scale"] == trace.nodes[name]["scale"]
    assert trace.nodes["weights"]["scale"] == 1.0
    assert trace.nodes["weights"]["value"] is state.model.link.weights
    with isolated(0):
        drawn = poutine.trace(state.model).get_trace(data.answers, data.covariates)
    assert drawn.nodes["y"]["value"].shape == data.targets.shape
    assert "y_given_answers" not in drawn.nodes


@pytest.mark.parametrize("n_targets", [1, 8])
def test_weights_of_few_items_do_not_exaggerate(n_targets: int) -> None:
    """80 items, 8 of 40 features move the targets; the slope of truth on prediction is 1 where a forecast is honest."""
    slopes, better = [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        answers = (random.random((1080, 40)) < 0.4).astype(float)
        location = answers[:, :8] @ random.normal(size=(8, n_targets))
        targets = location + random.normal(size=location.shape) * location.std(0)
        found, plain = (fit(answers[:80], targets[:80], **options).predict(answers[80:]) for options in ({}, PLAIN))
        truth = targets[80:] - targets[80:].mean(0)
        slopes.append(float((found * truth).sum() / (found * (found - found.mean(0))).sum()))
        better.append(((targets[80:] - found) ** 2).mean() < ((targets[80:] - plain) ** 2).mean())
    assert 0.85 < np.mean(slopes) < 1.15, np.round(slopes, 2)
    assert all(better)


def test_a_free_feature_is_not_calibrated_and_old_models_have_none() -> None:
    with isolated(0):
        free = Data(torch.full((20, 1), float("nan")).double(), torch.zeros(20, 0).double(), torch.randn(20, 1).double())
        scaling = Scaling.of(free.targets, free.covariates, GaussianLikelihood)
        assert first_state(free, scaling, "linear", "gaussian", (1.0, 9.0), calibration=5.0).model.marginal is None
        assert build_model(2, 1, 0, likelihood="poisson", calibration=5.0, shrinkage=True).marginal is None
        plain = build_model(2, 1, 0)
        assert plain.share == 1.0
        assert plain.link.shrinkage is None
