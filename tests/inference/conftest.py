"""Small random models and simulated data for the tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from written_out import World

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data, State

Array = NDArray[np.float64]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Problems this small run several times faster on one thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Simulation:
    """True features, answers with wrong and missing ones, targets, covariates and the weights that made them."""

    truth: Array
    answers: Array
    targets: Array
    covariates: Array
    weights: Array


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Simulation]:
    """A linear Gaussian world: weights N(0, 1) pushed 0.5 away from zero, prevalence 0.35, every tenth answer wrong."""

    def make(
        seed: int,
        n_items: int = 2000,
        n_features: int = 8,
        n_targets: int = 4,
        n_covariates: int = 0,
        wrong: float = 0.1,
        missing_answers: float = 0.0,
        missing_targets: float = 0.0,
        noise: float = 0.5,
    ) -> Simulation:
        random = np.random.default_rng(seed)
        weights = random.normal(size=(n_features, n_targets))
        weights = weights + 0.5 * np.sign(weights)
        truth = (random.random((n_items, n_features)) < 0.35).astype(np.float64)
        answers = np.where(random.random(truth.shape) < wrong, 1 - truth, truth)
        if missing_answers > 0:
            answers[random.random(truth.shape) < missing_answers] = np.nan
        targets = truth @ weights + random.normal(size=n_targets) + noise * random.normal(size=(n_items, n_targets))
        covariates = random.normal(size=(n_items, n_covariates))
        targets = targets + covariates @ random.normal(size=(n_covariates, n_targets))
        if missing_targets > 0:
            targets[random.random(targets.shape) < missing_targets] = np.nan
        return Simulation(truth, answers, targets, covariates, weights)

    return make


@pytest.fixture(scope="session")
def random_problem() -> Callable[..., tuple[State, Data]]:
    """A linear model with random parameters, posterior and data: nothing is fitted, so that no term vanishes."""

    def make(
        seed: int,
        n_items: int = 12,
        n_features: int = 4,
        n_targets: int = 2,
        n_covariates: int = 1,
        likelihood: str = "gaussian",
        missing_answers: float = 0.2,
        missing_targets: float = 0.0,
    ) -> tuple[State, Data]:
        random = np.random.default_rng(seed)

        def normal(*shape: int) -> Tensor:
            return torch.from_numpy(random.normal(size=shape))

        answers = (normal(n_items, n_features) > 0).double()
        answers[torch.from_numpy(random.random(answers.shape) < missing_answers)] = float("nan")
        targets = normal(n_items, n_targets)
        targets[torch.from_numpy(random.random(targets.shape) < missing_targets)] = float("nan")
        targets[:2] = normal(2, n_targets)  # every column has values
        with isolated(seed):
            model = build_model(n_features, n_targets, n_covariates, likelihood=likelihood)
            with torch.no_grad():
                for parameter in model.link.parameters():
                    parameter.copy_(normal(*parameter.shape))
            model.likelihood.update(normal(n_items, n_targets) ** 2, ~torch.isnan(targets))
        rates = torch.from_numpy(random.uniform(0.02, 0.4, size=n_features))
        posterior = torch.from_numpy(random.uniform(0.02, 0.98, size=(n_items, n_features)))
        return State(model, rates, posterior), Data(answers, normal(n_items, n_covariates), targets)

    return make


@pytest.fixture(scope="session")
def bits() -> Callable[[int], Tensor]:
    """All 2^K assignments of K features, (2^K, K)."""

    def make(n_features: int) -> Tensor:
        rows = list(itertools.product([0.0, 1.0], repeat=n_features))
        return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), n_features)

    return make


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """A maker of worlds; the test runs with random numbers and parameters of its own."""

    def make(likelihood: str = "gaussian", n_features: int = 3, link: str = "linear", n_items: int = 5, seed: int = 0) -> World:
        generator = torch.Generator().manual_seed(seed + 10 * n_features)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        answers, covariates = (normal(n_items, n_features) > 0).double(), normal(n_items, 2)
        answers[1, :1] = float("nan")
        targets = normal(n_items, 2)
        if likelihood == "poisson":
            targets = (2 * targets).abs().round()
        if likelihood == "bernoulli":
            targets = (targets > 0).double()
        targets[0, 1] = targets[2, 0] = targets[3, 0] = targets[3, 1] = float("nan")
        model = build_model(n_features, 2, 2, link=link, likelihood=likelihood)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.7 * normal(*parameter.shape))
        rates = torch.rand(n_features, generator=generator, dtype=torch.float64) * 0.35 + 0.05
        return World(model, rates, torch.sigmoid(normal(n_items, n_features)), (answers, covariates, targets))

    with isolated(0):
        yield make
