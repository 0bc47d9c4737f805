"""Effects of combinations whose z is that of their parts: the program, enumeration, the fit, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy.special import logsumexp
from scipy.stats import norm

from genz_ppl.diagnostics.inference_data import to_inference_data
from genz_ppl.errors import OptionError
from genz_ppl.inference import fit
from genz_ppl.inference.guided.enumerated import posterior_by_pyro
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import CombinedLink
from genz_ppl.types import FloatArray

# z0 and not z1; z2; z0 and z2, or z3 alone.
RULES = [[[(0, False), (1, True)]], [[(2, False)]], [[(0, False), (2, False)], [(3, False)]]]


@pytest.fixture(autouse=True)
def set_aside() -> Iterator[None]:
    """Every test by itself: Pyro modules of one class would share their parameters otherwise."""
    with isolated(0):
        yield


def combined(z: FloatArray) -> FloatArray:
    """What the rules say, by logic. z: (..., 4)."""
    a, b, c, d = np.moveaxis(z, -1, 0) > 0.5
    return np.stack([a & ~b, c, (a & c) | d], axis=-1).astype(np.float64)


def problem(n_targets: int = 2) -> tuple[State, Data]:
    random = np.random.default_rng(1)
    answers = (random.random((20, 4)) < 0.5).astype(np.float64)
    answers[3, 1] = answers[5, 2] = np.nan
    parts = (answers, random.normal(size=(20, 1)), random.normal(size=(20, n_targets)))
    data = Data(*map(torch.from_numpy, parts))
    state = start_state(build_model(4, n_targets, 1, combinations=RULES), data)
    with torch.no_grad():
        for parameter in state.model.link.parameters():
            parameter.add_(torch.from_numpy(random.normal(size=tuple(parameter.shape))))
    state.error_rates = torch.tensor([0.1, 0.2, 0.05, 0.3], dtype=torch.float64)
    return state, data


def test_the_program_has_parts_as_sites_and_combinations_beside_them() -> None:
    state, data = problem()
    with pyro.validation_enabled(False):
        nodes = poutine.trace(state.model).get_trace(data.answers, data.covariates, data.targets).nodes
    assert nodes["z"]["value"].shape == (20, 4)
    assert nodes["p_e"]["value"].shape == (4,)
    assert nodes["combinations"]["infer"]["_deterministic"]
    assert np.array_equal(nodes["combinations"]["value"].numpy(), combined(nodes["z"]["value"].numpy()))


def test_enumeration_is_the_sum_over_the_parts() -> None:
    state, data = problem()
    found = posterior_by_pyro(state, data)
    rates, y, x = state.error_rates.numpy(), data.targets.numpy(), data.covariates.numpy()
    link, scale = state.model.link.own, state.model.likelihood.scale.detach().numpy()
    weights, slopes, start = (part.detach().numpy() for part in (link.weights, link.covariate_weights, link.intercept))
    joint = []
    for z in itertools.product([0.0, 1.0], repeat=4):
        location = combined(np.array(z)) @ weights + x @ slopes + start
        prior = np.where(np.isnan(data.answers.numpy()), 0.5, np.where(data.answers.numpy() == np.array(z), 1 - rates, rates))
        joint.append(norm.logpdf(y, location, scale).sum(1) + np.log(prior).sum(1))
    assert found.log_evidence.numpy() == pytest.approx(logsumexp(joint, axis=0), abs=1e-9)
    assert found.table.numpy() == pytest.approx(np.exp(joint - logsumexp(joint, axis=0)).T, abs=1e-9)


def test_the_posterior_of_combinations_is_that_of_the_assignments_that_make_them() -> None:
    state, data = problem()
    exact = posterior_by_pyro(state, data)
    columns = state.model.link.combined(exact.bits)
    moved = exact.combined(columns)
    assert moved.marginals.numpy() == pytest.approx((exact.table @ columns).numpy(), abs=1e-12)
    both = (exact.table @ (columns[:, 0] * columns[:, 2])).numpy()
    assert moved.pairwise[:, 0, 2].numpy() == pytest.approx(both, abs=1e-12)


def world(likelihood: str, n_items: int = 1500, n_targets: int = 4) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Truth, answers with one part wrong a fifth of the time, targets, and effects of the combinations."""
    random = np.random.default_rng(7)
    truth = (random.random((n_items, 4)) < [0.5, 0.4, 0.5, 0.3]).astype(np.float64)
    answers = np.where(random.random(truth.shape) < [0.05, 0.2, 0.02, 0.05], 1 - truth, truth)
    weights = random.choice([-1.0, 1.0], size=(3, n_targets)) * random.uniform(1, 2, size=(3, n_targets))
    location = combined(truth) @ weights
    if likelihood == "poisson":
        return truth, answers, random.poisson(np.exp(location)).astype(np.float64), weights
    return truth, answers, location + 0.5 * random.normal(size=location.shape), weights


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
def test_error_rates_stay_with_the_parts(likelihood: str) -> None:
    truth, answers, targets, weights = world(likelihood)
    found = fit(answers, targets, likelihood=likelihood, combinations=RULES, steps=15)
    assert found.settings.inference == "enumeration"
    assert found.error_rates == pytest.approx((answers != truth).mean(0), abs=0.03)
    assert found.parameters["combination_weights"] == pytest.approx(weights, abs=0.25)
    assert ((found.posterior > 0.5) != truth).mean() < 0.5 * (answers != truth).mean()
    if likelihood != "poisson":  # whose noise has no closed form
        assert (np.diff(found.bounds) > -1e-6).all()


