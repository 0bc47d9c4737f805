"""Scale mixtures: touched from below by a Gaussian at any squared error, and updated from squared errors alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from genz_ppl.inference import isolated
from genz_ppl.models import LIKELIHOODS, GaussianLikelihood, IsotropicLikelihood, LaplaceLikelihood, ScaleMixtureLikelihood
from genz_ppl.models.gaussian import SMALLEST_VARIANCE
from genz_ppl.models.robust import SHARPEST

pytestmark = pytest.mark.usefixtures("apart")

MIXTURES = [name for name, kind in LIKELIHOODS.items() if issubclass(kind, ScaleMixtureLikelihood)]
ERRORS = torch.logspace(-7, 3, 41, dtype=torch.float64)[:, None].expand(-1, 3)


@pytest.mark.parametrize("name", MIXTURES)
def test_precision_is_minus_twice_the_slope_over_squared_errors(name: str, case: Any) -> None:
    likelihood, step = case(name).likelihood, 1e-4 * ERRORS
    with torch.no_grad():
        above, below = likelihood.error_log_density(ERRORS + step), likelihood.error_log_density(ERRORS - step)
        torch.testing.assert_close(likelihood.precision(ERRORS).expand(41, 3), -(above - below) / step, rtol=1e-3, atol=1e-5)
        assert likelihood.robust == (likelihood.precision(ERRORS).dim() == 2)


@pytest.mark.parametrize("name", MIXTURES)
def test_error_log_density_is_the_log_density_at_that_distance(name: str, case: Any) -> None:
    likelihood = case(name).likelihood
    with torch.no_grad():
        found = likelihood.error_log_density(ERRORS)
        exact = likelihood(torch.zeros(3, dtype=torch.float64)).log_prob(ERRORS.sqrt())
        # Laplace's tip is rounded, from below, where errors are smaller than SHARPEST of the scale.
        rounded = (ERRORS.sqrt() / likelihood.scale < SHARPEST) & (name == "laplace")
    torch.testing.assert_close(found[~rounded], exact[~rounded])
    assert bool((found <= exact + 1e-12).all())
    assert bool((found >= exact - SHARPEST / 2).all())
    assert bool(rounded.any()) == (name == "laplace")


@pytest.mark.parametrize("name", MIXTURES)
def test_touching_gaussian_is_below_everywhere(name: str, case: Any) -> None:
    likelihood = case(name).likelihood
    with torch.no_grad():
        density, precision = likelihood.error_log_density(ERRORS), likelihood.precision(ERRORS).expand(41, 3)
    for touched in range(41):
        gaussian = density[touched] - 0.5 * precision[touched] * (ERRORS - ERRORS[touched])
        assert bool((gaussian <= density + 1e-9 * (1 + gaussian.abs())).all())


@pytest.mark.parametrize("name", MIXTURES)
def test_weighted_update_is_that_of_repeated_items(name: str, case: Any) -> None:
    made = case(name)
    weights = torch.from_numpy(np.random.default_rng(2).integers(0, 4, size=made.targets.shape)).double()
    error = (made.targets - made.loc) ** 2
    repeated = torch.cat([error] * 3)
    counted = torch.cat([weights > times for times in range(3)])
    other = copy.deepcopy(made.likelihood)
    with isolated(0):
        assert made.likelihood.update(error, weights)
        assert other.update(repeated, counted)
    for key, value in other.state_dict().items():
        torch.testing.assert_close(made.likelihood.state_dict()[key], value)


@pytest.mark.parametrize("name", MIXTURES)
def test_repeated_updates_end_at_the_best_parameters(name: str, case: Any) -> None:
    made = case(name, n_items=400)
    error = (made.targets - made.loc) ** 2
    with isolated(0):
        for _ in range(200):
            made.likelihood.update(error, made.observed)
        free = list(made.likelihood.parameters())
        density = made.likelihood.distribution(made.loc, made.observed).log_prob(made.filled).sum()
        gradients = torch.autograd.grad(density, free)
        for parameter, gradient in zip(free, gradients, strict=True):
            # Degrees of freedom move in steps of 1.3, and those of normal noise end at their limit; an isotropic scale is one.
            if "degrees" not in next(key for key, value in made.likelihood.named_parameters() if value is parameter):
                total = gradient.sum() if name == "isotropic" else gradient.abs().max()
                assert float(total.abs()) < 400 * SHARPEST


def test_noise_is_the_mean_squared_error_of_what_is_there(case: Any) -> None:
    random = np.random.default_rng(1)
    squared, observed = torch.from_numpy(random.normal(size=(30, 2)) ** 2), torch.from_numpy(random.random((30, 2)) < 0.5)
    with isolated(0):
        diagonal, shared = GaussianLikelihood(2), IsotropicLikelihood(2)
        assert diagonal.update(squared, observed)
        assert shared.update(squared, observed)
        for column in range(2):
            expected = float(squared[observed[:, column], column].mean()) ** 0.5
            assert float(diagonal.scale.detach()[column]) == pytest.approx(expected)
            assert float(shared.scale.detach()[column]) == pytest.approx(float(squared[observed].mean()) ** 0.5)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_perfect_fit_leaves_a_little_noise(name: str) -> None:
    with isolated(0):
        likelihood = LIKELIHOODS[name](2)
        for _ in range(3):
            likelihood.update(torch.zeros(5, 2, dtype=torch.float64), torch.ones(5, 2, dtype=torch.bool))
        assert likelihood.scale.detach().tolist() == pytest.approx([SMALLEST_VARIANCE**0.5] * 2)


def test_laplace_scale_is_the_mean_absolute_error(case: Any) -> None:
    made = case("laplace", missing=0.2)
    distance = torch.where(made.observed, (made.targets - made.loc).abs(), torch.zeros(()).double())
    with isolated(0):
        made.likelihood.update(distance**2, made.observed)
    expected = distance.sum(0) / made.observed.sum(0)
    assert isinstance(made.likelihood, LaplaceLikelihood)
    torch.testing.assert_close(made.likelihood.scale.detach(), expected, rtol=SHARPEST / 4, atol=0)
