"""Likelihoods one by one and in loops over LIKELIHOODS: against scipy, finite differences and sums over draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from genz_ppl.errors import InputError
from genz_ppl.inference import isolated
from genz_ppl.models import (
    LIKELIHOODS,
    BernoulliLikelihood,
    CategoricalLikelihood,
    Likelihood,
    LowRankGaussianLikelihood,
    PoissonLikelihood,
    ScaleMixtureLikelihood,
)
from genz_ppl.models.classes import SMALLEST_SHARE

Array = NDArray[np.float64]
MIXTURES = [name for name, kind in LIKELIHOODS.items() if issubclass(kind, ScaleMixtureLikelihood)]
#: Parameters of Pyro modules are read and set inside `isolated` only.
pytestmark = pytest.mark.usefixtures("apart")

STANDARDISED = [name for name, kind in LIKELIHOODS.items() if kind.standardised]


def class_log_density(values: Mapping[str, Array], loc: Array, y: Array) -> Array:
    logits = (values["base"] + loc).reshape(*y.shape, -1)
    density: Array = np.take_along_axis(logits, y[..., None].astype(int), -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    return density


def negative_binomial_log_density(values: Mapping[str, Array], loc: Array, y: Array) -> Array:
    mean, concentration = np.exp(values["base"] + loc), values["concentration"]
    density: Array = stats.nbinom.logpmf(y, concentration, concentration / (concentration + mean))
    return density


#: log p(y | f) of every entry, (T, D), from `parameters_in_units`, f (T, L) and complete y (T, D).
DENSITIES: dict[str, Callable[[Mapping[str, Array], Array, Array], Array]] = {
    "gaussian": lambda values, loc, y: stats.norm.logpdf(y, loc, values["scale"]),
    "isotropic": lambda values, loc, y: stats.norm.logpdf(y, loc, values["scale"]),
    "student_t": lambda values, loc, y: stats.t.logpdf(y, values["degrees_of_freedom"], loc, values["scale"]),
    "laplace": lambda values, loc, y: stats.laplace.logpdf(y, loc, values["scale"]),
    "poisson": lambda values, loc, y: stats.poisson.logpmf(y, np.exp(values["base"] + loc)),
    "negative_binomial": negative_binomial_log_density,
    "bernoulli": lambda values, loc, y: y * (values["base"] + loc) - np.log1p(np.exp(values["base"] + loc)),
    "categorical": class_log_density,
}


def covariance_of(values: Mapping[str, Array]) -> Array:
    covariance: Array = np.diag(values["scale"] ** 2) + values["factor"] @ values["factor"].T
    return covariance


def item_log_density(name: str, values: Mapping[str, Array], loc: Array, y: Array) -> Array:
    """log p of the entries that each item has, (T,), by scipy; y is NaN where missing."""
    there = ~np.isnan(y)
    if name != "low_rank_gaussian":
        total: Array = np.where(there, DENSITIES[name](values, loc, np.nan_to_num(y)), 0.0).sum(1)
        return total
    covariance = covariance_of(values)
    found = np.zeros(len(y))
    for t, seen in enumerate(there):
        if seen.any():
            found[t] = stats.multivariate_normal.logpdf(y[t, seen], loc[t, seen], covariance[np.ix_(seen, seen)])
    return found


def arrays(values: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.numpy() for name, value in values.items()}


def log_density(case: Any, loc: Tensor | None = None) -> Tensor:
    """What the likelihood says of the entries that are there, (T,)."""
    density: Tensor = case.likelihood.distribution(case.loc if loc is None else loc, case.observed).log_prob(case.filled)
    return density.detach()


def test_every_likelihood_has_a_reference() -> None:
    assert {*DENSITIES, "low_rank_gaussian"} == set(LIKELIHOODS)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_shapes_with_leading_dimensions(name: str, case: Any) -> None:
    made = case(name, n_items=7)
    likelihood, joint = made.likelihood, name == "low_rank_gaussian"
    loc = torch.stack([made.loc, -made.loc])
    assert likelihood.name == name
    assert loc.shape == (2, 7, likelihood.n_locations)
    assert likelihood(loc).batch_shape == ((2, 7) if joint else (2, 7, 3))
    assert likelihood(loc).event_shape == ((3,) if joint else ())
    for observed in (None, made.observed):
        distribution = likelihood.distribution(loc, observed)
        assert distribution.batch_shape == (2, 7)
        assert distribution.event_shape == (3,)
        assert distribution.sample().shape == (2, 7, 3)
        density = distribution.log_prob(made.targets).detach()
        assert density.shape == (2, 7)
        assert density.dtype == torch.float64
        torch.testing.assert_close(density[1], log_density(made, -made.loc))
    assert likelihood.expected(loc).shape == loc.shape
    assert likelihood.comparable(made.targets).shape == made.loc.shape


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_density_is_scipys(name: str, n_targets: int, missing: float, case: Any) -> None:
    made = case(name, n_targets=n_targets, missing=missing)
    values = arrays(made.likelihood.parameters_in_units(torch.ones(n_targets, dtype=torch.float64)))
    expected = item_log_density(name, values, made.loc.numpy(), made.targets.numpy())
    np.testing.assert_allclose(log_density(made).numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STANDARDISED)
def test_parameters_are_in_the_units_of_the_targets(name: str, case: Any) -> None:
    made = case(name, missing=0.3)
    spread = np.full(3, 4.0) if LIKELIHOODS[name].shared_scale else np.array([2.0, 5.0, 0.1])
    values = arrays(made.likelihood.parameters_in_units(torch.from_numpy(spread)))
    found = item_log_density(name, values, made.loc.numpy() * spread, made.targets.numpy() * spread)
    shift = (made.observed.numpy() * np.log(spread)).sum(1)
    np.testing.assert_allclose(found + shift, log_density(made).numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_what_stands_where_nothing_was_observed_does_not_count(name: str, case: Any) -> None:
    made = case(name, missing=0.4)
    other = torch.where(made.observed, made.filled, torch.ones(()).double())
    assert not torch.equal(other, made.filled)
    found = made.likelihood.distribution(made.loc, made.observed).log_prob(other).detach()
    torch.testing.assert_close(found, log_density(made))


def test_correlated_targets_tell_of_one_another(case: Any) -> None:
    made = case("low_rank_gaussian")
    with torch.no_grad():
        alone = made.likelihood.distribution(made.loc, torch.tensor([True, False, False])).log_prob(made.targets)
        rest = made.likelihood.distribution(made.loc, torch.tensor([False, True, True])).log_prob(made.targets)
    assert float((log_density(made) - alone - rest).abs().max()) > 0.05


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_start_is_the_best_guess_before_anything_is_explained(name: str, missing: float, targets_of: Any) -> None:
    targets = targets_of(name)
    if missing > 0:
        targets[torch.from_numpy(np.random.default_rng(3).random(targets.shape) < missing)] = float("nan")
    observed = ~torch.isnan(targets)
    with isolated(0), torch.no_grad():
        likelihood = LIKELIHOODS[name].sized(3, 3)
        likelihood.start(torch.nan_to_num(targets), observed)
        shown = likelihood.comparable(targets).numpy()
        nothing = torch.zeros(likelihood.n_locations, dtype=torch.float64)
        assert all(bool(torch.isfinite(value).all()) for value in likelihood.state_dict().values())
        centre = np.nanmean(shown, axis=0)
        if not LIKELIHOODS[name].standardised:
            np.testing.assert_allclose(likelihood.expected(nothing).numpy(), centre, rtol=1e-9)
        if name == "laplace":
            np.testing.assert_allclose(likelihood.scale.numpy(), np.nanmean(np.abs(shown - centre), axis=0), rtol=1e-6)
        elif name == "isotropic":
            pooled = np.nanmean((shown - centre) ** 2)
            np.testing.assert_allclose(likelihood(nothing).variance.numpy(), pooled, rtol=1e-9)
        elif name not in ("poisson", "bernoulli", "categorical"):
            np.testing.assert_allclose(likelihood(nothing).variance.numpy(), np.nanvar(shown, axis=0), rtol=1e-9)


def test_start_survives_classes_and_counts_that_never_occur() -> None:
    zeros, observed = torch.zeros(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.bool)
    with isolated(0):
        classes, ones, counts = CategoricalLikelihood(1, 4), BernoulliLikelihood(1), PoissonLikelihood(1)
        for likelihood in (classes, ones, counts):
            likelihood.start(zeros, observed)
            assert bool(torch.isfinite(likelihood.base).all())
    rare = classes.expected(torch.zeros(4, dtype=torch.float64))
    np.testing.assert_allclose(rare[1:].numpy(), SMALLEST_SHARE / (1 + 3 * SMALLEST_SHARE), rtol=1e-9)


BAD_TARGETS: list[tuple[str, float, str]] = [
    ("poisson", -1.0, "counts (0, 1, 2, ...) for the poisson likelihood, got -1 at row 2, column 1; correct it or choose"),
    ("poisson", 1.5, "counts (0, 1, 2, ...) for the poisson likelihood, got 1.5 at row 2, column 1"),
    ("negative_binomial", -2.0, "counts (0, 1, 2, ...) for the negative_binomial likelihood, got -2 at row 2, column 1"),
    ("negative_binomial", 0.1, "counts (0, 1, 2, ...) for the negative_binomial likelihood, got 0.1 at row 2, column 1"),
    ("bernoulli", 2.0, "0 or 1 for the bernoulli likelihood, got 2 at row 2, column 1; correct it or use categorical"),
    ("bernoulli", 0.5, "0 or 1 for the bernoulli likelihood, got 0.5 at row 2, column 1"),
    ("categorical", 7.0, "classes 0 to 2 for the categorical likelihood, got 7 at row 2, column 1; number the classes from 0"),
    ("categorical", -1.0, "classes 0 to 2 for the categorical likelihood, got -1 at row 2, column 1"),
    ("categorical", 0.5, "classes 0 to 2 for the categorical likelihood, got 0.5 at row 2, column 1"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_TARGETS)
def test_impossible_targets_are_refused(name: str, value: float, message: str, case: Any) -> None:
    made = case(name)
    targets = made.targets.clone()
    targets[0], targets[2, 1], targets[5, 0] = float("nan"), value, value
    with pytest.raises(InputError) as raised:
        made.likelihood.check(targets)
    assert str(raised.value).startswith(f"targets: expected {message}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_possible_targets_are_accepted(name: str, case: Any) -> None:
    made = case(name, missing=0.3)
    made.likelihood.check(made.targets)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_expected_is_the_mean_of_draws(name: str, case: Any) -> None:
    made, draws = case(name, n_items=5), 20_000
    with isolated(1), torch.no_grad():
        drawn = made.likelihood.comparable(made.likelihood.distribution(made.loc.expand(draws, -1, -1)).sample())
    error = (drawn.std(0) / math.sqrt(draws)).numpy()
    off = np.abs(drawn.mean(0).numpy() - made.likelihood.expected(made.loc).detach().numpy())
    assert np.all(error > 0)
    assert np.all(off <= 5 * error), (off / error).max()


def test_expected_is_the_mode_where_there_is_no_mean() -> None:
    class Cauchy(Likelihood):
        def forward(self, loc: Tensor) -> dist.Distribution:
            return dist.Cauchy(loc, 1.0)

    loc = torch.tensor([[0.5, -2.0]], dtype=torch.float64)
    torch.testing.assert_close(Cauchy(2).expected(loc), loc)


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_update_does_not_lower_the_likelihood(name: str, missing: float, case: Any) -> None:
    gains = []
    for seed in range(5):
        made = case(name, seed=seed, missing=missing)
        error = torch.nan_to_num(made.likelihood.comparable(made.targets) - made.likelihood.expected(made.loc)).detach() ** 2
        before, state = log_density(made), copy.deepcopy(made.likelihood.state_dict())
        with isolated(0):
            updated = made.likelihood.update(error, made.observed)
        if updated:
            gains.append(float((log_density(made) - before).sum()))
        else:
            assert all(torch.equal(state[key], value) for key, value in made.likelihood.state_dict().items())
    assert len(gains) == (5 if name in MIXTURES else 0)
    # The parameters were moved away from their best values, so most of the updates must help.
    assert not gains or (min(gains) > -1e-6 and np.mean(gains) > 0.5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_residual_points_where_the_density_rises(name: str, case: Any) -> None:
    made, step = case(name, missing=0.3), 1e-5
    found = made.likelihood.residual(made.loc, made.targets)
    assert found.shape == made.loc.shape
    assert not found.requires_grad
    if name == "low_rank_gaussian":
        values = arrays(made.likelihood.parameters_in_units(torch.ones(3, dtype=torch.float64)))
        expected = np.nan_to_num((made.targets - made.loc).numpy() / np.sqrt(np.diag(covariance_of(values))))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
        return
    slopes = torch.zeros_like(made.loc)
    for column in range(made.loc.shape[1]):
        moved = torch.zeros_like(made.loc)
        moved[:, column] = step
        slopes[:, column] = (log_density(made, made.loc + moved) - log_density(made, made.loc - moved)) / (2 * step)
    if name in ("gaussian", "isotropic"):
        expected = slopes * made.likelihood.scale.detach()
    else:
        expected = slopes / (slopes**2).mean(0).sqrt()
        torch.testing.assert_close((found**2).mean(0).sqrt(), torch.ones(found.shape[1]).double())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    there = made.observed.unsqueeze(-1).expand(-1, -1, found.shape[1] // 3).flatten(1)
    assert bool((found[~there] == 0).all())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_working_targets_are_of_unit_size(name: str, case: Any) -> None:
    made = case(name, missing=0.3)
    found, shown = made.likelihood.working(made.targets), made.likelihood.comparable(made.targets)
    assert found.shape == made.loc.shape
    assert torch.equal(torch.isnan(found), torch.isnan(shown))
    if LIKELIHOODS[name].standardised:
        assert torch.equal(torch.nan_to_num(found), made.filled)
        return
    np.testing.assert_allclose(np.nanmean(found.numpy(), axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(found.numpy(), axis=0), 1, rtol=1e-9)
    for column in range(found.shape[1]):  # larger where the target is larger
        there = ~torch.isnan(shown[:, column])
        order = shown[there, column].argsort()
        assert bool((found[there, column][order].diff() >= 0).all())


def test_a_class_that_never_occurs_works_as_zero() -> None:
    with isolated(0):
        found = CategoricalLikelihood(1, 3).working(torch.tensor([[0.0], [1.0], [float("nan")], [1.0]], dtype=torch.float64))
    assert found[[0, 1, 3], 2].tolist() == [0.0, 0.0, 0.0]
    assert bool(torch.isnan(found[2]).all())


@pytest.mark.parametrize(("n_targets", "rank"), [(1, 1), (2, 1), (3, 2), (8, 4), (30, 5)])
def test_rank_of_correlated_noise(n_targets: int, rank: int) -> None:
    with isolated(0):
        assert LowRankGaussianLikelihood(n_targets).factor.shape == (n_targets, rank)


def test_half_written_likelihoods_say_what_is_missing() -> None:
    class Empty(Likelihood):
        pass

    class Blank(ScaleMixtureLikelihood):
        pass

    value = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"Empty must define forward\(loc\) -> Distribution"):
        Empty(1)(value)
    with pytest.raises(TypeError, match=r"Empty must define start\(targets, observed\)"):
        Empty(1).start(value, value > 0)
    with pytest.raises(TypeError, match=r"Blank must define error_log_density\(squared_error\)"):
        Blank(1).error_log_density(value)
    with pytest.raises(TypeError, match=r"Blank must define precision\(squared_error\)"):
        Blank(1).precision(value)
    assert Empty(1).update(value, value > 0) is False
    assert Empty(1).parameters_in_units(torch.ones(1)) == {}
    Empty(1).check(value)
