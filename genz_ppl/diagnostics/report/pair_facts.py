"""What a report says about a run on two sides, as plain values: computed once, then written as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from genz_ppl.diagnostics.report.facts import Example
from genz_ppl.types import FloatArray

#: The parts of the pairs as they are called in a report: after "On 12 …", and at the head of a row.
PAIR_PART_NAMES = {
    "train": ("pairs used for fitting", "used for fitting"),
    "held_out": ("pairs that were kept aside, of rows and columns with other pairs", "kept aside"),
    "new_rows": ("pairs of new rows", "of new rows"),
    "new_columns": ("pairs of new columns", "of new columns"),
    "new_both": ("pairs of a new row and a new column", "both new"),
}


@dataclass(frozen=True)
class PairFeature:
    """A feature of one side. average, spread: mean and standard deviation, over the fitted items of the other side, of what a
    yes adds to the location of a pair; bias: what of it is the item's own; all NaN where the link is not linear."""

    number: int
    text: str
    average: float
    spread: float
    bias: float
    error_rate: float
    prevalence: float
    gain: float
    loose: bool
    yes: tuple[Example, ...]
    no: tuple[Example, ...]

    @property
    def strength(self) -> float:
        """Root mean square, over the other side, of what a yes adds."""
        return math.hypot(self.average, self.spread)


@dataclass(frozen=True)
class PairSideFacts:
    """One side. name: "rows" or "columns"; label: of its table, empty where not known; n_train, n_test: items.

    state: "found", features are fitted; "none", nothing was found; "undescribed", there was nothing to search among;
    "waiting", the run was stopped before its search; "stale", between a search and the fit of what it found.
    """

    name: str
    label: str
    n_train: int
    n_test: int
    state: str
    features: tuple[PairFeature, ...]

    @property
    def letter(self) -> str:
        """What the numbers of its features begin with: R or C."""
        return self.name[0].upper()

    @property
    def single(self) -> str:
        """ "row" or "column"."""
        return self.name[:-1]


@dataclass(frozen=True)
class PairPoints:
    """Some pairs of a part of the split: what came and what was predicted, (R,) each."""

    actual: FloatArray
    predicted: FloatArray


@dataclass(frozen=True)
class PairReportData:
    """Everything a report on two sides shows.

    affinity: (K1, K2) in the order of the features, None where there is none. curve, scores: as the run has them; a score
    "guess_x" is that of always predicting the mean of the training pairs. points: by part, empty where the pairs are not at
    hand. settings, versions: as recorded.
    """

    rows: PairSideFacts
    columns: PairSideFacts
    n_pairs: int
    likelihood: str
    link: str
    affinity: FloatArray | None
    curve: pd.DataFrame
    scores: Mapping[str, Mapping[str, float]]
    points: Mapping[str, PairPoints]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    status: str

    @property
    def sides(self) -> tuple[PairSideFacts, PairSideFacts]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def metric(self) -> str:
        """The error of the learning curve."""
        return str(self.curve["metric"].iloc[-1])

    @property
    def linear(self) -> bool:
        """Whether what a yes adds is one number for an item."""
        return self.link == "linear"

    def score(self, part: str, name: str) -> float:
        """NaN where it is not defined."""
        return self.scores.get(part, {}).get(name, math.nan)
