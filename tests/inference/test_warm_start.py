"""Ratings update a Gaussian in closed form: against dense solves, against brute force, and in simulated data."""

from __future__ import annotations

import numpy as np
import pytest

from genz_ppl.inference.ratings.gaussian_posterior import GaussianPosterior
from genz_ppl.inference.ratings.warm_start import SCALES, WarmStart, pooled_covariance, quantiles, residual_covariance, scale_odds
from genz_ppl.types import FloatArray

ODDS = np.array([0.1, 0.6, 0.1, 0.1, 0.05, 0.05])


def spd(size: int, random: np.random.Generator) -> FloatArray:
    root = random.normal(size=(size, size + 3))
    matrix: FloatArray = root @ root.T / size
    return matrix


def test_ratings_one_by_one_all_at_once_and_the_dense_conditional() -> None:
    """x_j = mu + b_j + v_j'y + noise: y given x from the joint Gaussian of both."""
    random = np.random.default_rng(0)
    mean, covariance, users = random.normal(size=4), spd(4, random), random.normal(size=(30, 4))
    offset, noise = 3.5 + random.normal(size=30), 0.3 + random.random(30)
    values = offset + users @ random.normal(size=4) + random.normal(size=30)
    prior = GaussianPosterior.of(mean, covariance)
    at_once = prior.update(users, values - offset, noise)
    one_by_one = prior
    for j in range(30):
        one_by_one = one_by_one.update(users[j : j + 1], values[j : j + 1] - offset[j : j + 1], float(noise[j]))
    full = prior.update(users, values - offset, np.diag(noise))
    gain = covariance @ users.T @ np.linalg.inv(users @ covariance @ users.T + np.diag(noise))
    dense = mean + gain @ (values - offset - users @ mean)
    for found in (at_once, one_by_one, full):
        np.testing.assert_allclose(found.mean, dense, atol=1e-10)
        np.testing.assert_allclose(found.covariance, covariance - gain @ users @ covariance, atol=1e-10)
    np.testing.assert_allclose(at_once.sd, np.sqrt(np.diag(at_once.covariance)))


def test_a_prior_of_variances() -> None:
    found = GaussianPosterior.of(np.zeros(2), np.array([4.0, 9.0]))
    np.testing.assert_allclose(found.sd, [2.0, 3.0])


@pytest.fixture
def world() -> tuple[WarmStart, GaussianPosterior, FloatArray, np.random.Generator]:
    random = np.random.default_rng(1)
    warm = WarmStart(0.02 * spd(3, random), np.array([20.0, 40.0, 41.0, 80.0]), ODDS, np.zeros(3))
    prior = GaussianPosterior.of(random.normal(size=3), spd(3, random))
    sums = np.cumsum(random.normal(0.05, 0.15, size=(90, 3)), axis=0)
    return warm, prior, sums, random


def test_parts_one_by_one_are_all_at_once(world: tuple[WarmStart, GaussianPosterior, FloatArray, np.random.Generator]) -> None:
    warm, prior, sums, _ = world
    known, before = prior, np.zeros(3)
    for count in range(19):
        # Of the N - n ratings to come each has mean (y - s_n) / (N - n): g ~ N((y - s_n) / (N - n), C (N - n - 1) / (N - n)).
        left = 20.0 - count
        known = known.update(np.eye(3) / left, sums[count] - before + before / left, (left - 1) / left * warm.spread)
        before = sums[count]
        at_once = warm.given(prior, count + 1, sums[count], 20.0)
        np.testing.assert_allclose(known.mean, at_once.mean, atol=1e-9)
        np.testing.assert_allclose(known.precision, at_once.precision, rtol=1e-9)


def test_given_the_number_of_ratings_it_is_the_conditional_of_their_joint_distribution(
    world: tuple[WarmStart, GaussianPosterior, FloatArray, np.random.Generator],
) -> None:
    """Brute force: N parts that are exchangeable given y and add up to y, the first n of them seen."""
    warm, prior, _, random = world
    total, count = 6, 4
    # g = y / N + e_j - mean(e), with e_j ~ N(0, C): the covariance of all N parts and y, written out.
    centring = np.eye(total) - 1.0 / total
    joint = np.kron(np.full((total, total), 1.0 / total**2), prior.covariance) + np.kron(centring, warm.spread)
    crossed = np.kron(np.full((1, total), 1.0 / total), prior.covariance)
    parts = random.normal(size=(count, 3))
    seen = slice(0, 3 * count)
    gain = crossed[:, seen] @ np.linalg.inv(joint[seen, seen])
    wanted = prior.mean + gain @ (parts - prior.mean / total).ravel()
    found = warm.given(prior, count, parts.sum(axis=0), total)
    np.testing.assert_allclose(found.mean, wanted, atol=1e-9)
    np.testing.assert_allclose(found.covariance, prior.covariance - gain @ crossed[:, seen].T, atol=1e-9)


