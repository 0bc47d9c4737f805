"""One target's effects: from gold labels and answers, from gold labels alone, or from answers and what is known of their errors.

With gold labels: predict-then-debias (Kluger et al. 2025, "Prediction-powered inference with imputed covariates", with the
tuning of PPI++, Angelopoulos et al. 2023). Coefficients on the labels of the gold items, less omega times what the answers get
wrong there: the same coefficients on answers, of the gold items less of all items. Nothing is assumed of the errors of answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from genz_ppl.inference.regression.least_squares import LeastSquares, least_squares
from genz_ppl.types import FloatArray, IntArray

DEBIASED, GOLD, ANSWERS, ASSUMED = (
    "gold labels and answers",
    "gold labels alone",
    "answers as they are",
    "answers, errors assumed",
)
UNTOLD = "not told apart"
# Draws of error rates and of items; the part of them that must be possible.
DRAWS, LEAST_POSSIBLE = 1000, 0.05
# Answers right so much less often than wrong ones that truth is divided by next to nothing.
LEAST_TOLD = 0.05


@dataclass(frozen=True)
class Estimates:
    """effect, lower, upper, p, (K,) each, of one target; p: of no effect, two-sided. method: (K,), how each was found."""

    effect: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    method: tuple[str, ...]

    def where(self, chosen: NDArray[np.bool_], other: Estimates) -> Estimates:
        """These where chosen, (K,), else the other ones."""
        names = ("effect", "lower", "upper", "p")
        effect, lower, upper, p = (np.where(chosen, getattr(self, name), getattr(other, name)) for name in names)
        methods = zip(chosen, self.method, other.method, strict=True)
        return Estimates(effect, lower, upper, p, tuple(own if one else beside for one, own, beside in methods))


@dataclass(frozen=True)
class Sample:
    """Items of one target. answers: (T, K), NaN for none; covariates: (T, P); target: (T,).

    gold: (n, K), labels of the items at `labelled`, (n,); weights: (n,), one over the probability of having been looked at,
    which sum to 1. groups: (T,), whole numbers from 0 on, of items that are not independent; None: all are.
    """

    answers: FloatArray
    covariates: FloatArray
    target: FloatArray
    gold: FloatArray
    labelled: IntArray
    weights: FloatArray
    groups: IntArray | None = None

    def spread(self, shares: FloatArray) -> FloatArray:
        """(K,), of coefficients in whose error the items have these shares, (T, K); those of one group are added up first."""
        if self.groups is not None:
            summed = np.zeros((int(self.groups.max(initial=-1)) + 1, shares.shape[1]))
            np.add.at(summed, self.groups, shares)
            shares = summed
        found: FloatArray = np.sqrt((shares**2).sum(axis=0))
        return found

    def freedom(self, fitted: LeastSquares, rows: IntArray | slice) -> FloatArray:
        """(K,), degrees of freedom of what was fitted to these rows: of groups no more than one less than there are."""
        most = np.inf if self.groups is None else len(np.unique(self.groups[rows])) - 1
        return np.minimum(fitted.freedom[: self.answers.shape[1]], most)

    @property
    def n_gold(self) -> float:
        """How many items that weigh alike the gold items are worth (Kish)."""
        return float(1 / (self.weights**2).sum()) if len(self.weights) else 0.0

    def design(self, features: FloatArray, rows: IntArray | slice) -> FloatArray:
        """(n, K + 1 + P): features first."""
        covariates = self.covariates[rows]
        return np.concatenate([features, np.ones((len(features), 1)), covariates], axis=1)


def debiased(sample: Sample, level: float) -> Estimates:
    """From gold labels and answers; for each question from gold labels alone where that is narrower.

    With a_i an item's share in the error of a gold coefficient and b_i in that of the answers' difference, omega is the
    coefficient of a on b, and the variance the sum of (a - omega b)^2, each item left out of omega in turn. What is not told
    is NaN.
    """
    n_features, n_items = sample.gold.shape[1], len(sample.target)
    known = sample.design(sample.gold, sample.labelled)
    gold = least_squares(known, sample.target[sample.labelled], sample.weights)
    filled = np.where(np.isnan(sample.answers), _means(sample.answers), sample.answers)
    moved = n_items * least_squares(sample.design(filled, slice(None)), sample.target).influence[:, :n_features]
    shares, told = np.zeros((n_items, n_features)), gold.told[:n_features]
    shares[sample.labelled] = gold.shares[:, :n_features]
    apart = np.full(n_items, -1 / n_items)
    apart[sample.labelled] += sample.weights
    beside = moved * apart[:, None]
    strength = (beside**2).sum(axis=0)
    omega = np.where(strength > 0, (shares * beside).sum(axis=0) / np.where(strength > 0, strength, 1.0), 0.0)
    freedom, effect = sample.freedom(gold, sample.labelled), gold.coefficients[:n_features]
    alone = interval(effect, sample.spread(shares), freedom, level, told, GOLD)
    difference = (moved[sample.labelled] * sample.weights[:, None]).sum(axis=0)
    left_out = (shares - omega * beside) / (1 - beside**2 / np.where(strength > 0, strength, 1.0))
    both = interval(effect - omega * difference, sample.spread(left_out), np.maximum(freedom - 1, 1.0), level, told, DEBIASED)
    return both.where(both.upper - both.lower <= alone.upper - alone.lower, alone)


def as_answered(sample: Sample, level: float) -> Estimates:
    """Of the answers themselves, whatever is true: what they go with. Items without an answer have the mean of the others."""
    filled = np.where(np.isnan(sample.answers), _means(sample.answers), sample.answers)
    design = sample.design(filled, slice(None))
    fitted, n_features = least_squares(design, sample.target), filled.shape[1]
    spread, told = sample.spread(fitted.shares[:, :n_features]), fitted.told[:n_features]
    freedom = sample.freedom(fitted, slice(None))
    return interval(fitted.coefficients[:n_features], spread, freedom, level, told, ANSWERS)


def interval(
    effect: FloatArray, spread: FloatArray, freedom: FloatArray, level: float, told: NDArray[np.bool_], method: str = DEBIASED
) -> Estimates:
    """Student's t with so many degrees of freedom; NaN where an effect is not told."""
    effect, spread = (np.where(told, values, np.nan) for values in (effect, spread))
    width = stdtrit(freedom, (1 + level) / 2) * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(freedom, -np.abs(effect) / spread)
    methods = tuple(method if one else UNTOLD for one in told)
    return Estimates(effect, effect - width, effect + width, np.asarray(p, dtype=np.float64), methods)


