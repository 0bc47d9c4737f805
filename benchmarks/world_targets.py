"""Counts and classes for `worlds.py`, and how much of their deviance a run explains."""

from __future__ import annotations

from typing import Any

import numpy as np

from genz_ppl import Discovery, Items
from genz_ppl.diagnostics.class_measures import SMALLEST
from genz_ppl.diagnostics.measures import deviance
from genz_ppl.inference import fit
from genz_ppl.types import FloatArray

KINDS = ("poisson", "negative_binomial", "bernoulli", "categorical")
# Mean count of an item with average features, spread of log counts and of log odds, concentration, classes.
MEAN, LOG_COUNTS, LOG_ODDS, CONCENTRATION, CLASSES = 3.0, 0.7, 2.5, 3.0, 3
CLASS_NAMES = ("red", "green", "blue")


def drawn_values(kind: str, signal: FloatArray, random: np.random.Generator) -> FloatArray:
    """What the likelihood takes, log rates, (T, 1), or log odds, (T, classes). signal: (T, F), the true features."""
    n_contrasts = CLASSES if kind == "categorical" else 1
    size = (signal.shape[1], n_contrasts)
    eta = signal @ (random.choice([-1.0, 1.0], size) * random.uniform(0.5, 1.5, size))
    eta = (eta - eta.mean(0)) / eta.std(0)
    if kind in ("bernoulli", "categorical"):
        return LOG_ODDS * (np.column_stack([0.0 * eta, eta]) if kind == "bernoulli" else eta)
    values: FloatArray = np.log(MEAN) + LOG_COUNTS * eta
    return values


def drawn_targets(kind: str, values: FloatArray, random: np.random.Generator) -> Any:
    """y, (T, 1): counts, or classes by name. values: of `drawn_values`."""
    if kind in ("bernoulli", "categorical"):
        chosen = (values + random.gumbel(size=values.shape)).argmax(1)
        return np.array(CLASS_NAMES)[chosen][:, None]
    rate = np.exp(values)
    if kind == "negative_binomial":
        rate = rate * random.gamma(CONCENTRATION, 1 / CONCENTRATION, rate.shape)
    return random.poisson(rate).astype(np.float64)


def share_explained(run: Discovery, items: Items) -> float:
    """Of the test items, how much of the deviance of the training mean a run's predictions take away."""
    split = items.split_indices(int(run.settings["seed"]), 0.2)
    test, train = items.take(split.test), items.take(split.train)
    predicted = run.predict(test)
    names = [name for name in predicted if str(name).startswith("probability_") or str(name).endswith("mean")]
    return share_taken(test, train, predicted[names].to_numpy(dtype=np.float64))


def share_of_true(run: Discovery, items: Items, answers: FloatArray, kind: str) -> float:
    """The same for a fit of the likelihood that made y, on answers, (T, F), to the true features."""
    split = items.split_indices(int(run.settings["seed"]), 0.2)
    assert items.targets is not None
    found = fit(answers[split.train], items.targets[split.train], likelihood=kind)
    return share_taken(items.take(split.test), items.take(split.train), found.predict(answers[split.test]))


def share_taken(test: Items, train: Items, predicted: FloatArray) -> float:
    """How much of the deviance of the training mean predictions take away: mean counts, (T, 1), or chances of classes, (T, L)."""
    assert test.targets is not None
    assert train.targets is not None
    y, mean = test.targets[:, 0], float(train.targets.mean())
    if test.class_names:
        codes = y.astype(int)
        n_classes = len(test.class_names[0])
        if predicted.shape[1] == 1:
            predicted = np.column_stack([1 - predicted, predicted])
        guess = np.bincount(train.targets[:, 0].astype(int), minlength=n_classes) / len(train)
        losses = [
            -np.log(np.maximum(p[np.arange(len(codes)), codes], SMALLEST)) for p in (predicted, np.tile(guess, (len(y), 1)))
        ]
        return float(1 - losses[0].sum() / losses[1].sum())
    return 1 - deviance(test.targets, predicted) / deviance(test.targets, np.full_like(test.targets, mean))
