"""How well predicted probabilities of classes meet the classes that came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz_ppl.models import Likelihood
from genz_ppl.types import FloatArray, IntArray

#: What is measured of classes, beside the own metric of a likelihood.
CLASS_MEASURES = ("accuracy", "balanced_accuracy", "auc", "log_loss", "brier")
# Parts of [0, 1] that a calibration curve has points for.
BINS = 10
# Predictions of 0 for what then happens must not be infinitely bad.
SMALLEST = 1e-12


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


def _of_what_came(target: ClassTarget) -> FloatArray:
    """(T,), the probability of each item's class."""
    found: FloatArray = target.chances[np.arange(len(target.actual)), target.actual]
    return found


def _mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
