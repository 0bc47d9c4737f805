"""How well predictions meet targets, in the user's units: numbers, counts and classes.

Targets are in the form of predictions, (T, L), NaN where missing: where y is a class, indicators of 0 and 1, and predictions
their probabilities. What cannot be computed is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz_ppl.inference.isolation import isolated
from genz_ppl.models import Likelihood, NegativeBinomialLikelihood
from genz_ppl.settings import CLASS_LIKELIHOODS
from genz_ppl.types import FloatArray, IntArray, Numbers

#: What is measured of classes, beside the own metric of a likelihood.
CLASS_MEASURES = ("accuracy", "balanced_accuracy", "auc", "log_loss", "brier")
# Parts of [0, 1] that a calibration curve has points for, and bars of a rootogram at most.
BINS, MOST_BARS = 10, 24
# So many different values at most, each on so many items in the mean, are few. Of more items the first ones tell.
FEW_VALUES, ITEMS_A_VALUE, MANY_VALUES = 20, 5, 10_000
# Items of very many that are looked at together.
PART = 1 << 16
# Predictions of 0 for what then happens must not be infinitely bad.
SMALLEST = 1e-12


def error_metric(targets: FloatArray) -> str:
    """The metric of the learning curve for targets, (T, D): cosine similarity of vectors, of a number the median absolute error.

    Of a number with few values, a rating, the root mean squared error: the median of so few different errors is about the most
    common value only, and gets worse where a prediction leaves it for a better mean.
    """
    if targets.shape[1] > 1:
        return "cosine"
    known = targets[:MANY_VALUES][~np.isnan(targets[:MANY_VALUES])]
    few = len(np.unique(known)) <= min(FEW_VALUES, len(known) / ITEMS_A_VALUE)
    return "rmse" if few else "median_absolute_error"


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


@dataclass(frozen=True)
class ClassTarget:
    """A target that is one of C classes. labels: their names; actual: (T,), those that came, by number; chances: (T, C)."""

    name: str
    labels: tuple[str, ...]
    actual: IntArray
    chances: FloatArray

    @property
    def likeliest(self) -> IntArray:
        """(T,), the most probable class of each item, of equally probable ones the first."""
        found: IntArray = self.chances.argmax(axis=1)
        return found

    def came(self, label: int) -> FloatArray:
        """(T,), 1 where this class came, else 0."""
        found: FloatArray = (self.actual == label).astype(np.float64)
        return found


def class_targets(
    likelihood: Likelihood,
    targets: FloatArray,
    predicted: FloatArray,
    names: Sequence[str] = (),
    labels: Sequence[Sequence[str]] = (),
) -> list[ClassTarget]:
    """Targets and predictions of a likelihood of classes target by target, items without it left out.

    names: of the targets; labels: see `class_chances`.
    """
    found = []
    for d in range(likelihood.n_targets):
        (came, known), (chances, _) = (class_chances(likelihood, values, d, labels) for values in (targets, predicted))
        there = ~np.isnan(came[:, 0])
        found.append(ClassTarget(names[d] if names else str(d), known, came[there].argmax(axis=1), chances[there]))
    return found


def class_chances(
    likelihood: Likelihood, predicted: FloatArray, target: int, labels: Sequence[Sequence[str]] = ()
) -> tuple[FloatArray, tuple[str, ...]]:
    """The probabilities of all C classes of a target, (T, C), from predictions, (T, L), and the names of the classes.

    labels: the names of the classes of each target, by default 0, 1, ...
    """
    width = likelihood.n_locations // likelihood.n_targets
    chances = predicted[:, target * width : (target + 1) * width]
    if width == 1:  # the first of two classes is left out
        chances = np.hstack([1 - chances, chances])
    known = tuple(labels[target]) if labels else tuple(map(str, range(chances.shape[1])))
    # A target with fewer classes than another one is given probabilities of classes that it does not have.
    return chances[:, : len(known)], known


def class_measures(targets: Sequence[ClassTarget]) -> dict[str, float]:
    """`CLASS_MEASURES`; balanced_accuracy and auc averaged over targets, the others over all entries."""
    entries = sum(len(target.actual) for target in targets)

    def over_entries(measure: Callable[[ClassTarget], FloatArray]) -> float:
        return sum(float(measure(target).sum()) for target in targets) / entries if entries else float("nan")

    return {
        "accuracy": over_entries(lambda target: (target.likeliest == target.actual).astype(np.float64)),
        "balanced_accuracy": _mean([balanced_accuracy(target) for target in targets]),
        "auc": _mean([class_auc(target) for target in targets]),
        "log_loss": over_entries(lambda target: -np.log(np.clip(_of_what_came(target), SMALLEST, 1.0))),
        "brier": over_entries(brier),
    }


def balanced_accuracy(target: ClassTarget) -> float:
    """The share of items whose most probable class came, of each class that came at all, averaged over these."""
    right = target.likeliest == target.actual
    return _mean([float(right[target.actual == label].mean()) for label in np.unique(target.actual)])


def class_auc(target: ClassTarget) -> float:
    """Of two classes the area under the ROC curve, see `auc`; of more the mean over classes against all others.

    Classes that no item has, or all have, are left out.
    """
    labels = range(1 if len(target.labels) == 2 else 0, len(target.labels))
    return _mean([auc(target.came(label), target.chances[:, label]) for label in labels])


def auc(values: FloatArray, predicted: FloatArray) -> float:
    """P(a one is ranked above a zero), ties as halves; NaN unless both occur. values: (T,) of 0 and 1."""
    from scipy.stats import rankdata

    ones = values > 0.5
    n_ones, n_zeros = int(ones.sum()), int((~ones).sum())
    if not n_ones or not n_zeros:
        return float("nan")
    return float((rankdata(predicted)[ones].sum() - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros))


def brier(target: ClassTarget) -> FloatArray:
    """(T,), squared distances of the probabilities to what came; of two classes half of it, that of either alone."""
    came = np.stack([target.came(label) for label in range(len(target.labels))], axis=1)
    each: FloatArray = ((target.chances - came) ** 2).sum(axis=1)
    halves = 2 if len(target.labels) == 2 else 1
    return each / halves


def confusion(target: ClassTarget) -> IntArray:
    """(C, C), how many items have the class of a row and are given that of a column as their most probable one."""
    counts = np.zeros((len(target.labels),) * 2, dtype=np.int64)
    np.add.at(counts, (target.actual, target.likeliest), 1)
    return counts


def calibration(came: FloatArray, chances: FloatArray) -> list[tuple[float, float, int]]:
    """Mean probability, share that came, and number of items, of those in each tenth of the probabilities that has any.

    came: (T,), 1 or 0, NaN where missing; chances: (T,).
    """
    there = ~np.isnan(came)
    came, chances = came[there], chances[there]
    place = np.minimum((chances * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            found.append((float(chances[inside].mean()), float(came[inside].mean()), int(inside.sum())))
    return found


def class_tables(targets: Sequence[ClassTarget]) -> dict[str, Any]:
    """By target its confusion matrix and, by class, its calibration curve (of two classes that of the second)."""
    matrices = {one.name: {"classes": list(one.labels), "counts": confusion(one).tolist()} for one in targets}
    curves = {
        one.name: {
            label: calibration(one.came(number), one.chances[:, number])
            for number, label in enumerate(one.labels)
            if number > 0 or len(one.labels) > 2
        }
        for one in targets
    }
    return {"confusion": matrices, "calibration": curves}


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


def _of_what_came(target: ClassTarget) -> FloatArray:
    """(T,), the probability of each item's class."""
    found: FloatArray = target.chances[np.arange(len(target.actual)), target.actual]
    return found


def _mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
