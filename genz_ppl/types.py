"""The words that all layers share: item, feature, contrast, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

FieldValue = str | int | float | bool | date | None  # a datetime is a date, too; times are without a zone
FloatArray = NDArray[np.float64]
#: Very many numbers may be as narrow as a file has them.
Numbers = NDArray[np.float64] | NDArray[np.float32]
IntArray = NDArray[np.int64]


#: The annotator whose labels are the truth: people.
GOLD = "gold labels"


@dataclass(frozen=True)
class Item:
    """One row as a foundation model sees it: never its target, never its id in `text` or `fields`.

    id: unique name of the row. text: what a model reads. fields: the readable columns by name, None where missing.
    images: paths of the item's images, in column order.
    """

    id: str
    text: str
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Feature:
    """A yes/no question about an item (theta_f of the paper).

    id: stable within a run ("f3"). text: the wording. origin: how it came to be ("mined", "given", …).
    version: 1 at first, one more each time the wording is changed.
    """

    id: str
    text: str
    origin: str = "mined"
    version: int = 1


@dataclass(frozen=True)
class Tried:
    """A wording that is known already. positive, negative: shares of the shown items of either group it is true of, 0 to 1."""

    text: str
    positive: float
    negative: float


@dataclass(frozen=True)
class Contrast:
    """Two groups of items whose difference a model is asked to word (Fig. 2 of the paper).

    context: texts of features that all shown items share (Algorithm 2), maybe empty.
    existing: texts already in use, not to be proposed again.
    tried: wordings not in use with how well they tell the groups apart, the best first; maybe empty.
    improved: a wording in use that a better one is sought for, "" for none; moved: ids of the shown items that are in the group
    which it does not put them in.
    """

    positive: tuple[Item, ...]
    negative: tuple[Item, ...]
    context: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    improved: str = ""
    moved: tuple[str, ...] = ()

    def reversed(self) -> Contrast:
        """The same contrast asked the other way round: what do the negatives share that the positives lack?"""
        tried = tuple(Tried(one.text, one.negative, one.positive) for one in self.tried)
        return replace(self, positive=self.negative, negative=self.positive, tried=tried)


@dataclass(frozen=True)
class Answers:
    """A foundation model's answers h to features about items.

    values: (T, K) float64 of 1 (yes), 0 (no) and NaN (no valid answer). item_ids: T names. features: K texts.
    """

    values: FloatArray
    item_ids: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Values x of R pairs of a row item and a column item (Appendix C); pairs that are not listed are missing, not zeros.

    rows: (R,) int64 positions from 0 to n_rows - 1. columns: (R,) int64 positions from 0 to n_columns - 1.
    values: (R,) float64. n_rows, n_columns: how many items there are on each side, those without pairs included.
    """

    rows: IntArray
    columns: IntArray
    values: FloatArray
    n_rows: int
    n_columns: int

    def __len__(self) -> int:
        return len(self.values)

    def select(self, mask_or_positions: ArrayLike) -> Pairs:
        """The pairs where a boolean mask of length R is true, or those at these positions, in this order."""
        chosen = np.asarray(mask_or_positions)
        if chosen.size == 0 and chosen.dtype != bool:
            chosen = chosen.astype(np.int64)
        return replace(self, rows=self.rows[chosen], columns=self.columns[chosen], values=self.values[chosen])


@dataclass(frozen=True)
class AnswerErrors:
    """How often answers to some questions are wrong, (K,) each.

    of_yes: P(z = 0 | h = 1), the share of answers yes that are wrong; of_no: P(z = 1 | h = 0), of answers no. prevalence:
    P(z = 1). The others follow by Bayes' rule: with P(h = 1) = (prevalence - of_no) / (1 - of_yes - of_no) an answer is wrong in
    all with P(h != z), `overall`, and P(h = 1 | z = 0) is `false_yes`, P(h = 0 | z = 1) `false_no`.
    """

    of_yes: FloatArray
    of_no: FloatArray
    prevalence: FloatArray

    @classmethod
    def of(cls, rates: FloatArray, prevalence: FloatArray) -> AnswerErrors:
        """rates: (K,), the same for yes and no, or (K, 2), yes first."""
        return cls(rates, rates, prevalence) if rates.ndim == 1 else cls(rates[:, 0], rates[:, 1], prevalence)

    @classmethod
    def together(cls, rates: FloatArray, prevalence: FloatArray) -> AnswerErrors:
        """Of what annotators with these rates, (K, A), say together where all have answered: how often the likelier truth is not
        the truth."""
        told = np.array(list(product((0, 1), repeat=rates.shape[1])), dtype=bool)
        of_yes, of_no = np.where(told, 1 - rates[:, None], rates[:, None]), np.where(told, rates[:, None], 1 - rates[:, None])
        wrong = 0.5 * np.minimum(of_yes.prod(axis=2), of_no.prod(axis=2)).sum(axis=1)
        return cls(wrong, wrong, prevalence)

    @property
    def said_yes(self) -> FloatArray:
        """P(h = 1)."""
        told = 1 - self.of_yes - self.of_no
        share: FloatArray = np.clip((self.prevalence - self.of_no) / np.where(np.abs(told) > 1e-9, told, np.inf), 0, 1)
        return share

    @property
    def overall(self) -> FloatArray:
        """P(h != z)."""
        if self.of_yes is self.of_no:
            return self.of_yes
        return self.said_yes * self.of_yes + (1 - self.said_yes) * self.of_no

    @property
    def false_yes(self) -> FloatArray:
        """P(h = 1 | z = 0): how often the answer is yes where it should be no."""
        return _share(self.said_yes * self.of_yes, (1 - self.said_yes) * (1 - self.of_no))

    @property
    def false_no(self) -> FloatArray:
        """P(h = 0 | z = 1): how often the answer is no where it should be yes."""
        return _share((1 - self.said_yes) * self.of_no, self.said_yes * (1 - self.of_yes))


def _share(part: FloatArray, rest: FloatArray) -> FloatArray:
    whole = part + rest
    share: FloatArray = part / np.where(whole > 0, whole, 1.0)
    return share
