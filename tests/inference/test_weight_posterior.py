"""The Gaussian over the parameters of link and likelihood against Bayesian linear regression and importance sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from plain import PLAIN
from torch import Tensor

from genz_ppl.inference import fit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.weight_posterior import ExpectedDensity, add_uncertainty, balanced_draws
from genz_ppl.models.bayesian import flattened

LIKELIHOODS = ("gaussian", "isotropic", "student_t", "laplace", "poisson", "negative_binomial", "bernoulli", "categorical")


def fitted(answers: Any, targets: Any, covariates: Any, certain: bool, **options: Any) -> tuple[State, Data]:
    result = fit(answers, targets, covariates, **PLAIN, **options)
    state = result.state.copy()
    parts = (torch.from_numpy(np.asarray(part, dtype=float)) for part in (answers, covariates, targets))
    data = result.scaling.data(*parts)
    if certain:
        state.posterior = data.answers.clone()
    with isolated(0):
        add_uncertainty(state, data, 0)
    return state, data


def regression(state: State, data: Data) -> tuple[Tensor, Tensor]:
    """Mean and covariance of weights, intercept and slopes under N(0, 1) priors, the noise's scale and q(z) given."""
    q = state.posterior
    design = torch.cat([q, torch.ones(len(q), 1, dtype=q.dtype), data.covariates], dim=1)
    normal = design.T @ design
    normal.diagonal()[: q.shape[1]] += (q * (1 - q)).sum(0)
    variance = state.model.likelihood.scale.detach()[0] ** 2
    covariance = torch.linalg.inv(normal / variance + torch.eye(len(normal), dtype=q.dtype))
    return covariance @ (design.T @ data.targets[:, 0]) / variance, covariance


@pytest.mark.parametrize(("certain", "off", "wide"), [(True, 0.1, 0.03), (False, 0.2, 0.03)])
def test_linear_gaussian_is_bayesian_linear_regression(simulate: Any, certain: bool, off: float, wide: float) -> None:
    """off: of the mean, in standard deviations; wide: of the standard deviations, relative.

    8 pairs of draws couple a weight with the noise's scale by chance, to 2 sd(log scale) / sqrt(8) = 0.025 deviations; four times
    that is allowed. 64 draws of uncertain features add less than 1 / sqrt(64). The covariance is of the scale a step before.
    """
    world = simulate(3, n_items=400, n_features=8, n_targets=1, n_covariates=2, noise=1.0)
    state, data = fitted(world.answers, world.targets, world.covariates, certain)
    mean, covariance = regression(state, data)
    assert state.uncertainty is not None
    n, spread = len(mean), covariance.diagonal().sqrt()
    found = (state.uncertainty.root @ state.uncertainty.root.T)[:n, :n]
    assert float(((flattened(state.model)[:n] - mean) / spread).abs().max()) < off
    assert float((found.diagonal().sqrt() / spread - 1).abs().max()) < wide
    assert float((found / torch.outer(spread, spread) - covariance / torch.outer(spread, spread)).abs().max()) < 2 * wide
    # The logarithm of the scale is known to 1 / sqrt(2 T).
    assert float(state.uncertainty.standard_deviations()[n]) == pytest.approx((2 * 400) ** -0.5, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_is_where_the_posterior_is(likelihood: str) -> None:
    """Importance weights of the true posterior over the Gaussian: mean within half and spread within a quarter of a deviation.

    The truth is known to about 0.05 deviations from these 1000 draws.
    """
    random = np.random.default_rng(0)
    answers, covariates = (random.random((200, 3)) < 0.4).astype(float), random.normal(size=(200, 1))
    eta = answers @ np.array([1.0, -0.7, 0.5]) + 0.5 * covariates[:, 0]
    targets = {
        "student_t": eta + 0.5 * random.standard_t(3, size=200),
        "laplace": eta + 0.5 * random.laplace(size=200),
        "poisson": random.poisson(np.exp(eta)),
        "negative_binomial": random.poisson(np.exp(eta) * random.gamma(2, 0.5, size=200)),
        "bernoulli": random.random(200) < 1 / (1 + np.exp(-eta)),
        "categorical": np.digitize(eta + random.logistic(size=200), [-0.5, 1.0]),
        "isotropic": np.stack([eta, -eta], axis=1) + 0.5 * random.normal(size=(200, 2)),
    }.get(likelihood, eta + 0.5 * random.normal(size=200))
    targets = np.asarray(targets, dtype=float).reshape(200, -1)
    state, data = fitted(answers, targets, covariates, certain=True, likelihood=likelihood)
    assert state.uncertainty is not None
    root, centre = state.uncertainty.root, flattened(state.model)
    with isolated(0):
        density = ExpectedDensity(state, data, 0)
        noise = torch.randn(1000, len(root), dtype=root.dtype)
        noise[:, len(density.centre) :] = 0.0
        drawn = centre + noise @ root.T
        log_joint = torch.tensor([density.value(density.tied(values), density.few[:1]) for values in drawn])
    weights = torch.softmax(log_joint.double() + 0.5 * (noise**2).sum(1), 0)
    known = state.uncertainty.standard_deviations()
    mean = weights @ drawn
    spread = (weights @ (drawn - mean) ** 2).sqrt()
    assert float(((mean - centre) / known).abs().max()) < 0.5
    assert float((spread / known - 1).abs().max()) < 0.25
    # At least as many draws count as are needed to know that.
    assert float(1 / (weights**2).sum()) > 100


def test_everything_else_stays_as_it_is(simulate: Any) -> None:
    world = simulate(5, n_items=120, n_features=3, n_targets=1, n_covariates=1)
    result = fit(world.answers, world.targets, world.covariates)
    state, again = result.state.copy(), result.state.copy()
    data = result.scaling.data(*(torch.from_numpy(part) for part in (world.answers, world.covariates, world.targets)))
    for one in (state, again):
        with isolated(0):
            add_uncertainty(one, data, 7)
    assert torch.equal(state.posterior, result.state.posterior)
    assert torch.equal(state.error_rates, result.state.error_rates)
    assert torch.equal(flattened(state.model), flattened(again.model))
    assert state.uncertainty is not None
    assert again.uncertainty is not None
    assert torch.equal(state.uncertainty.root, again.uncertainty.root)
    assert torch.equal(state.uncertainty.root, state.uncertainty.root.tril())


def test_balanced_draws_have_the_right_shares() -> None:
    q = torch.rand(50, 4, dtype=torch.float64)
    drawn = balanced_draws(q, 16, seed=1)
    assert bool(((drawn == 0) | (drawn == 1)).all())
    assert float((drawn.sum(0) - 16 * q).abs().max()) < 1.0


def test_a_feature_that_no_item_has_is_as_uncertain_as_before(simulate: Any) -> None:
    world = simulate(6, n_items=100, n_features=3, n_targets=1)
    world.answers[:, 1] = 0.0
    state, _ = fitted(world.answers, world.targets, world.covariates, certain=True)
    assert state.uncertainty is not None
    assert float(state.uncertainty.standard_deviations()[1]) == pytest.approx(1.0, rel=1e-6)
