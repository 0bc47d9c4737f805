"""Other likelihoods than the Gaussian on data with a known truth: outliers, counts and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genz_ppl.inference import fit

Array = NDArray[np.float64]


def outlier_world(seed: int, n_targets: int, n_items: int = 600) -> tuple[Array, Array, Array, Array]:
    """Answers with 5 % wrong, targets with 5 % shifted by ten standard deviations, a covariate and the weights."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(5, n_targets))
    weights = weights + 0.5 * np.sign(weights)
    truth = (random.random((n_items, 5)) < 0.4).astype(np.float64)
    answers = np.where(random.random(truth.shape) < 0.05, 1 - truth, truth)
    covariates = random.normal(size=(n_items, 1))
    targets = truth @ weights + covariates + 0.5 * random.normal(size=(n_items, n_targets))
    targets = targets + 10 * targets.std(axis=0) * (random.random(targets.shape) < 0.05)
    return answers, targets, covariates, weights


@pytest.mark.parametrize("n_targets", [1, 3])
def test_outliers_do_not_bend_the_weights(n_targets: int) -> None:
    # Measured as shares of the Gaussian's error: Student-t 0.14 with one target and 0.19 with three, Laplace 0.18 and 0.25.
    errors: dict[str, list[float]] = {"gaussian": [], "student_t": [], "laplace": []}
    for seed in range(4):
        answers, targets, covariates, weights = outlier_world(seed, n_targets)
        for likelihood, found in errors.items():
            result = fit(answers, targets, covariates, likelihood=likelihood, steps=20)
            found.append(float(np.sqrt(np.mean((result.parameters["weights"] - weights) ** 2))))
    gaussian, student, laplace = (np.mean(found) for found in errors.values())
    assert student <= gaussian / 3, errors
    assert laplace <= gaussian / 2, errors


def test_without_outliers_nothing_is_lost(simulate: Any) -> None:
    errors: dict[str, list[float]] = {"gaussian": [], "student_t": []}
    for seed in range(4):
        world = simulate(seed, n_items=500, n_features=5, n_targets=3)
        for likelihood, found in errors.items():
            result = fit(world.answers, world.targets, likelihood=likelihood, steps=20)
            found.append(float(np.sqrt(np.mean((result.parameters["weights"] - world.weights) ** 2))))
            if likelihood == "student_t":  # nearly normal tails
                assert result.parameters["degrees_of_freedom"].min() > 10
    assert np.mean(errors["student_t"]) < 1.15 * np.mean(errors["gaussian"]), errors


CONCENTRATION, WEIGHTS = 3.0, np.array([[1.0], [-0.8], [0.6], [0.5]])
CLASS_WEIGHTS = np.array([[1.5, 0.0, -1.0], [-1.0, 1.5, 0.0], [0.0, 1.0, -1.5], [1.0, -1.0, 0.0]])


def centred(weights: Array) -> Array:
    """Weights of several classes mean something relative to one another only."""
    return weights if weights.shape[1] == 1 else weights - weights.mean(axis=1, keepdims=True)


def other_world(likelihood: str, seed: int, wrong: float, n_items: int = 1000) -> tuple[Array, Array, Array, Array]:
    """Answers, targets (T, 1), true weights (K, L), and the standard errors of weights fitted to the true features."""
    random = np.random.default_rng(seed)
    truth = (random.random((n_items, 4)) < 0.4).astype(np.float64)
    answers = np.where(random.random(truth.shape) < wrong, 1 - truth, truth)
    weights = {"bernoulli": 2 * WEIGHTS, "categorical": CLASS_WEIGHTS}.get(likelihood, WEIGHTS)
    values = truth @ weights
    values = values - values.mean(axis=0)
    targets: Any
    if likelihood == "poisson":
        mean = np.exp(1 + values)
        targets, information = random.poisson(mean), mean
    elif likelihood == "negative_binomial":
        mean = np.exp(1 + values)
        targets = random.negative_binomial(CONCENTRATION, CONCENTRATION / (CONCENTRATION + mean))
        information = mean / (1 + mean / CONCENTRATION)
    elif likelihood == "bernoulli":
        chance = 1 / (1 + np.exp(-values))
        targets, information = random.random(chance.shape) < chance, chance * (1 - chance)
    else:
        chance = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        targets = (random.random((n_items, 1)) > chance.cumsum(axis=1)).sum(axis=1, keepdims=True)
        information = chance[:, :, None] * (np.eye(3) - chance[:, None])
    design = np.column_stack([truth, np.ones(n_items)])
    if information.ndim == 2:
        covariance = np.linalg.inv(design.T @ (design * information))
    else:  # classes: only differences between the weights of classes mean something, hence the pseudo-inverse
        covariance = np.linalg.pinv(
            np.einsum("tj,tcd,tk->jckd", design, information, design).reshape(15, 15), rcond=1e-9, hermitian=True
        )
    errors = np.sqrt(np.diag(covariance)).reshape(5, -1)[:4]
    return answers, np.asarray(targets, dtype=np.float64), centred(weights), errors


