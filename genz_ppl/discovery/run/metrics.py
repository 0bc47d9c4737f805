"""How well predictions meet targets, in the user's units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genz_ppl.types import FloatArray


def error_metric(n_targets: int) -> str:
    """The metric of the learning curve: median absolute error for one target, cosine similarity for a vector."""
    return "median_absolute_error" if n_targets == 1 else "cosine"


def scores(targets: FloatArray, predicted: FloatArray, metric: str | None = None) -> dict[str, float]:
    """r2, median_absolute_error, rmse, where y is a vector cosine, and the likelihood's own metric; (T, D), NaN left out.

    r2 is averaged over targets; the others are over all entries. NaN where nothing can be computed. Where y is a class,
    targets are indicators of 0 and 1 and predictions their probabilities.
    """
    names = ["r2", "median_absolute_error", "rmse"]
    if targets.shape[1] > 1 and not np.isnan(targets).all():
        names.append("cosine")
    return {name: score(targets, predicted, name) for name in [*names, *([metric] if metric else [])]}


def score(targets: FloatArray, predicted: FloatArray, metric: str) -> float:
    """One metric of `scores`; NaN where nothing can be computed."""
    there = ~np.isnan(targets)
    if not there.any():
        return float("nan")
    if metric in ("r2", "cosine"):
        return (r2 if metric == "r2" else cosine)(targets, predicted)
    if metric == "rmse":
        return float(np.sqrt(np.mean((targets - predicted)[there] ** 2)))
    if metric == "median_absolute_error":
        return float(np.median(np.abs(targets - predicted)[there]))
    return OWN_METRICS[metric](targets[there], predicted[there])


def mean_absolute_error(targets: FloatArray, predicted: FloatArray) -> float:
    """Of laplace: what its noise scale measures."""
    return float(np.mean(np.abs(targets - predicted)))


def deviance(targets: FloatArray, predicted: FloatArray) -> float:
    """Mean Poisson deviance of expected counts: 0 where they are the counts."""
    expected = np.maximum(predicted, SMALLEST)
    ratio = np.where(targets > 0, targets, 1.0) / np.where(targets > 0, expected, 1.0)
    return float(np.mean(2 * (targets * np.log(ratio) - targets + expected)))


def log_loss(targets: FloatArray, predicted: FloatArray) -> float:
    """Mean of -log P(the outcome that came), in nats, for outcomes of 0 and 1."""
    probability = np.clip(np.where(targets > 0.5, predicted, 1 - predicted), SMALLEST, 1.0)
    return float(-np.mean(np.log(probability)))


def cross_entropy(targets: FloatArray, predicted: FloatArray) -> float:
    """Mean over items and targets of -log P(the class that came), in nats; only the indicators that are 1 count."""
    return float(-np.mean(np.log(np.clip(predicted[targets > 0.5], SMALLEST, 1.0))))


OWN_METRICS: dict[str, Callable[[FloatArray, FloatArray], float]] = {
    "mean_absolute_error": mean_absolute_error,
    "deviance": deviance,
    "log_loss": log_loss,
    "cross_entropy": cross_entropy,
}
# Predictions of 0 for what then happens must not be infinitely bad.
SMALLEST = 1e-12


def r2(targets: FloatArray, predicted: FloatArray) -> float:
    """Share of variance explained, averaged over targets that vary; NaN if none does."""
    values = []
    for y, fitted in zip(targets.T, predicted.T, strict=True):
        there = ~np.isnan(y)
        total = float(((y[there] - y[there].mean()) ** 2).sum()) if there.any() else 0.0
        if total > 0:
            values.append(1 - float(((y[there] - fitted[there]) ** 2).sum()) / total)
    return float(np.mean(values)) if values else float("nan")


def cosine(targets: FloatArray, predicted: FloatArray) -> float:
    """Mean cosine similarity between predicted and true vectors; items with a missing entry or a zero vector left out."""
    whole = ~np.isnan(targets).any(axis=1)
    y, fitted = targets[whole], predicted[whole]
    size = np.linalg.norm(y, axis=1) * np.linalg.norm(fitted, axis=1)
    dot = (y * fitted).sum(axis=1)
    return float(np.mean(dot[size > 0] / size[size > 0])) if (size > 0).any() else float("nan")
