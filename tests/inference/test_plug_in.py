"""Eq. 11 at the mode or at a sample, through the Pyro program: any link, any likelihood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from plain import PLAIN
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor, nn

from genz_ppl.inference import fit, isolated
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.engines.plug_in import PlugIn
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS, FeatureLayer, GaussianLikelihood, GenZ, Likelihood, LinearLink, Link, add_likelihood
from genz_ppl.settings import LIKELIHOOD_NAMES


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


@pytest.mark.parametrize("link", ["interaction", "neural"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sweep_at_the_mode_is_equation_11_for_any_likelihood(name: str, link: str, random_problem: Any) -> None:
    state, data = random_problem(5, n_items=15, n_features=3, missing_targets=0.3)
    with isolated(0):
        if not LIKELIHOODS[name].standardised:
            data = data.with_targets(data.targets.abs().round().clamp(max=1))  # counts, yes and no, and classes at once
        model = build_model(3, 2, 1, link, name)
        state = State(model, state.error_rates, state.posterior)
        model.likelihood.start(torch.nan_to_num(data.targets), data.observed)
        with torch.no_grad():
            for parameter in model.link.parameters():
                parameter += 0.5 * torch.randn_like(parameter)
            model.eval()
            z, expected = (state.posterior > 0.5).double(), state.posterior.clone()
            log_odds = torch.logit(state.prior(data.answers))
            for k in range(3):
                densities = []
                for value in (0.0, 1.0):
                    z[:, k] = value
                    observation = model.likelihood.distribution(model.link(z, data.covariates), data.observed)
                    densities.append(observation.log_prob(torch.nan_to_num(data.targets)))
                expected[:, k] = torch.sigmoid(densities[1] - densities[0] + log_odds[:, k])
                z[:, k] = (expected[:, k] > 0.5).double()
        PlugIn(data).sweep(state)
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


@pytest.mark.parametrize("expectation", ["exact", "mode", "sample"])
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_a_feature_that_no_item_has_gets_no_weight(link: str, expectation: str, simulate: Any) -> None:
    world = simulate(0, n_items=60, n_features=2, n_targets=2, n_covariates=1)
    answers = np.column_stack([world.answers, np.zeros(60)])
    result = fit(answers, world.targets, world.covariates, link=link, steps=3, expectation=expectation)
    assert all(np.abs(value).max() < 100 for value in result.parameters.values())


def log_density_at(state: State, z: Tensor, data: Data) -> Tensor:
    """log p(y | z), summed over items."""
    model = state.model
    total: Tensor = -model.loss(model.link(z, data.covariates), data.targets) * data.targets.numel()
    return total


def best_log_density(state: State, z: Tensor, data: Data) -> float:
    """The largest that link and likelihood can reach, by another optimiser."""
    best = state.copy()
    parameters = [*best.model.link.parameters(), *best.model.likelihood.parameters()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -log_density_at(best, z, data)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return log_density_at(best, z, data).item()


@pytest.mark.parametrize("name", ["low_rank_gaussian", "poisson", "negative_binomial", "bernoulli", "categorical"])
def test_gradient_m_step_comes_close_to_the_best_weights(name: str) -> None:
    random = np.random.default_rng(0)
    z = torch.from_numpy((random.random((300, 3)) < 0.5).astype(np.float64))
    values: Any = z.numpy() @ random.normal(size=(3, 2))
    if name == "low_rank_gaussian":
        values = values + random.normal(size=values.shape)
    elif name in ("poisson", "negative_binomial"):
        values = random.poisson(random.gamma(3.0, np.exp(values) / 3))
    else:
        values = (values + random.logistic(size=values.shape) > 0).astype(float)
    y, nothing = torch.from_numpy(np.asarray(values, dtype=np.float64)), torch.zeros(300, 0, dtype=torch.float64)
    with isolated(0):
        data = Scaling.of(y, nothing, LIKELIHOODS[name]).data(z, nothing, y)
        state = start_state(build_model(3, 2, 0, likelihood=name), data)
        before = log_density_at(state, z, data).item()
        method = PlugIn(data)
        for _ in range(5):
            method.maximise(State(state.model, state.error_rates, z))
        found, best = log_density_at(state, z, data).item(), best_log_density(state, z, data)
    assert best - before > 10
    # Adam's steps do not shrink at the end, which leaves about a nat; weights of classes go on growing where they can.
    assert best - found < 2


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
        fit(world.answers, world.targets, steps=25, expectation=name, **PLAIN).posterior > 0.5
        for name in ("exact", "mode", "sample")
    ]
    for found in modes:
        assert (found != world.truth).mean() < 0.02


def exclusive_or(n_items: int = 400) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    z = (random.random((n_items, 2)) < 0.5).astype(np.float64)
    return z, (z[:, :1] != z[:, 1:]) + 0.1 * random.normal(size=(n_items, 1))


@pytest.mark.slow
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
    data = Scaling.of(y, x, type(likelihood)).data(h, x, y)
    state = start_state(GenZ(FeatureLayer(h.shape[1]), link, likelihood), data)
    bounds = coordinate(state, data, steps, "mode")
    return state, data, [bound.total for bound in bounds]


@pytest.fixture
def gumbel() -> Iterator[str]:
    """The name of a likelihood as a user would write one, known for the time of a test."""

    @add_likelihood
    class GumbelLikelihood(Likelihood):
        """Errors with a long tail to the right."""

        name = "gumbel"

        def __init__(self, n_targets: int) -> None:
            super().__init__(n_targets)
            self.width = PyroParam(torch.ones(n_targets, dtype=torch.float64), constraints.positive)

        def forward(self, loc: Tensor) -> dist.Distribution:
            return dist.Gumbel(loc, self.width)

        def start(self, targets: Tensor, observed: Tensor) -> None:
            self.width = torch.full((self.n_targets,), 0.5, dtype=torch.float64)

    yield GumbelLikelihood.name
    del LIKELIHOODS["gumbel"]
    LIKELIHOOD_NAMES.remove("gumbel")


@pytest.mark.parametrize("missing_targets", [0.0, 0.1])
def test_likelihood_of_a_users_own(missing_targets: float, gumbel: str, simulate: Any) -> None:
    world = simulate(0, n_items=400, n_features=3, n_targets=4, noise=0.0, missing_targets=missing_targets)
    targets = world.targets + np.random.default_rng(1).gumbel(scale=0.4, size=world.targets.shape)
    result = fit(world.answers, targets, likelihood=gumbel, steps=12)
    wrong = ((result.posterior > 0.5) != world.truth).mean()
    assert wrong < 0.5 * (world.answers != world.truth).mean()
    assert result.bounds[-1] > result.bounds[0]
    np.testing.assert_allclose(result.parameters["weights"], world.weights, atol=0.2)
    # The mean is not the location but 0.577 widths to the right of it.
    off = np.nanmean(targets - result.predict(world.answers), axis=0)
    np.testing.assert_allclose(off, 0, atol=4 * np.nanstd(targets, axis=0).max() / np.sqrt(400))
    assert np.isfinite(result.predict_interval(world.answers).sd).all()
    assert np.isfinite(result.log_likelihood(world.answers, targets)).all()


def test_predictions_of_a_likelihood_without_a_mean(simulate: Any) -> None:
    class Cauchy(Likelihood):
        name = "cauchy"
        standardised = False

        def forward(self, loc: Tensor) -> dist.Distribution:
            return dist.Cauchy(loc, 0.3)

        def start(self, targets: Tensor, observed: Tensor) -> None:
            pass

    world = simulate(0, n_items=200, n_features=2, n_targets=1, noise=0.0, wrong=0.0)
    targets = world.targets + 0.3 * np.random.default_rng(1).standard_cauchy(size=world.targets.shape)
    with isolated(0):
        state, data, _ = custom_fit(LinearLink(2, 1), Cauchy(1), world.answers, targets, steps=5)
        scaling = Scaling.of(data.targets, data.covariates, Cauchy)
    found = predictive_mean(state, scaling, data.answers, data.covariates, seed=0)
    np.testing.assert_allclose(found, world.targets, atol=0.3)


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
