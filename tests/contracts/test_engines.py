"""What every engine promises, held against the Pyro program and against the sum over all assignments."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.density import observation_log_density
from genz_ppl.inference.engines.exact import exact_posterior
from genz_ppl.inference.guided.through import ThroughProgram
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State, penalty_of
from genz_ppl.models import LIKELIHOODS, LINKS
from genz_ppl.models.effects import indicators
from genz_ppl.models.robust import SHARPEST

ITEMS, TARGETS, COVARIATES, CLASSES = 40, 2, 1, 3
KINDS = list(itertools.product(LINKS, LIKELIHOODS))
EXPECTATIONS = ("auto", "mode", "sample")


def problem(
    link: str, likelihood: str, n_features: int = 3, missing: bool = False, calibration: float | None = None
) -> tuple[State, Data]:
    """A model with effects, fitted to nothing yet, and targets of its likelihood's kind. Call inside `isolated`.

    calibration: also give weights a prior, let intercept and slope vary by four groups, and calibrate the model so.
    """
    random = np.random.default_rng(3)
    truth = (random.random((ITEMS, n_features)) < 0.5).astype(np.float64)
    values = truth @ random.normal(size=(n_features, TARGETS)) + 0.5 * random.normal(size=(ITEMS, TARGETS))
    if likelihood in ("poisson", "negative_binomial"):
        values = random.poisson(np.exp(0.5 * values)).astype(np.float64)
    elif likelihood == "bernoulli":
        values = (values > 0).astype(np.float64)
    elif likelihood == "categorical":
        values = np.digitize(values, [-0.5, 0.5]).astype(np.float64)
    if missing:
        values[3:9, 0] = np.nan
    answers = torch.from_numpy(np.where(random.random(truth.shape) < 0.2, 1 - truth, truth))
    targets, covariates = torch.from_numpy(values), torch.from_numpy(random.normal(size=(ITEMS, COVARIATES)))
    scaling, priors = Scaling.of(targets, covariates, LIKELIHOODS[likelihood]), calibration is not None
    if priors:
        groups = indicators([str(t % 4) for t in range(ITEMS)], ["0", "1", "2", "3"])
        scaling = replace(scaling, effect_spread=torch.tensor([[0.5, 0.2]] * 4, dtype=torch.float64))
        covariates = torch.cat([covariates, groups], dim=1)
    data = scaling.data(answers, covariates, targets)
    sizes = (n_features, TARGETS, data.covariates.shape[1])
    kind: dict[str, Any] = {"link": link, "likelihood": likelihood, "n_classes": CLASSES, "pooling": scaling.pooling}
    state = start_state(build_model(*sizes, **kind, calibration=calibration or 0.0, shrinkage=priors), data)
    with torch.no_grad():
        for parameter in state.model.link.parameters():
            parameter.add_(0.3 * torch.from_numpy(random.normal(size=tuple(parameter.shape))))
    state.error_rates = torch.full((n_features,), 0.2, dtype=torch.float64)
    state.model.eval()
    return state, data


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("expectation", EXPECTATIONS)
@pytest.mark.parametrize(("link", "likelihood"), KINDS)
def test_where_features_are_certain_the_observation_term_is_the_programs_density(
    link: str, likelihood: str, expectation: str, missing: bool
) -> None:
    with isolated(0):
        state, data = problem(link, likelihood, missing=missing)
        state.posterior = data.answers.clone()
        engine = engine_for(state.model, data, expectation)
        expected = float(observation_log_density(state.model, state.posterior, state.error_rates, data).sum().detach())
        found = engine.observation(state)
    tip = 0.5 * SHARPEST * data.targets.numel() if likelihood == "laplace" and engine.exact else 0.0  # it is rounded there
    assert expected - tip - 1e-8 * abs(expected) <= found <= expected + 1e-8 * abs(expected)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("expectation", EXPECTATIONS)
@pytest.mark.parametrize(("link", "likelihood"), KINDS)
def test_the_e_step_of_one_feature_is_the_sum_over_assignments(
    link: str, likelihood: str, expectation: str, missing: bool
) -> None:
    """With one feature eq. 11 is the exact posterior, except where the likelihood is touched from below by a Gaussian."""
    with isolated(0):
        state, data = problem(link, likelihood, n_features=1, missing=missing)
        engine = engine_for(state.model, data, expectation, joint_moves=False)
        touched = engine.exact and not state.model.is_quadratic
        expected = exact_posterior(state, data).marginals
        engine.sweep(state)
        for _ in range(60 if touched else 0):  # its fixed point: between answer and exact posterior
            engine.sweep(state)
    if touched:
        certain = (expected < 0.02) | (expected > 0.98)
        assert torch.equal(state.posterior[certain] > 0.5, expected[certain] > 0.5)
    else:
        rounded = 0.5 * SHARPEST * TARGETS if likelihood == "laplace" else 1e-10  # the sum takes its tip as the M-steps do
        torch.testing.assert_close(state.posterior, expected, rtol=1e-8, atol=rounded)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("link", "likelihood"), [(link, name) for link, name in KINDS if link != "neural"])
def test_an_exact_m_step_never_lowers_what_it_raises(link: str, likelihood: str, missing: bool) -> None:
    with isolated(0):
        state, data = problem(link, likelihood, missing=missing)
        engine = engine_for(state.model, data)
        values = []
        for _ in range(6 if engine.exact else 0):
            engine.maximise(state)
            values.append(engine.observation(state) + float(state.model.link.penalty().detach()))
            engine.sweep(state)
            values.append(engine.observation(state) + float(state.model.link.penalty().detach()))
    # A sweep also weighs the answers: only what an M-step does to the value before it is promised.
    assert all(after >= before - 1e-9 * abs(before) for before, after in zip(values[1::2], values[2::2], strict=False))


@pytest.mark.parametrize(("link", "likelihood"), KINDS)
def test_exact_is_had_where_the_model_says_so(link: str, likelihood: str) -> None:
    with isolated(0):
        state, data = problem(link, likelihood)
        assert engine_for(state.model, data).exact == state.model.has_closed_form
        assert (engine_for(state.model, data).information(state) is not None) == state.model.has_closed_form
        assert not engine_for(state.model, data, "mode").exact
        if not state.model.has_closed_form:
            with pytest.raises(OptionError, match="expectation: 'exact' needs the linear or interaction link"):
                engine_for(state.model, data, "exact")


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("calibration", [0.0, 3.0])
@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_the_m_step_ends_where_the_programs_density_is_highest(
    link: str, likelihood: str, calibration: float, missing: bool
) -> None:
    """In expectation over q, by its sites: y, y given the answers, and the priors of weights, products and group effects."""
    with isolated(0):
        state, data = problem(link, likelihood, missing=missing, calibration=calibration)
        engine, program = engine_for(state.model, data), ThroughProgram(data)
        engine.maximise(state)
        engine.sweep(state)
        held = state.copy()
        engine.maximise(state)
        found = state.model.link  # in one step with these, noise and spreads move on
        held.model.link.set_solution(found.coefficients(), found.intercept, found.covariate_weights)
        total = torch.zeros((), dtype=torch.float64)
        for number, (z, weight) in enumerate(program.weighted(held.posterior)):
            density, others = program.densities(held, z)
            total = total + (weight * density).sum() + (others if number == 0 else 0)
        names = {name for name, prior in held.model.link.priors().items() if name != "interactions"}
        gradients = torch.autograd.grad(total, list(held.model.link.parameters()))
    assert names == {"weights", "group_effects"}
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-8)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("calibration", [0.0, 3.0])
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_information_is_how_the_programs_density_bends(link: str, calibration: float, missing: bool) -> None:
    """Of coefficients, intercept and slopes of every target, in expectation over q."""
    with isolated(0):
        state, data = problem(link, "gaussian", missing=missing, calibration=calibration)
        engine, program = engine_for(state.model, data), ThroughProgram(data)
        engine.maximise(state)
        information = engine.information(state)
        assert information is not None
        total = torch.zeros((), dtype=torch.float64)
        for number, (z, weight) in enumerate(program.weighted(state.posterior)):
            density, others = program.densities(state, z)
            total = total + (weight * density).sum() + (others if number == 0 else 0)
        parts = dict(state.model.link.named_parameters())
        names = ["weights", *(["interactions"] if link == "interaction" else []), "intercept", "covariate_weights"]
        first = torch.autograd.grad(total, [parts[name] for name in names], create_graph=True)
        for d, found in enumerate(information):
            slopes = of_target(dict(zip(names, first, strict=True)), d)
            bends = []
            for slope in slopes:
                second = torch.autograd.grad(slope, [parts[name] for name in names], retain_graph=True)
                bends.append(-of_target(dict(zip(names, second, strict=True)), d))
            torch.testing.assert_close(found, torch.stack(bends), rtol=1e-8, atol=1e-8)


def of_target(values: dict[str, Tensor], d: int) -> Tensor:
    """(N,): values of all that enters a target linearly, in the order of the engines' equations."""
    weights = values["weights"][:, None, d]
    coefficients = torch.cat([weights, values["interactions"][..., d]], dim=1) if "interactions" in values else weights
    return torch.cat([coefficients.flatten(), values["intercept"][d : d + 1], values["covariate_weights"][:, d]])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_what_priors_take_from_the_bound_is_the_divergence_from_the_programs_sites(
    link: str, likelihood: str, missing: bool
) -> None:
    with isolated(0):
        state, data = problem(link, likelihood, missing=missing, calibration=0.0)
        engine_for(state.model, data).maximise(state)
        state.model.link.shrinkage = torch.full((3,), 2.5, dtype=torch.float64)  # one spread: its own prior takes nothing
        nodes = poutine.trace(state.model).get_trace(data.answers, data.covariates, data.targets).nodes
        parameters = state.model.link
        spreads = {name: nodes[name]["fn"].base_dist.scale for name in parameters.priors()}
        coefficients, effects = parameters.coefficients().detach(), parameters.group_effects().detach()
        taken = penalty_of(state) - float(state.model.features.penalty(state.error_rates))
    spread = torch.cat([spreads["weights"].unsqueeze(1), *([spreads["interactions"]] if link == "interaction" else [])], dim=1)
    assert state.coefficient_covariance is not None
    assert state.group_covariance is not None
    expected = 0.0
    for d in range(TARGETS):
        covariance = state.coefficient_covariance[d]
        expected -= divergence(coefficients[..., d].flatten(), covariance, spread[..., d].flatten())
        for g in range(4):
            expected -= divergence(effects[g, :, d], state.group_covariance[g, d], spreads["group_effects"][g, :, d])
    assert taken == pytest.approx(expected, rel=1e-9)


def divergence(mean: Tensor, covariance: Tensor, spread: Tensor) -> float:
    """KL(N(mean, covariance) || N(0, spread^2))."""
    normal = torch.distributions.MultivariateNormal
    q, p = normal(mean, covariance), normal(torch.zeros_like(mean), torch.diag(spread**2))
    return float(torch.distributions.kl_divergence(q, p))
