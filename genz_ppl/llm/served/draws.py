"""Questions asked more than once: what the draws say together, and how far they can be trusted."""

from __future__ import annotations

import math

import numpy as np

from genz_ppl.types import FloatArray


def majority(drawn: FloatArray) -> FloatArray:
    """(T, K) answers from (T, K, R) draws: what more than half of the valid ones say, NaN where none does."""
    valid = ~np.isnan(drawn)
    counts = valid.sum(axis=2)
    yes = np.nansum(drawn, axis=2)
    answers = np.where(2 * yes > counts, 1.0, 0.0)
    answers[(counts == 0) | (2 * yes == counts)] = np.nan
    return answers


def draw_error(drawn: FloatArray) -> FloatArray:
    """(K,) error rate p of one draw from (T, K, R) draws: two draws of an item differ with probability 2 p (1 - p).

    NaN where no item has two valid draws. Errors that all draws of an item share do not show.
    """
    valid = (~np.isnan(drawn)).sum(axis=2)
    yes = np.nansum(drawn, axis=2)
    pairs = (valid * (valid - 1) / 2).sum(axis=0)
    differing = (yes * (valid - yes)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(pairs > 0, differing / pairs, np.nan)
    rates: FloatArray = 0.5 * (1 - np.sqrt(np.clip(1 - 2 * share, 0.0, 1.0)))
    return rates


def majority_error(rate: FloatArray, draws: int) -> FloatArray:
    """(K,) how often the majority of independent draws is wrong when each is with this rate, (K,); even counts say nothing."""
    wrong = sum(math.comb(draws, m) * rate**m * (1 - rate) ** (draws - m) for m in range(draws // 2 + 1, draws + 1))
    right = sum(math.comb(draws, m) * (1 - rate) ** m * rate ** (draws - m) for m in range(draws // 2 + 1, draws + 1))
    errors: FloatArray = np.asarray(wrong / (wrong + right))
    return errors
