"""How well predictions meet targets, in the user's units: numbers, counts and classes.

Targets are in the form of predictions, (T, L), NaN where missing: where y is a class, indicators of 0 and 1, and predictions
their probabilities. What cannot be computed is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genz_ppl.diagnostics.class_measures import SMALLEST, class_measures, class_targets
from genz_ppl.inference.isolation import isolated
from genz_ppl.models import Likelihood, NegativeBinomialLikelihood
from genz_ppl.settings import CLASS_LIKELIHOODS
from genz_ppl.types import FloatArray, Numbers

# Bars of a rootogram at most.
MOST_BARS = 24
# So many different values at most, each on so many items in the mean, are few. Of more items the first ones tell.
FEW_VALUES, ITEMS_A_VALUE, MANY_VALUES = 20, 5, 10_000
# Standard deviations of the numbers of one vector are within such a factor, and its mean is less like it than that.
MOST_APART, ALIKE = 10.0, 0.9
# Items of very many that are looked at together.
PART = 1 << 16


def error_metric(targets: FloatArray, is_embedding: bool = False) -> str:
    """The metric of the learning curve for targets, (T, D): cosine similarity of vectors, of a number the median absolute error.

    Of several numbers that are not one vector, a price and a rating, R2, the mean of theirs: the angle between such rows is that
    of the number with the largest unit, and hardly changes where all are far from 0. Of a number with few values, a rating, the
    root mean squared error: the median of so few different errors is about the most common value only, and gets worse where a
    prediction leaves it for a better mean.
    """
    if targets.shape[1] > 1:
        return "cosine" if is_embedding or _is_vector(targets) else "r2"
    known = targets[:MANY_VALUES][~np.isnan(targets[:MANY_VALUES])]
    few = len(np.unique(known)) <= min(FEW_VALUES, len(known) / ITEMS_A_VALUE)
    return "rmse" if few else "median_absolute_error"


def _is_vector(targets: FloatArray) -> bool:
    """Whether targets, (T, D), are of one size and point in more than one direction."""
    rows = targets[~np.isnan(targets).any(axis=1)]
    spread, centre = rows.std(axis=0) if len(rows) else np.zeros(0), rows.mean(axis=0, keepdims=True) if len(rows) else rows
    varying = spread[spread > 0]
    if not len(varying):
        return True
    return bool(varying.max() < MOST_APART * varying.min() and cosine(rows, np.repeat(centre, len(rows), axis=0)) < ALIKE)


def kind_of(likelihood: Likelihood) -> str:
    """What a likelihood is for: "numbers", "counts" or "classes"."""
    if likelihood.standardised:
        return "numbers"
    return "classes" if likelihood.is_of_classes or likelihood.name in CLASS_LIKELIHOODS else "counts"


def measures(likelihood: Likelihood, targets: Numbers, predicted: Numbers) -> dict[str, float]:
    """`scores`, of classes also `class_measures`, and with a negative binomial its own deviance beside Poisson's."""
    found = scores(targets, predicted, likelihood.metric)
    if isinstance(likelihood, NegativeBinomialLikelihood):
        with isolated(0):  # outside, Pyro's global store might put another model's into its place
            concentration = likelihood.concentration.detach().cpu().numpy()
        found["negative_binomial_deviance"] = negative_binomial_deviance(*exact(targets, predicted), concentration)
    if kind_of(likelihood) == "classes":
        found = class_measures(class_targets(likelihood, *exact(targets, predicted))) | found
    return found


def exact(one: Numbers, other: Numbers) -> tuple[FloatArray, FloatArray]:
    """Both as float64."""
    return one.astype(np.float64, copy=False), other.astype(np.float64, copy=False)


def scores(targets: Numbers, predicted: Numbers, metric: str | None = None) -> dict[str, float]:
    """r2, median_absolute_error, rmse, where y is a vector cosine, and the likelihood's own metric.

    r2 is averaged over targets; the others are over all entries.
    """
    names = ["r2", "median_absolute_error", "rmse"]
    if targets.shape[1] > 1 and not np.isnan(targets).all():
        names.append("cosine")
    return {name: score(targets, predicted, name) for name in [*names, *([metric] if metric else [])]}


def score(targets: Numbers, predicted: Numbers, metric: str) -> float:
    """One metric of `scores`; NaN where nothing can be computed. Of float32 both are looked at part by part."""
    if targets.dtype == np.float32 and metric in ("rmse", "median_absolute_error"):
        return _error_in_parts(targets, predicted, metric)
    there = ~np.isnan(targets)
    if not there.any():
        return float("nan")
    if metric in ("r2", "cosine"):
        return (r2 if metric == "r2" else cosine)(targets, predicted)
    if metric == "rmse":
        return float(np.sqrt(np.mean((targets - predicted)[there] ** 2)))
    if metric == "median_absolute_error":
        return float(np.median(np.abs(targets - predicted)[there]))
    return OWN_METRICS[metric](*exact(targets[there], predicted[there]))