def test_the_path_is_the_dense_mixture_at_every_count(
    world: tuple[WarmStart, GaussianPosterior, FloatArray, np.random.Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, prior, sums, _ = world
    monkeypatch.setattr("genz_ppl.inference.ratings.warm_start.BLOCK", 7)
    means = warm.path(prior, sums)  # beyond the largest total, too
    for count in range(1, 91):
        np.testing.assert_allclose(means[count - 1], warm.after(prior, count, sums[count - 1])[0], atol=1e-8)
    assert warm.path(prior, sums[:0]).shape == (0, 3)
    mean, covariance = warm.after(prior, 0, np.zeros(3))
    np.testing.assert_array_equal(mean, prior.mean)
    np.testing.assert_allclose(covariance, prior.covariance * (ODDS @ SCALES))


def simulated(
    n_items: int, random: np.random.Generator
) -> tuple[WarmStart, GaussianPosterior, list[tuple[FloatArray, FloatArray]]]:
    """Items from the model itself: y ~ prior at a scale, N of `totals`, and N parts that add up to y, in order."""
    size, totals = 3, np.array([30.0, 60.0, 120.0])
    spread, prior = 0.01 * spd(size, random), GaussianPosterior.of(2.0 * random.normal(size=size), spd(size, random))
    made = []
    for _ in range(n_items):
        y = random.multivariate_normal(prior.mean, prior.covariance * random.choice(SCALES, p=ODDS))
        total = int(random.choice(totals))
        noise = random.multivariate_normal(np.zeros(size), spread, size=total)
        made.append((y, np.cumsum(y / total + noise - noise.mean(axis=0), axis=0)))
    return WarmStart(spread, totals, ODDS, np.zeros(size)), prior, made


@pytest.mark.slow
def test_calibration_with_the_number_of_ratings_unknown() -> None:
    """Standardised errors have mean 0 and variance 1, within four standard errors, and shrink as ratings come."""
    random = np.random.default_rng(2)
    warm, prior, made = simulated(400, random)
    before = np.inf
    for count in (1, 5, 25):
        errors, sizes = [], []
        for y, sums in made:
            mean, covariance = warm.after(prior, count, sums[count - 1])
            errors.append(np.linalg.solve(np.linalg.cholesky(covariance), y - mean))
            sizes.append(((y - mean) ** 2).sum())
        standard = np.array(errors)
        squares = (standard**2).mean(axis=1)
        assert np.abs(standard.mean(axis=0)).max() < 4 / np.sqrt(len(made))
        assert abs(squares.mean() - 1) < 4 * squares.std() / np.sqrt(len(made))
        assert np.mean(sizes) < before
        before = float(np.mean(sizes))


def test_with_nearly_all_ratings_it_is_their_sum() -> None:
    random = np.random.default_rng(3)
    warm, prior, made = simulated(20, random)
    for y, sums in made:
        if len(sums) == 120:
            np.testing.assert_allclose(warm.after(prior, 119, sums[118])[0], y, atol=4.5 * np.sqrt(warm.spread.diagonal().max()))


def test_what_is_learned_from_items() -> None:
    random = np.random.default_rng(4)
    spread = spd(2, random)
    parts = [random.multivariate_normal(10 * random.normal(size=2), spread, size=400) for _ in range(50)]
    warm = WarmStart.of(parts, np.arange(1, 101), np.ones((100, 2)), np.eye(2), np.ones(2))
    np.testing.assert_allclose(warm.spread, spread, rtol=0.05, atol=0.02)  # the items' means are far apart and do not count
    assert len(warm.totals) == 32
    np.testing.assert_allclose(np.median(warm.totals), 50.5, atol=4)
    np.testing.assert_array_equal(quantiles(np.array([7, 3, 3])), [3.0, 3.0, 7.0])
    assert np.linalg.eigvalsh(pooled_covariance([np.ones((1, 3)), np.zeros((2, 3))])).min() > 0


def test_the_odds_of_scales() -> None:
    random = np.random.default_rng(6)
    covariance, scales = spd(20, random), random.choice(SCALES, size=3000, p=ODDS)
    errors = random.multivariate_normal(np.zeros(20), covariance, size=3000) * np.sqrt(scales)[:, None]
    np.testing.assert_allclose(scale_odds(errors, covariance), ODDS, atol=0.04)
    alike = scale_odds(random.multivariate_normal(np.zeros(20), covariance, size=30), covariance)
    assert alike.argmax() == 1
    assert alike.min() >= 1 / 36 - 1e-12  # a miss that was not met yet is not impossible


def test_a_prediction_that_is_far_off_is_given_up() -> None:
    """Where a single Gaussian would pull the ratings towards it."""
    random = np.random.default_rng(7)
    warm, prior, _ = simulated(1, random)
    y = prior.mean + 12 * prior.sd
    noise = random.multivariate_normal(np.zeros(3), warm.spread, size=60)
    summed = (y / 60 + noise - noise.mean(axis=0))[:40].sum(axis=0)
    stiff = WarmStart(warm.spread, np.array([60.0]), np.array([1e-300, 1.0, *[1e-300] * 4]), warm.remainder)
    loose = WarmStart(warm.spread, np.array([60.0]), ODDS, warm.remainder)
    near, far = (np.linalg.norm(one.after(prior, 40, summed)[0] - 1.5 * summed) for one in (loose, stiff))
    assert near < 0.2 * far


def test_the_covariance_of_errors() -> None:
    random = np.random.default_rng(5)
    covariance = spd(3, random)
    errors = random.multivariate_normal(np.zeros(3), covariance, size=4000)
    np.testing.assert_allclose(residual_covariance(errors, 0), covariance, rtol=0.1, atol=0.1)
    np.testing.assert_allclose(residual_covariance(errors, 2000).diagonal(), 2 * covariance.diagonal(), rtol=0.1)
    few = residual_covariance(random.normal(size=(3, 6)), 0)
    assert np.linalg.eigvalsh(few).min() > 0  # three items, six targets