def assumed(sample: Sample, rates: FloatArray, level: float, seed: int) -> Estimates | None:
    """Without gold labels: effects under wrong answers that depend on nothing but what is true (probabilistic bias analysis).

    rates: (K, 2), Beta counts of answers wrong and right. Each of `DRAWS` draws takes rates of wrong answers where the truth is
    yes and where it is no from them, weights of items or groups from the Bayesian bootstrap (Rubin 1981), and solves least
    squares for the moments of the truth that follow, in expectation z = (h - wrong yes) / (1 - wrong yes - wrong no). Items that
    lack an answer are left out. p is that of `as_answered`. None where hardly any of the drawn rates are possible here.
    """
    whole = ~np.isnan(sample.answers).any(axis=1)
    design = sample.design(sample.answers[whole], np.flatnonzero(whole))
    table = np.concatenate([design, sample.target[whole, None]], axis=1)
    random, n_features, found = np.random.default_rng(seed), len(rates), []
    drawn = np.arange(len(table)) if sample.groups is None else sample.groups[whole]
    for _ in range(DRAWS):
        wrong_yes, wrong_no = random.beta(rates[:, 0], rates[:, 1]), random.beta(rates[:, 0], rates[:, 1])
        weights = random.standard_exponential(int(drawn.max()) + 1)[drawn]
        solved = _corrected(table.T @ (table * (weights / weights.sum())[:, None]), n_features, wrong_yes, wrong_no)
        if solved is not None:
            found.append(solved)
    if len(found) < LEAST_POSSIBLE * DRAWS:
        return None
    answered = as_answered(sample, level)
    told = np.isfinite(answered.effect)
    quantiles = np.quantile(np.array(found), [0.5, (1 - level) / 2, (1 + level) / 2], axis=0)
    effect, lower, upper = np.where(told, quantiles, np.nan)
    return Estimates(effect, lower, upper, answered.p, tuple(ASSUMED if one else UNTOLD for one in told))


def _corrected(moments: FloatArray, n_features: int, wrong_yes: FloatArray, wrong_no: FloatArray) -> FloatArray | None:
    """(K,), from the second moments of answers, 1, covariates and target; None where these rates cannot be."""
    right, one = 1 - wrong_yes - wrong_no, n_features
    share = (moments[one, :n_features] - wrong_yes) / np.where(right > LEAST_TOLD, right, 1.0)
    if (right <= LEAST_TOLD).any() or (share <= 0).any() or (share >= 1).any():
        return None
    turn = np.eye(len(moments))
    turn[range(n_features), range(n_features)] = 1 / right
    turn[:n_features, one] = -wrong_yes / right
    true: FloatArray = turn @ moments @ turn.T
    true[range(n_features), range(n_features)] = share  # z is its own square, which the square of its estimate is not
    left = true[:-1, :-1]
    size = np.sqrt(left.diagonal())
    if np.linalg.eigvalsh(left / np.outer(size, size))[0] <= 1e-6:
        return None
    return np.asarray(np.linalg.solve(left, true[:-1, -1])[:n_features], dtype=np.float64)


def _means(answers: FloatArray) -> FloatArray:
    """(K,), of the answers there are; one half where there is none."""
    known = ~np.isnan(answers)
    counts = known.sum(axis=0)
    found: FloatArray = np.where(counts > 0, np.where(known, answers, 0.0).sum(axis=0) / np.maximum(counts, 1), 0.5)
    return found
