"""A small two-sided world with known features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz_ppl.types import FloatArray, Pairs


@dataclass(frozen=True)
class World:
    """Answers and true weights of both sides, all values x, (N1, N2), and which of them are observed."""

    answers: tuple[FloatArray, FloatArray]
    weights: tuple[FloatArray, FloatArray]
    values: FloatArray
    observed: np.ndarray

    def pairs(self, observed: bool = True) -> Pairs:
        """The pairs that are observed, or those that are not."""
        rows, columns = np.nonzero(self.observed == observed)
        return Pairs(rows, columns, self.values[rows, columns], *self.values.shape)

    @property
    def affinity(self) -> FloatArray:
        """(K1, K2), true."""
        first, second = self.weights
        return first[:, 1:] @ second[:, 1:].T


def make_world(seed: int, sizes: tuple[int, int] = (300, 200), density: float = 0.1, likelihood: str = "gaussian") -> World:
    """6 row and 5 column features, 4 dimensions, 5 % wrong answers, noise 0.3 on x and 0.2 on each embedding."""
    random = np.random.default_rng(seed)
    z = [(random.random((n, k)) < 0.4).astype(float) for n, k in zip(sizes, (6, 5), strict=True)]
    answers = [np.abs(one - (random.random(one.shape) < 0.05)) for one in z]
    weights = [random.normal(size=(one.shape[1], 5)) * np.array([0.3, 0.6, 0.6, 0.6, 0.6]) for one in z]
    y = [(one - one.mean(0)) @ w + 0.2 * random.normal(size=(len(one), 5)) for one, w in zip(z, weights, strict=True)]
    location = y[0][:, :1] + y[1][:, 0] + y[0][:, 1:] @ y[1][:, 1:].T
    if likelihood == "gaussian":
        values = location + 0.3 * random.normal(size=location.shape)
    elif likelihood == "bernoulli":
        values = (random.random(location.shape) < 1 / (1 + np.exp(-location))).astype(float)
    else:
        values = random.poisson(np.exp(np.clip(0.5 * location, -5, 3))).astype(float)
    return World((answers[0], answers[1]), (weights[0], weights[1]), values, random.random(values.shape) < density)
