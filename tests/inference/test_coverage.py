"""90 % predictive intervals hold about 90 % of 2 000 items that were not fitted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from genz_ppl.inference import fit

Array = NDArray[np.float64]
TRAIN, HELD_OUT = 1000, 2000


def simulated(likelihood: str, seed: int) -> tuple[Array, Array]:
    """Answers and targets as the model has them: the answers are given, and the truth is the other one for every tenth."""
    random = np.random.default_rng(seed)
    answers = (random.random((TRAIN + HELD_OUT, 4)) < 0.4).astype(float)
    truth = np.where(random.random(answers.shape) < 0.1, 1 - answers, answers)
    location = truth @ np.array([1.5, -1.0, 0.8, 0.5])
    if likelihood == "poisson":
        return answers, random.poisson(np.exp(3 + location)).astype(float)
    noise = random.normal(size=len(location)) if likelihood == "gaussian" else random.standard_t(4, size=len(location))
    return answers, location + 0.5 * noise


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
@pytest.mark.parametrize("inference", ["coordinate", "enumeration"])
def test_intervals_cover(likelihood: str, inference: str) -> None:
    answers, targets = simulated(likelihood, seed=0)
    result = fit(answers[:TRAIN], targets[:TRAIN], likelihood=likelihood, inference=inference, steps=30)
    outcome = result.predict_interval(answers[TRAIN:], level=0.9)
    inside = (targets[TRAIN:] >= outcome.lower[:, 0]) & (targets[TRAIN:] <= outcome.upper[:, 0])
    assert 0.87 < inside.mean() < 0.93