def fitted_weights(answers: Array, targets: Array, likelihood: str, **options: Any) -> Array:
    return centred(fit(answers, targets, likelihood=likelihood, **options).parameters["weights"])


KINDS = ["poisson", "negative_binomial", "bernoulli", "categorical"]


@pytest.mark.parametrize("likelihood", KINDS)
@pytest.mark.parametrize("seed", [0, 2])  # of seed 1 a weight is 4.3 errors off, that of maximum likelihood too
def test_weights_are_found_where_answers_are_right(likelihood: str, seed: int) -> None:
    answers, targets, weights, errors = other_world(likelihood, seed, wrong=0.0)
    # At the mode a feature may be bent until it foretells a class for certain; here the answers are known to be right.
    prior = (1.0, 1000.0) if likelihood == "categorical" else (1.0, 9.0)
    found = fitted_weights(answers, targets, likelihood, steps=8, error_rate_prior=prior)
    off = np.abs(found - weights) / errors
    assert off.max() < 4, np.round(off, 1)
    # Errors far below their standard errors everywhere would mean that those are wrong.
    assert off.max() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("likelihood", "inference"), [("poisson", "coordinate"), *((kind, "enumeration") for kind in KINDS)])
def test_wrong_answers_are_allowed_for(likelihood: str, inference: str) -> None:
    # Wrong answers draw the weights towards zero. At the mode (coordinate) this is undone for Poisson counts only: with
    # 10 % wrong its error was 0.57 of the plain fit's, with negative binomial counts 0.84 and with classes 1.00. Exact
    # posteriors had 0.30, 0.45 (negative binomial), 0.53 (bernoulli) and 0.70 (categorical).
    errors = []
    for prior in ((1.0, 9.0), (1.0, 1e6)):
        parts = []
        for seed in range(2):
            answers, targets, weights, _ = other_world(likelihood, seed, wrong=0.1)
            found = fitted_weights(answers, targets, likelihood, inference=inference, steps=20, error_rate_prior=prior)
            parts.append(np.sqrt(np.mean((found - weights) ** 2)))
        errors.append(np.mean(parts))
    assert errors[0] < 0.8 * errors[1], errors


@pytest.mark.parametrize(
    ("likelihood", "share"), [("poisson", 0.85), ("negative_binomial", 0.75), ("bernoulli", 0.75), ("categorical", 0.75)]
)
def test_a_free_feature_finds_a_hidden_split_of_counts_and_classes(likelihood: str, share: float) -> None:
    # Measured: 0.89 to 0.96 with Poisson counts, 0.82 to 0.88 with the others; the larger side is 0.6 of the items.
    for seed in range(2):
        random = np.random.default_rng(seed)
        hidden = random.random(300) < 0.4
        effects = 2 * np.sign(random.normal(size=4)) * hidden[:, None]
        targets: Any
        if likelihood == "poisson":
            targets = random.poisson(np.exp(0.5 + 0.6 * effects))
        elif likelihood == "negative_binomial":
            targets = random.negative_binomial(3, 3 / (3 + np.exp(0.5 + 0.6 * effects)))
        elif likelihood == "bernoulli":
            targets = random.random(effects.shape) < 1 / (1 + np.exp(0.6 - 1.5 * effects))
        else:
            targets = sum((effects + random.logistic(size=effects.shape) > limit).astype(int) for limit in (0, 1))
        targets = np.asarray(targets, dtype=np.float64)
        targets[random.random(targets.shape) < 0.1] = np.nan
        result = fit(np.full((300, 1), np.nan), targets, likelihood=likelihood, steps=15)
        agreement = np.mean((result.posterior[:, 0] > 0.5) == hidden)
        assert max(agreement, 1 - agreement) > share
