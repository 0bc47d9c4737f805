"""What every engine promises, held against the Pyro program and against the sum over all assignments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.density import observation_log_density
from genz_ppl.inference.engines.exact import exact_posterior
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS, LINKS
from genz_ppl.models.robust import SHARPEST

ITEMS, TARGETS, COVARIATES, CLASSES = 40, 2, 1, 3
KINDS = list(itertools.product(LINKS, LIKELIHOODS))
EXPECTATIONS = ("auto", "mode", "sample")


def problem(link: str, likelihood: str, n_features: int = 3, missing: bool = False) -> tuple[State, Data]:
    """A model with effects, fitted to nothing yet, and targets of its likelihood's kind. Call inside `isolated`."""
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
    data = Scaling.of(targets, covariates, LIKELIHOODS[likelihood]).data(answers, covariates, targets)
    state = start_state(build_model(n_features, TARGETS, COVARIATES, link, likelihood, n_classes=CLASSES), data)
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
        assert not engine_for(state.model, data, "mode").exact
        if not state.model.has_closed_form:
            with pytest.raises(OptionError, match="expectation: 'exact' needs the linear or interaction link"):
                engine_for(state.model, data, "exact")
