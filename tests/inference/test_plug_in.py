"""Eq. 11 at the mode or at a sample, through the Pyro program: any link, any likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor, nn

from genz_ppl.inference import fit, isolated
from genz_ppl.inference.coordinate import coordinate
from genz_ppl.inference.plug_in import PlugIn
from genz_ppl.inference.start import Scaling, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import FeatureLayer, GaussianLikelihood, GenZ, Likelihood, LinearLink, Link


class LaplaceLikelihood(Likelihood):
    """A likelihood without a closed form, as a user would write one."""

    name = "laplace"

    def __init__(self, n_targets: int) -> None:
        super().__init__(n_targets)
        self.width = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

    def forward(self, loc: Tensor) -> dist.Distribution:
        return dist.Laplace(loc, self.width)

    def start(self, targets: Tensor, observed: Tensor) -> None:
        self.width = (targets.abs() * observed).sum(0) / observed.sum(0)


class ProductLink(Link):
    """The linear link plus the product of the first two features."""

    name = "product"

    def __init__(self, n_features: int, n_targets: int, n_covariates: int = 0) -> None:
        super().__init__(n_features, n_targets, n_covariates)
        self.weights = nn.Parameter(torch.zeros(n_features + 2, n_targets, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        columns = [z, z[..., :1] * z[..., 1:2], torch.ones_like(z[..., :1])]
        return torch.cat(columns, dim=-1) @ self.weights


@pytest.mark.parametrize("missing_targets", [0.0, 0.3])
@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
def test_sweep_at_the_mode_is_equation_11(missing_targets: float, likelihood: str, random_problem: Any) -> None:
    state, data = random_problem(3, n_items=20, likelihood=likelihood, missing_targets=missing_targets)
    link, scale = state.model.link, state.model.likelihood.scale.detach()
    weights, offset = link.weights.detach(), (link.intercept + data.covariates @ link.covariate_weights).detach()
    z, expected = (state.posterior > 0.5).double(), state.posterior.clone()
    log_odds = torch.logit(state.prior(data.answers))
    for k in range(z.shape[1]):
        z[:, k] = 0.0
        without = data.targets - offset - z @ weights
        change = (without**2 - (without - weights[k]) ** 2) / (2 * scale**2)
        expected[:, k] = torch.sigmoid(torch.nan_to_num(change).sum(1) + log_odds[:, k])
        z[:, k] = (expected[:, k] > 0.5).double()
    method = PlugIn(data)
    with isolated(0):
        method.sweep(state)
        observed = torch.nan_to_num(-0.5 * ((data.targets - offset - z @ weights) / scale) ** 2 - torch.log(scale)).sum()
        counted = 0.5 * np.log(2 * np.pi) * int(data.observed.sum())
        assert method.observation(state) == pytest.approx(float(observed) - counted, rel=1e-10)
    torch.testing.assert_close(state.posterior, expected, rtol=1e-9, atol=1e-11)


def test_m_step_at_the_mode_is_least_squares(random_problem: Any) -> None:
    state, data = random_problem(1, n_items=60, n_features=3, n_targets=2, n_covariates=2)
    z = (state.posterior > 0.5).double()
    with isolated(0):
        PlugIn(data).maximise(state)
    design = np.column_stack([z.numpy(), np.ones(60), data.covariates.numpy()])
    solution, *_ = np.linalg.lstsq(design, data.targets.numpy())
    np.testing.assert_allclose(state.model.link.weights.detach().numpy(), solution[:3], atol=1e-9)
    np.testing.assert_allclose(state.model.link.intercept.detach().numpy(), solution[3], atol=1e-9)
    np.testing.assert_allclose(state.model.link.covariate_weights.detach().numpy(), solution[4:], atol=1e-9)
    noise = ((data.targets.numpy() - design @ solution) ** 2).mean(0)
    np.testing.assert_allclose(state.model.likelihood.scale.detach().numpy() ** 2, noise, rtol=1e-9)


def test_samples_follow_q(random_problem: Any) -> None:
    _, data = random_problem(0)
    q = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64).repeat(10_000, 1)
    with isolated(0):
        drawn = PlugIn(data, mode=False).assignment(q)
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    error = np.sqrt(0.25 / 10_000)
    np.testing.assert_allclose(drawn.mean(0).numpy(), q[0].numpy(), atol=4 * error)
    assert bool((drawn[:, 0] == 0).all())
    assert bool((drawn[:, 3] == 1).all())


def test_sampling_depends_on_the_seed_only(simulate: Any) -> None:
    world = simulate(0, n_items=150, n_features=4, noise=1.5)
    first, again, other = (
        fit(world.answers, world.targets, steps=4, expectation="sample", seed=seed).posterior for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_three_expectations_agree_where_the_posterior_is_sharp(simulate: Any) -> None:
    world = simulate(0, n_items=400, n_features=4, noise=0.1)
    modes = [
        fit(world.answers, world.targets, steps=25, expectation=name).posterior > 0.5 for name in ("exact", "mode", "sample")
    ]
    for found in modes:
        assert (found != world.truth).mean() < 0.02


def exclusive_or(n_items: int = 400) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    z = (random.random((n_items, 2)) < 0.5).astype(np.float64)
    return z, (z[:, :1] != z[:, 1:]) + 0.1 * random.normal(size=(n_items, 1))


def test_neural_link_fits_exclusive_or_where_the_linear_one_cannot() -> None:
    z, y = exclusive_or()
    prior = (1.0, 200.0)  # the answers are known to be right: nothing to explain away
    errors = {}
    for link in ("linear", "neural"):
        result = fit(z, y, link=link, steps=3, error_rate_prior=prior)
        # Clean answers, so the link's own value at them shows what it learned.
        corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        errors[link] = np.abs(result.predict(corners)[:, 0] - [0, 1, 1, 0]).max()
    assert errors["neural"] < 0.15
    assert errors["linear"] > 0.35


def custom_fit(link: Link, likelihood: Likelihood, answers: Any, targets: Any, steps: int) -> tuple[State, Data, list[float]]:
    h, y = torch.from_numpy(answers), torch.from_numpy(targets)
    x = torch.zeros(len(h), 0, dtype=torch.float64)
    data = Scaling.of(y, x, shared=False).data(h, x, y)
    state = start_state(GenZ(FeatureLayer(h.shape[1]), link, likelihood), data)
    bounds = coordinate(state, data, steps, "mode")
    return state, data, [bound.total for bound in bounds]


def test_likelihood_without_a_closed_form(simulate: Any) -> None:
    world = simulate(0, n_items=300, n_features=3, n_targets=4, noise=0.0, missing_targets=0.1)
    targets = world.targets + np.random.default_rng(1).laplace(scale=0.4, size=world.targets.shape)
    with isolated(0):
        state, _, bounds = custom_fit(LinearLink(3, 4), LaplaceLikelihood(4), world.answers, targets, steps=12)
    wrong = ((state.posterior.numpy() > 0.5) != world.truth).mean()
    assert wrong < 0.5 * (world.answers != world.truth).mean()
    assert bounds[-1] > bounds[0]
    width = state.model.likelihood.width.detach().numpy() * np.nanstd(targets, axis=0)
    np.testing.assert_allclose(width, 0.4, rtol=0.25)


def test_link_without_a_closed_form() -> None:
    z, y = exclusive_or()
    answers = np.where(np.random.default_rng(1).random(z.shape) < 0.05, 1 - z, z)
    with isolated(0):
        state, data, _ = custom_fit(ProductLink(2, 1), GaussianLikelihood(1), answers, y, steps=10)
        error = data.targets - state.model.link(state.posterior.round(), data.covariates).detach()
    assert float((error**2).mean()) < 0.1  # of a variance of one


def test_caller_keeps_its_threads(simulate: Any) -> None:
    world = simulate(0, n_items=40, n_features=2)
    threads = torch.get_num_threads()
    fit(world.answers, world.targets, link="neural", steps=1)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("expectation", ["mode", "sample"])
def test_no_features_at_all(expectation: str) -> None:
    targets = np.random.default_rng(0).normal(size=(30, 2))
    result = fit(np.zeros((30, 0)), targets, steps=2, expectation=expectation)
    np.testing.assert_allclose(result.parameters["intercept"], targets.mean(0), atol=1e-9)
