"""Likelihoods with parameters, targets of their kind and a link's values, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genz_ppl.inference import isolated
from genz_ppl.models import LIKELIHOODS, Likelihood

CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A started likelihood whose parameters were then moved. loc: (T, L); targets: (T, D), NaN where not observed."""

    likelihood: Likelihood
    loc: Tensor
    targets: Tensor

    @property
    def observed(self) -> Tensor:
        """(T, D) bool."""
        return ~torch.isnan(self.targets)

    @property
    def filled(self) -> Tensor:
        """Targets with a value of their kind where there is none."""
        return torch.nan_to_num(self.targets)


@pytest.fixture
def apart() -> Iterator[None]:
    """Parameters of Pyro modules are read and set inside `isolated` only."""
    with isolated(0):
        yield


@pytest.fixture(scope="session")
def targets_of() -> Callable[..., Tensor]:
    """Complete targets as a likelihood wants them, (T, D): real, counts, 0 and 1, or classes 0 to 2."""

    def make(name: str, n_items: int = 60, n_targets: int = 3, seed: int = 0) -> Tensor:
        random = np.random.default_rng(seed)
        shape = (n_items, n_targets)
        if name in ("poisson", "negative_binomial"):
            values: Any = random.poisson(random.gamma(2.0, [1.0, 3.0, 0.5][:n_targets], size=shape))
        elif name == "bernoulli":
            values = random.random(shape) < [0.3, 0.5, 0.8][:n_targets]
        elif name == "categorical":
            values = random.choice(CLASSES, p=[0.5, 0.3, 0.2], size=shape)
        else:
            values = random.normal(size=shape)
            values = (values - values.mean(0)) / values.std(0)
        return torch.from_numpy(np.asarray(values, dtype=np.float64))

    return make


@pytest.fixture(scope="session")
def case(targets_of: Callable[..., Tensor]) -> Callable[..., Case]:
    """A likelihood by name with parameters that are not the best ones, and something missing if asked."""

    def make(name: str, n_items: int = 60, n_targets: int = 3, seed: int = 0, missing: float = 0.0, moved: float = 0.4) -> Case:
        random = np.random.default_rng(seed + 1000)
        targets = targets_of(name, n_items, n_targets, seed)
        with isolated(seed):
            likelihood = LIKELIHOODS[name].sized(n_targets, CLASSES)
            likelihood.start(targets, torch.ones_like(targets, dtype=torch.bool))
            with torch.no_grad():
                for parameter in likelihood.parameters():
                    # The isotropic likelihood keeps one number D times over.
                    shape = 1 if name == "isotropic" else tuple(parameter.shape)
                    parameter += moved * torch.from_numpy(random.normal(size=shape))
            loc = 0.7 * torch.from_numpy(random.normal(size=(n_items, likelihood.n_locations)))
        targets[torch.from_numpy(random.random(targets.shape) < missing)] = float("nan")
        return Case(likelihood, loc, targets)

    return make
