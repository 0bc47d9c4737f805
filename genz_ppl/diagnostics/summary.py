"""What a run comes to, said everywhere alike: its errors beside those of the same model without questions, and of guessing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from genz_ppl.output import plural

NAN = float("nan")
#: Metrics of which more is better; of them improvements are differences, of the others shares.
LARGER_IS_BETTER = frozenset({"cosine", "r2"})
_IN_WORDS = {"cosine": "cosine similarity", "r2": "R2", "rmse": "root mean squared error"}
_OF_CLASSES = ("accuracy", "guess_accuracy", "auc")
# A ceiling below this is none.
SMALLEST_CEILING = 0.02


@dataclass(frozen=True)
class Summary:
    """Errors by the metric of the learning curve on test items, training items beside them; NaN where not known.

    without: of the model with covariates and groups but no question; guess: of always predicting the training mean (shares of
    classes). improvement: the share of the error without questions that they take away (of a metric of which more is better the
    difference), with the bounds of a 90 % bootstrap interval over test items (of few there is none). r2: of the test items, over
    targets; r2_without: of numbers, that of the model without questions. accuracy, guess_accuracy, auc: of the test items where
    y is a class, see `genz_ppl.diagnostics.measures`. noise_ratio: the scale of the noise on new items over
    that on the items which the questions were chosen on, see `genz_ppl.inference.worth.optimism`; the model has it in.
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
    accuracy: float = NAN
    guess_accuracy: float = NAN
    auc: float = NAN
    noise_ratio: float = 1.0
    r2_without: float = NAN

    @property
    def is_of_classes(self) -> bool:
        """Whether y is a class, as far as is known."""
        return math.isfinite(self.accuracy)

    @property
    def helps(self) -> bool:
        """Whether predictions for test items are better with the questions than without, by the metric or by their variance: a
        median may get worse where most items are predicted better. An R2 below 0 says that they are predicted worse."""
        return not self.improvement <= 0 or (self.r2 > self.r2_without and self.r2 > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, None where not known; without what is known of classes only, where y is none."""
        values = {name: None if value != value else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if self.is_of_classes or name not in _OF_CLASSES}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Summary:
        """The reverse of `to_dict`."""
        known: dict[str, Any] = {name: NAN if value is None else value for name, value in values.items()}
        return cls(**known)

    def line(self) -> str:
        """All of it in one line."""
        name = _IN_WORDS.get(self.metric, self.metric.replace("_", " "))
        counted = plural(self.n_features, "feature")
        parts = [f"{counted}; {name} {shown(self.test)} on test items, {shown(self.train)} on training items"]
        beside = []
        if math.isfinite(self.without) and self.n_features > 0:
            beside.append(f"{shown(self.without)} without questions{self.improvement_words()}")
        if math.isfinite(self.guess):
            beside.append(f"{shown(self.guess)} by guessing")
        if beside:
            parts.append(f"on test items {', '.join(beside)}")
        if self.is_of_classes:
            right, guessed = (f"{100 * share:.3g} %" for share in (self.accuracy, self.guess_accuracy))
            parts.append(f"accuracy {right}, {guessed} by guessing")
            parts += [f"AUC {self.auc:.3g}"] if math.isfinite(self.auc) else []
        elif math.isfinite(self.r2) and self.metric != "r2":
            parts.append(f"R2 {self.r2:.3g}")
        return "; ".join(parts)

    def improvement_words(self) -> str:
        """ " (62 % less, 90 % interval 54 to 69 %)": what the questions change; empty where it is not known."""
        if not math.isfinite(self.improvement):
            return ""
        between = math.isfinite(self.lower)
        if self.metric in LARGER_IS_BETTER:
            ends = f", 90 % interval {self.lower:+.3f} to {self.upper:+.3f}" if between else ""
            return f" ({self.improvement:+.3f}{ends})"
        word = "less" if self.improvement >= 0 else "more"
        sign = 1 if self.improvement >= 0 else -1
        low, high = sorted((sign * self.lower, sign * self.upper))
        ends = f", 90 % interval {100 * low:z.0f} to {100 * high:z.0f} %" if between else ""
        return f" ({100 * abs(self.improvement):.0f} % {word}{ends})"


def shown(value: float) -> str:
    """Four digits; "-" for NaN."""
    return "-" if value != value else f"{value:.4g}"


@dataclass(frozen=True)
class Ceiling:
    """What a model that reads everything reaches on the same split. best, ours: R2, or of classes the share of the log loss of
    guessing that is taken away, on test items, of `name` and of the run."""

    name: str
    best: float
    ours: float

    def line(self, n_features: int) -> str:
        """In words."""
        subject = "this question explains" if n_features == 1 else f"these {n_features} questions explain"
        if self.best < SMALLEST_CEILING <= self.ours:
            return f"{subject} {self.ours:.3g} on test items, where {self.name} finds nothing"
        if self.best < SMALLEST_CEILING:
            return f"{self.name} explains next to nothing of the test items either ({self.best:.2f})"
        if self.ours <= 0:
            return f"{self.name} explains {100 * self.best:.0f} % on test items; these questions nothing"
        share = self.ours / self.best
        return f"{subject} {100 * share:.0f} % of what {self.name} does ({self.ours:.3g} of {self.best:.3g})"
