"""How well predictions meet targets, in the user's units."""

from __future__ import annotations

import numpy as np

from genz_ppl.types import FloatArray


def error_metric(n_targets: int) -> str:
    """The metric of the learning curve: median absolute error for one target, cosine similarity for a vector."""
    return "median_absolute_error" if n_targets == 1 else "cosine"


def scores(targets: FloatArray, predicted: FloatArray) -> dict[str, float]:
    """r2, median_absolute_error, rmse and, where y is a vector, cosine; all (T, D), NaN targets left out.

    r2 is averaged over targets; the others are over all entries. NaN where nothing can be computed.
    """
    error = targets - predicted
    there = ~np.isnan(targets)
    if not there.any():
        return dict.fromkeys(("r2", "median_absolute_error", "rmse"), float("nan"))
    result = {
        "r2": r2(targets, predicted),
        "median_absolute_error": float(np.median(np.abs(error[there]))),
        "rmse": float(np.sqrt(np.mean(error[there] ** 2))),
    }
    if targets.shape[1] > 1:
        result["cosine"] = cosine(targets, predicted)
    return result


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