def _error_in_parts(targets: Numbers, predicted: Numbers, metric: str) -> float:
    """rmse or median_absolute_error with little beside the arrays; NaN where nothing can be computed."""
    errors, known, total = np.empty(targets.size if metric != "rmse" else 0, dtype=np.float32), 0, 0.0
    for start in range(0, len(targets), PART):
        rows = slice(start, start + PART)
        error = targets[rows].astype(np.float64) - predicted[rows]
        error = np.abs(error[~np.isnan(error)])
        if metric == "rmse":
            total += float(error @ error)
        else:
            errors[known : known + len(error)] = error
        known += len(error)
    if known == 0:
        return float("nan")
    return float(np.sqrt(total / known)) if metric == "rmse" else float(np.median(errors[:known], overwrite_input=True))


def r2(targets: Numbers, predicted: Numbers) -> float:
    """Share of variance explained, averaged over targets that vary; NaN if none does."""
    values = []
    for y, fitted in zip(targets.T, predicted.T, strict=True):
        y, fitted = exact(y, fitted)
        there = ~np.isnan(y)
        total = float(((y[there] - y[there].mean()) ** 2).sum()) if there.any() else 0.0
        if total > 0:
            values.append(1 - float(((y[there] - fitted[there]) ** 2).sum()) / total)
    return float(np.mean(values)) if values else float("nan")


def cosine(targets: Numbers, predicted: Numbers) -> float:
    """Mean cosine similarity between predicted and true vectors; items with a missing entry or a zero vector left out."""
    size = PART if targets.dtype == np.float32 else max(1, len(targets))
    parts = [_cosines(targets[start : start + size], predicted[start : start + size]) for start in range(0, len(targets), size)]
    found = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.mean(found)) if len(found) else float("nan")


def _cosines(targets: Numbers, predicted: Numbers) -> FloatArray:
    """Of the items that have one."""
    whole = ~np.isnan(targets).any(axis=1)
    y, fitted = exact(targets[whole], predicted[whole])
    size = np.linalg.norm(y, axis=1) * np.linalg.norm(fitted, axis=1)
    dot = (y * fitted).sum(axis=1)
    found: FloatArray = dot[size > 0] / size[size > 0]
    return found


def mean_absolute_error(targets: FloatArray, predicted: FloatArray) -> float:
    """Of laplace: what its noise scale measures."""
    return float(np.mean(np.abs(targets - predicted)))


def deviance(targets: FloatArray, predicted: FloatArray) -> float:
    """Mean Poisson deviance of expected counts: 0 where they are the counts."""
    expected = np.maximum(predicted, SMALLEST)
    ratio = np.where(targets > 0, targets, 1.0) / np.where(targets > 0, expected, 1.0)
    return float(np.mean(2 * (targets * np.log(ratio) - targets + expected)))


def negative_binomial_deviance(targets: FloatArray, predicted: FloatArray, concentration: FloatArray) -> float:
    """Mean deviance of expected counts m where the variance is m + m^2 / concentration, (D,): 0 where they are the counts.

    With k the concentration, 2 (y log(y / m) - (y + k) log((y + k) / (m + k))); for large k Poisson's.
    """
    there = ~np.isnan(targets)
    if not there.any():
        return float("nan")
    y, m, k = targets[there], np.maximum(predicted[there], SMALLEST), np.broadcast_to(concentration, targets.shape)[there]
    own = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / m), 0.0)
    return float(np.mean(2 * (own - (y + k) * np.log1p((y - m) / (m + k)))))


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


def rootogram(counts: FloatArray, drawn: FloatArray) -> dict[str, list[float]]:
    """How many items have a count from each of "from" to below the next one ("and more" at the last), and are expected to.

    counts: (T,), NaN where missing; drawn: (S, T), counts that the model makes for the same items.
    """
    there = ~np.isnan(counts)
    highest = int(counts[there].max(initial=0))
    lowest = np.arange(0, highest + 1, highest // MOST_BARS + 1)

    def frequencies(values: FloatArray) -> FloatArray:
        places = np.searchsorted(lowest, values.ravel(), side="right") - 1
        return np.bincount(places, minlength=len(lowest)).astype(np.float64)

    expected = frequencies(drawn[:, there]) / max(1, len(drawn))
    return {"from": lowest.tolist(), "observed": frequencies(counts[there]).tolist(), "expected": expected.tolist()}
