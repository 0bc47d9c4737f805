"""P-values of several claims made at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genz_ppl.types import FloatArray

_Rule = Callable[[FloatArray, int], FloatArray]


def holm(p: FloatArray) -> FloatArray:
    """Adjusted so that, taken at a level, one wrong claim or more has at most that probability (Holm 1979); NaN is no claim."""
    return _adjusted(p, lambda sorted_p, m: np.maximum.accumulate(sorted_p * np.arange(m, 0, -1)))


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Adjusted so that, taken at a level, of the claims made at most that share is wrong, in expectation; NaN is no claim.

    Benjamini & Hochberg 1995: for p-values that are independent, or positively dependent.
    """
    return _adjusted(p, lambda sorted_p, m: np.minimum.accumulate((sorted_p * m / np.arange(1, m + 1))[::-1])[::-1])


def _adjusted(p: FloatArray, rule: _Rule) -> FloatArray:
    found, known = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    found[order] = np.minimum(rule(p[order], len(order)), 1.0)
    return found
