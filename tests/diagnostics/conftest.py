from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws, posterior_draws


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Problems this small run several times faster on one thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class World:
    """A fitted simulation: 150 items, 3 features, 1 covariate, 1 target; every tenth answer to the first feature wrong."""

    truth: NDArray[np.float64]
    result: FitResult
    fitted: FittedItems
    draws: PosteriorDraws


@pytest.fixture(scope="session")
def world() -> World:
    random = np.random.default_rng(0)
    # As the model has it: the answers are given, and the truth is the other one for every tenth.
    answers = (random.random((150, 3)) < 0.4).astype(float)
    truth = answers.copy()
    wrong = random.random(150) < 0.1
    truth[wrong, 0] = 1 - truth[wrong, 0]
    answers[3, 1] = np.nan
    covariates = random.normal(size=(150, 1))
    targets = truth @ np.array([3.0, -2.0, 1.0]) + covariates[:, 0] + 0.4 * random.normal(size=150)
    targets[5] = np.nan
    result = fit(answers, targets, covariates)
    ids = [f"item {row}" for row in range(150)]
    texts = ["größer als zehn", "colour is red", "colour is red"]
    fitted = result.fitted(answers, targets, covariates, ids, texts, ["price"])
    return World(truth, result, fitted, posterior_draws(fitted, n=100))
