"""Varying effects: groups whose intercepts and slopes are drawn towards what all items have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import PLAIN

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.group_spread import effect_spread
from genz_ppl.inference.group_table import group_effects
from genz_ppl.models.effects import indicators, levels_of, pooling_of, with_effects
from genz_ppl.types import FloatArray

GROUPS = 30


class World:
    """y = 1 + h w + x b + u_g + (x - 3) v_g + noise, with u ~ N(0, 0.8^2), v ~ N(0, [0.3, 0]^2), noise of 0.5."""

    def __init__(self, n_items: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.group = random.integers(0, GROUPS, n_items)
        self.labels = [f"g{group:02}" for group in self.group]
        self.x = random.normal(3, 2, (n_items, 2))
        self.h = (random.random((n_items, 3)) < 0.5) * 1.0
        self.intercepts = random.normal(0, 0.8, GROUPS)
        self.slopes = random.normal(0, 0.3, GROUPS)
        shift = self.intercepts[self.group] + (self.x[:, 0] - 3) * self.slopes[self.group]
        self.loc = 1 + self.h @ [1.0, -2.0, 0.5] + self.x @ [0.3, 0.1] + shift
        self.y = self.loc + random.normal(0, 0.5, n_items)


@pytest.fixture(scope="module")
def world() -> World:
    return World(900)


def fitted(world: World, n: int = 600, **options: Any) -> FitResult:
    return fit(world.h[:n], world.y[:n], world.x[:n], varying=world.labels[:n], **options)


def error(world: World, predicted: FloatArray, n: int = 600) -> float:
    return float(np.sqrt(((predicted[:, 0] - world.loc[n:]) ** 2).mean()))


@pytest.mark.parametrize("link", ["linear", "interaction"])
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "laplace"])
def test_effects_and_their_spreads_are_found(world: World, link: str, likelihood: str) -> None:
    result = fitted(world, link=link, likelihood=likelihood)
    np.testing.assert_allclose(result.parameters["group_spread"][:, 0], [0.8, 0.3, 0.0], atol=0.2)
    predicted = result.predict(world.h[600:], world.x[600:], varying=world.labels[600:])
    plain = fit(world.h[:600], world.y[:600], world.x[:600], link=link, likelihood=likelihood)
    assert error(world, predicted) < 0.4 * error(world, plain.predict(world.h[600:], world.x[600:]))
    assert result.levels == tuple(f"g{group:02}" for group in range(GROUPS))
    effects = result.parameters["group_effects"]
    assert effects.shape == (GROUPS, 3, 1)
    assert np.corrcoef(effects[:, 1, 0], world.slopes)[0, 1] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["svi", "structured", "enumeration"])
def test_every_strategy_fits_them(world: World, inference: str) -> None:
    result = fitted(world, inference=inference, steps=20 if inference == "enumeration" else 200)
    predicted = result.predict(world.h[600:], world.x[600:], varying=world.labels[600:])
    assert error(world, predicted) < 0.45


def test_a_group_that_was_not_in_the_fit_has_the_effects_of_none(world: World) -> None:
    result = fitted(world)
    parameters, n = result.parameters, 3
    unknown = result.predict(world.h[:n], world.x[:n], varying=["elsewhere"] * n)
    prior = result.state.prior(torch.tensor(world.h[:n])).numpy()
    expected = prior @ parameters["weights"] + parameters["intercept"] + world.x[:n] @ parameters["covariate_weights"]
    np.testing.assert_allclose(unknown, expected)
    own = parameters["group_effects"][[result.levels.index(label) for label in world.labels[:n]], :, 0]
    known = result.predict(world.h[:n], world.x[:n], varying=world.labels[:n])
    np.testing.assert_allclose(known[:, 0], expected[:, 0] + own[:, 0] + (world.x[:n] * own[:, 1:]).sum(1))


def test_an_unknown_group_is_as_uncertain_as_groups_differ() -> None:
    """Fitted to thirty groups, 90 % intervals hold 90 % of the targets in thirty others."""
    known, unknown = World(900), World(3000, seed=5)
    result = fitted(known, 900)
    assert not set(unknown.labels) - set(known.labels)
    strangers = [f"other {label}" for label in unknown.labels]
    interval = result.predict_interval(unknown.h, unknown.x, varying=strangers)
    held = (interval.lower[:, 0] <= unknown.y) & (unknown.y <= interval.upper[:, 0])
    assert 0.8 < held.mean() < 0.98  # thirty groups: the share varies by 0.05
    of_known = result.predict_interval(unknown.h, unknown.x, varying=known.labels[:1] * 3000)
    assert interval.sd.mean() > 1.5 * of_known.sd.mean()
    assert result.log_likelihood(unknown.h, unknown.y, unknown.x, varying=strangers).mean() > -2.0


def test_a_small_group_is_known_less_well_than_a_large_one() -> None:
    """Groups of one, two and 200 items: intervals widen as there are fewer, and those of new items hold their share."""
    random = np.random.default_rng(3)
    sizes = [1] * 60 + [2] * 60 + [200] * 3
    group = np.repeat(np.arange(123), sizes)
    shift = random.normal(0, 1.0, 123)
    y = shift[group] + random.normal(0, 0.5, len(group))
    none = np.zeros((len(y), 0))
    result = fit(none, y, varying=group)
    new = np.arange(123)
    interval = result.predict_interval(np.zeros((123, 0)), varying=new)
    sd = [float(interval.sd[part].mean()) for part in (slice(0, 60), slice(60, 120), slice(120, 123))]
    variance = [1.0 / (1 / 0.25 * n + 1.0) + 0.25 for n in (1, 2, 200)]
    np.testing.assert_allclose(sd, np.sqrt(variance), rtol=0.15)
    held = [
        (interval.lower[:, 0] <= drawn) & (drawn <= interval.upper[:, 0])
        for drawn in (shift + random.normal(0, 0.5, 123) for _ in range(20))
    ]
    assert 0.86 < np.mean(held) < 0.95


@pytest.mark.slow
def test_chance_gains_no_more_beside_groups_than_it_should() -> None:
    """Questions without an effect, beside 60 groups of five: the bound rises by half a chi-square, on average 1/2."""
    gains = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        group = np.repeat(np.arange(60), 5)
        y = random.normal(0, 1, 60)[group] + random.normal(0, 0.7, 300)
        h = (random.random((300, 1)) < 0.5) * 1.0
        bounds = [fit(h[:, :k], y, varying=group, error_rate_prior=(1.0, 1e6), steps=40, **PLAIN).bound for k in (0, 1)]
        gains.append(bounds[1] - bounds[0])
    assert np.mean(gains) == pytest.approx(0.5, abs=0.3)


@pytest.mark.slow
def test_without_features_it_is_ridge_regression_with_the_estimated_spreads(world: World) -> None:
    n, none = 300, np.zeros((300, 0))
    result = fit(none, world.y[:n], world.x[:n], varying=world.labels[:n], steps=500)
    x = (world.x[:n] - world.x[:n].mean(0)) / world.x[:n].std(0)
    y = (world.y[:n] - world.y[:n].mean()) / world.y[:n].std()
    one_hot = (np.array(world.labels[:n])[:, None] == np.array(result.levels)).astype(float)
    design = np.column_stack([np.ones(n), x, one_hot, (one_hot[:, :, None] * x[:, None, :]).reshape(n, -1)])
    spread = result.parameters["group_spread"][:, 0] / world.y[:n].std() * [1.0, *world.x[:n].std(0)]
    precision = np.concatenate(
        [np.zeros(3), np.full(len(result.levels), spread[0] ** -2), np.tile(spread[1:] ** -2, len(one_hot.T))]
    )
    noise = result.parameters["scale"][0] / world.y[:n].std()
    assert (
        noise > 1.05 * np.std(world.y[:n] - result.predict(none, world.x[:n], varying=world.labels[:n])[:, 0]) / world.y[:n].std()
    )
    solution = np.linalg.solve(design.T @ design + noise**2 * np.diag(precision), design.T @ y)
    predicted = result.predict(none, world.x[:n], varying=world.labels[:n])[:, 0]
    np.testing.assert_allclose(predicted, world.y[:n].mean() + world.y[:n].std() * design @ solution, atol=1e-4)


@pytest.mark.parametrize("missing", [False, True])
def test_spreads_maximise_the_evidence(missing: bool) -> None:
    """Checked against the density of y with all effects integrated out, for a random intercept and slope."""
    random = np.random.default_rng(1)
    x, group = torch.tensor(random.normal(size=(150, 1))), random.integers(0, 12, 150)
    z = indicators([str(one) for one in group], levels_of([str(one) for one in group], 1))
    shift = random.normal(0, 0.7, 12)[group] + random.normal(0, 0.4, 12)[group] * x[:, 0].numpy()
    y = torch.tensor(shift + 0.5 * random.normal(size=150)).unsqueeze(1)
    if missing:
        y[random.random(150) < 0.2] = float("nan")
    found = effect_spread(x, z, y)
    there = ~torch.isnan(y[:, 0])
    ones = torch.ones(150, 1).double()

    def evidence(spread: torch.Tensor, noise: float) -> float:
        columns = with_effects(x, z)[:, 1:]
        variance = 1 / pooling_of(spread, 12)[1:]
        flat = torch.cat([ones, x], dim=1)
        covariance = (columns * variance) @ columns.T + noise * torch.eye(150).double() + 1e8 * flat @ flat.T
        density = torch.distributions.MultivariateNormal(torch.zeros(int(there.sum())).double(), covariance[there][:, there])
        value: torch.Tensor = density.log_prob(y[there, 0])  # type: ignore[no-untyped-call]
        return float(value)

    best = max(evidence(found, noise) for noise in np.linspace(0.1, 0.5, 81))
    for change in (torch.tensor([0.1, 0.0]), torch.tensor([0.0, 0.1])):
        for sign in (1, -1):
            moved = (found + sign * change).clamp(min=0.01)
            assert max(evidence(moved, noise) for noise in np.linspace(0.1, 0.5, 81)) < best + 1e-3


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    likelihood=st.sampled_from(["gaussian", "student_t", "laplace", "isotropic"]),
    link=st.sampled_from(["linear", "interaction"]),
)
def test_the_bound_never_falls(seed: int, likelihood: str, link: str) -> None:
    random = np.random.default_rng(seed)
    h = (random.random((40, 3)) < 0.5) * 1.0
    y = random.normal(size=(40, 2)) + h[:, :2]
    y[random.random((40, 2)) < 0.1] = np.nan
    labels = random.integers(0, 6, 40)
    result = fit(h, y, random.normal(size=(40, 1)), link=link, likelihood=likelihood, varying=labels, steps=30)
    assert np.diff(result.bounds).min() > -1e-7


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson", "categorical"])
def test_classes_and_counts_vary_too(world: World, likelihood: str) -> None:
    y = (world.y > np.median(world.y)) * 1.0
    if likelihood == "poisson":
        y = np.random.default_rng(0).poisson(np.exp(0.5 * world.loc.clip(-4, 4))) * 1.0
    n = 600
    varied = fit(world.h[:n], y[:n], world.x[:n], likelihood=likelihood, varying=world.labels[:n])
    plain = fit(world.h[:n], y[:n], world.x[:n], likelihood=likelihood)
    density = varied.log_likelihood(world.h[n:], y[n:], world.x[n:], varying=world.labels[n:]).mean()
    assert density > plain.log_likelihood(world.h[n:], y[n:], world.x[n:]).mean() + 0.05


@pytest.mark.slow
def test_bayesian_fits_and_diagnostics_know_the_groups(world: World) -> None:
    pytest.importorskip("arviz")
    from genz_ppl.diagnostics.inference_data import to_inference_data

    n = 200
    result = fitted(world, n, inference="svi", bayesian=True, steps=100)
    data = to_inference_data(result.fitted(world.h[:n], world.y[:n], world.x[:n], varying=world.labels[:n]))
    effects = data.posterior["group_effects"]
    assert effects.dims == ("chain", "draw", "group", "term")
    assert effects["group"].values.tolist() == list(result.levels)
    assert effects["term"].values.tolist() == ["intercept", "covariate 0", "covariate 1"]
    assert data.constant_data["covariates"].shape == (n, 2)
    np.testing.assert_array_equal(data.constant_data["groups"].sum("group").values, 1)
    assert float(effects.std("draw").mean()) > 0.01


def test_intercepts_alone_where_there_are_no_covariates(world: World) -> None:
    result = fit(world.h, world.y, varying=world.group.tolist())
    assert result.parameters["group_effects"].shape == (GROUPS, 1, 1)
    assert result.predict(world.h[:2], varying=["0", "1"]).shape == (2, 1)


def test_what_is_wrong_with_groups_is_said(world: World) -> None:
    def message(kind: type[Exception], **options: Any) -> str:
        with pytest.raises(kind) as caught:
            fit(world.h, world.y, **{"covariates": world.x, **options})
        return str(caught.value)

    assert message(InputError, varying=world.labels[:5]) == "varying: expected 900 labels, one an item of answers, got 5"
    assert "expected a label in row 1, got None" in message(InputError, varying=["a", None, *world.labels[2:]])
    assert "nothing can vary by it" in message(InputError, varying=["a"] * 900)
    assert "the 900 training items have as many different values" in message(InputError, varying=range(900))
    assert "450 different values, each with an intercept and 2 slopes, make 1350 effects, more than 600: merge" in message(
        InputError, varying=[row // 2 for row in range(900)]
    )
    assert "links linear and interaction, got neural" in message(OptionError, varying=world.labels, link="neural")
    result = fitted(world)
    with pytest.raises(InputError, match="varying: expected the group of each item as in the fit"):
        result.predict(world.h, world.x)
    with pytest.raises(InputError, match="varying: expected no groups, as in the fit"):
        fit(world.h, world.y).predict(world.h, varying=world.labels)


def test_levels_under_noise_with_tails_are_as_uncertain_as_its_density_says() -> None:
    """(R + n I)^-1/2 of a group with n items, R the prior's precision and I Fisher's information of an entry, (df + 1) / (df + 3)
    over the squared scale; the Gaussians of the bound have more."""
    random = np.random.default_rng(5)
    labels = np.repeat(["a", "b", "c", "d"], [200, 100, 60, 40])
    answers = (random.random((400, 1)) < 0.5).astype(float)
    y = 4 * answers[:, 0] + random.normal(size=4)[np.repeat(range(4), [200, 100, 60, 40])] + random.standard_t(3, 400)
    result = fit(answers, y, varying=labels, likelihood="student_t", steps=200, error_rate_prior=(1.0, 1e6))
    train = result.fitted(answers, y, varying=labels)
    found = group_effects(train.state, train.scaling, lambda: train)
    assert found is not None
    degrees, spread = result.parameters["degrees_of_freedom"][0], float(train.scaling.spread_of(1)[0])
    told = (degrees + 1) / (degrees + 3) * (spread / result.parameters["scale"][0]) ** 2
    by_hand = spread * (train.state.model.link.group_precision[0].item() + np.array([200, 100, 60, 40]) * told) ** -0.5
    np.testing.assert_allclose(found.level_sd[:, 0], by_hand, rtol=0.06)
