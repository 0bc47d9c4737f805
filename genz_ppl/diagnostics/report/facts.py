"""What a report says about a run, as plain values: computed once, then written as HTML or drawn as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.diagnostics.class_measures import ClassTarget
from genz_ppl.diagnostics.report.steps import Step
from genz_ppl.diagnostics.summary import LARGER_IS_BETTER, Ceiling, Summary
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its fit.

    features, curve: the tables of the run. texts: what a model read, by item id. scores: metrics by name of "train" and
    "test", and of always guessing the training mean, "guess_train" and "guess_test". settings, versions: as recorded.
    baseline: (number of features, test error) of the 0-shot baseline's pruning curve, may be empty. summary, ceiling: where they
    are known. confirmed: what is on items that chose no question, see `confirmed_words`; fresh: of one target
    of numbers the effects found there by question, with their 95 % intervals (effect, lower, upper). Both empty where not known.
    rest: training items that are in the last fit alone.
    """

    data_name: str
    features: pd.DataFrame
    curve: pd.DataFrame
    texts: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    status: str
    baseline: tuple[tuple[int, float], ...] = ()
    summary: Summary | None = None
    ceiling: Ceiling | None = None
    confirmed: tuple[str, ...] = ()
    fresh: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    rest: int = 0


@dataclass(frozen=True)
class Example:
    """An item by its id, what a model reads of it, and its target in words (empty where there are several)."""

    id: str
    text: str
    target: str


@dataclass(frozen=True)
class FeatureFacts:
    """An active feature. effect, lower, upper: as in the table of a run's features (over several columns the strength).

    effects, effect_sd: by column, see `FeatureEffects`; NaN where not known. changes: of the predictions, by column.
    wrong: shares of answers yes and of answers no that are, where they were fitted apart; raters: of several annotators by name.
    """

    number: int
    text: str
    error_rate: float
    prevalence: float
    gain: float
    loose: bool
    effect: float
    lower: float
    upper: float
    effects: tuple[float, ...]
    effect_sd: tuple[float, ...]
    changes: tuple[float, ...]
    yes: tuple[Example, ...]
    no: tuple[Example, ...]
    wrong: tuple[float, ...] = ()
    raters: tuple[tuple[str, float], ...] = ()

    @property
    def strength(self) -> float:
        """The size of its effect."""
        return abs(self.effect)


@dataclass(frozen=True)
class Contradiction:
    """An answer that the posterior holds to be wrong. q: its probability that the true answer is yes."""

    item: Example
    feature: str
    answer: int
    q: float


@dataclass(frozen=True)
class Column:
    """A target, or a class of one, on both sides of the split: what came and what was predicted (NaN where missing).

    edges, observed, drawn, low, high: a histogram of the training items, and of data drawn from the model its mean and the
    range of nine in ten.
    """

    name: str
    actual: Mapping[str, FloatArray]
    predicted: Mapping[str, FloatArray]
    edges: FloatArray
    observed: FloatArray
    drawn: FloatArray
    low: FloatArray
    high: FloatArray

    def r2(self, side: str) -> float:
        """Share of the variance explained; NaN where the targets do not vary."""
        there = ~np.isnan(self.actual[side])
        y, predicted = self.actual[side][there], self.predicted[side][there]
        total = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
        return 1 - float(((y - predicted) ** 2).sum()) / total if total > 0 else float("nan")


@dataclass(frozen=True)
class GroupLevels:
    """Groups that covariate weights vary by: their names, and level and its standard deviation for each column, (G, L)."""

    names: tuple[str, ...]
    level: FloatArray
    sd: FloatArray


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows. kind: "numbers", "counts" or "classes". unit: of effects, "log rate" or "log-odds"; "" where
    it is that of the predictions. classes: by side the targets that are classes; coverage: by side and level, empty for classes.

    varying: the column that covariate weights vary by, "" where they do not; groups: those it makes.
    """

    facts: RunFacts
    kind: str
    link: str
    unit: str
    metric: str
    target_names: tuple[str, ...]
    covariate_names: tuple[str, ...]
    varying: str
    groups: GroupLevels | None
    item_ids: Mapping[str, tuple[str, ...]]
    features: tuple[FeatureFacts, ...]
    steps: tuple[Step, ...]
    contradictions: tuple[Contradiction, ...]
    n_contradictions: int
    n_answers: int
    n_unanswered: int
    columns: tuple[Column, ...]
    classes: Mapping[str, tuple[ClassTarget, ...]]
    check: pd.DataFrame
    coverage: Mapping[str, Mapping[float, float]]

    @property
    def higher_is_better(self) -> bool:
        """Of the learning curve's metric."""
        return self.metric in LARGER_IS_BETTER

    @property
    def n_items(self) -> dict[str, int]:
        """Items on either side of the split."""
        return {side: len(ids) for side, ids in self.item_ids.items()}
