"""Whether two methods differ over the same splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

_ROUNDING = 1e-9  # as a share of the larger value: what the order of a machine's sums can make of one result


def tied(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether they are the same but for rounding, which the machine and its threads decide."""
    return all(math.isclose(a, b, rel_tol=_ROUNDING) for a, b in zip(first, second, strict=True))


def p_value(first: Sequence[float], second: Sequence[float], overlap: float = 0.0) -> float:
    """Two-sided paired t-test. overlap: test over training items, where splits share training items (Nadeau and Bengio, 2003).

    t = mean / (sd * sqrt(1 / n + overlap)) of the n differences, with n - 1 degrees of freedom; overlap 0 is the plain test.
    Differences that are rounding count as none. 1 for a tie, 0 where all differences are the same otherwise.
    """
    from scipy.stats import t

    differences = [0.0 if math.isclose(a, b, rel_tol=_ROUNDING) else b - a for a, b in zip(first, second, strict=True)]
    centre, n = mean(differences), len(differences)
    if tied(differences, [centre] * n):
        return 0.0 if any(differences) else 1.0
    return float(2 * t.sf(abs(centre) / (stdev(differences) * math.sqrt(1 / n + overlap)), n - 1))
