"""What a run comes to, said everywhere alike: its errors beside those of the same model without questions, and of guessing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genz_ppl.discovery.metrics import score
from genz_ppl.types import FloatArray

NAN = float("nan")
# Resamples of the test items behind the interval of the improvement; fewer where they are many.
RESAMPLES, FEWEST_RESAMPLES, MANY_ITEMS = 1000, 200, 5000


@dataclass(frozen=True)
class Summary:
    """Errors by the metric of the learning curve on test items, training items beside them; NaN where not known.

    without: of the model with covariates and groups but no question; guess: of always predicting the training mean (shares of
    classes). improvement: the share of the error without questions that they take away (cosine: the difference), with the
    bounds of a 90 % bootstrap interval over test items. r2: of the test items, over targets.
    """

    n_features: int
    metric: str
    test: float
    train: float
    without: float = NAN
    guess: float = NAN
    r2: float = NAN
    improvement: float = NAN
    lower: float = NAN
    upper: float = NAN

    @property
    def helps(self) -> bool:
        """Whether predictions for test items are better with the questions than without."""
        return not self.improvement <= 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, None where not known."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Summary:
        """The reverse of `to_dict`."""
        return cls(**{name: NAN if value is None else value for name, value in values.items()})

    def line(self) -> str:
        """All of it in one line."""
        name = "cosine similarity" if self.metric == "cosine" else self.metric.replace("_", " ")
        counted = "1 feature" if self.n_features == 1 else f"{self.n_features} features"
        parts = [f"{counted}; {name} {shown(self.test)} on test items, {shown(self.train)} on training items"]
        beside = []
        if math.isfinite(self.without) and self.n_features > 0:
            beside.append(f"{shown(self.without)} without questions{self._gained()}")
        if math.isfinite(self.guess):
            beside.append(f"{shown(self.guess)} by guessing")
        if beside:
            parts.append(f"on test items {', '.join(beside)}")
        if math.isfinite(self.r2):
            parts.append(f"R2 {shown(self.r2)}")
        return "; ".join(parts)

    def _gained(self) -> str:
        if not math.isfinite(self.improvement):
            return ""
        if self.metric == "cosine":
            return f" ({self.improvement:+.3f}, 90 % interval {self.lower:+.3f} to {self.upper:+.3f})"
        word = "less" if self.improvement >= 0 else "more"
        sign = 1 if self.improvement >= 0 else -1
        low, high = sorted((sign * self.lower, sign * self.upper))
        return f" ({100 * abs(self.improvement):.0f} % {word}, 90 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def shown(value: float) -> str:
    """Four digits; "-" for NaN."""
    return "-" if value != value else f"{value:.4g}"


def improvement(
    targets: FloatArray, predicted: FloatArray, without: FloatArray, metric: str, seed: int
) -> tuple[float, float, float]:
    """By how much predictions, (T, L), are better than others for the same targets, and a 90 % interval of it.

    A share of the other error; of a cosine similarity the difference. The same items are drawn for both.
    """
    n_items = len(targets)
    if n_items == 0:
        return NAN, NAN, NAN
    found = _better(targets, predicted, without, metric)
    random = np.random.default_rng([seed, n_items])
    times = RESAMPLES if n_items <= MANY_ITEMS else FEWEST_RESAMPLES
    drawn = [random.integers(0, n_items, n_items) for _ in range(times)]
    values = np.array([_better(targets[rows], predicted[rows], without[rows], metric) for rows in drawn])
    values = values[np.isfinite(values)]
    lower, upper = np.quantile(values, [0.05, 0.95]) if len(values) else (NAN, NAN)
    return found, float(lower), float(upper)


def _better(targets: FloatArray, predicted: FloatArray, without: FloatArray, metric: str) -> float:
    one, other = score(targets, predicted, metric), score(targets, without, metric)
    if metric == "cosine":
        return one - other
    return 1 - one / other if other > 0 else 0.0 if one == other else NAN