def test_predictions_average_over_the_parts() -> None:
    _, answers, targets, _ = world("gaussian", 200)
    found = fit(answers, targets, combinations=RULES, steps=5)
    yes = np.where(answers == 1, 1 - found.error_rates, found.error_rates)
    parameters, expected = found.parameters, 0.0
    for z in itertools.product([0.0, 1.0], repeat=4):
        chances = np.where(np.array(z) == 1, yes, 1 - yes).prod(1, keepdims=True)
        expected = expected + chances * (combined(np.array(z)) @ parameters["combination_weights"] + parameters["intercept"])
    assert found.predict(answers) == pytest.approx(expected, abs=1e-9)


def test_features_that_are_their_own_combinations_make_the_usual_model() -> None:
    _, answers, targets, _ = world("gaussian", 200)
    alone = fit(answers, targets, combinations=[[[(k, False)]] for k in range(4)], steps=5)
    usual = fit(answers, targets, inference="enumeration", steps=5)
    assert alone.bounds == pytest.approx(usual.bounds, abs=1e-6)
    assert alone.posterior == pytest.approx(usual.posterior, abs=1e-8)


def test_without_shortcuts_it_is_the_program_that_is_fitted() -> None:
    _, answers, targets, _ = world("gaussian", 60)
    by_hand, by_program = (fit(answers, targets, combinations=RULES, steps=3, shortcuts=given) for given in (True, False))
    assert by_program.bound == pytest.approx(by_hand.bound, abs=0.5)


def test_diagnostics_have_the_parts_as_features() -> None:
    _, answers, targets, _ = world("gaussian", 60)
    found = fit(answers, targets, combinations=RULES, steps=3)
    exported = to_inference_data(found.fitted(answers, targets))
    assert exported.posterior["p_e"].sizes["feature"] == 4
    assert exported.posterior["combination_weights"].shape[2:] == (3, 4)
    assert exported.log_likelihood["y"].sizes["item"] == 60


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inference": "svi"}, "got svi"),
        ({"link": "neural"}, "the link neural"),
        ({"varying": list("ab") * 50}, "vary by group"),
        ({"combinations": [[[(4, False)]]]}, "positions from 0 to 3"),
        ({"combinations": [[]]}, "in combination 0"),
    ],
)
def test_what_does_not_go_with_combinations_is_refused(options: dict[str, Any], said: str) -> None:
    _, answers, targets, _ = world("gaussian", 100)
    with pytest.raises(OptionError, match=said):
        fit(answers, targets, **{"combinations": RULES, **options})


def test_a_model_of_combinations_keeps_its_features() -> None:
    state, _ = problem()
    assert isinstance(state.model.link, CombinedLink)
    with pytest.raises(OptionError, match="stay as they are"):
        state.with_columns([0, 1])
