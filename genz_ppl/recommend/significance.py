"""Whether one model is better than another, by the differences of runs that share a split."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from genz_ppl.errors import InputError

SMALLEST_P = 0.05


@dataclass(frozen=True)
class Paired:
    """Of n differences a - b: mean, sd (n - 1), t and its two-sided p on n - 1 degrees of freedom, and p of Wilcoxon's test.

    t and p are NaN where all differences are the same: nothing varies, so there is nothing to test against.
    """

    n: int
    mean: float
    sd: float
    t: float
    p: float
    wilcoxon_p: float

    def to_dict(self) -> dict[str, Any]:
        """Of plain numbers, None for NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def paired_t(a: ArrayLike, b: ArrayLike) -> Paired:
    """The paired t-test and Wilcoxon's signed-rank test of a against b, (n,) each, whose i-th values share what they vary by.

    Raises InputError for fewer than two pairs, lengths that differ and numbers that are not finite.
    """
    first, second = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if len(first) != len(second):
        raise InputError(f"paired_t: expected as many values of a as of b, got {len(first)} and {len(second)}; pair them by seed")
    if len(first) < 2:
        raise InputError(f"paired_t: {len(first)} pair of values gives no test; give two or more (--seeds)")
    if not np.isfinite(first).all() or not np.isfinite(second).all():
        raise InputError("paired_t: expected finite numbers; leave out the pairs that have none")
    apart = first - second
    mean, sd = float(apart.mean()), float(apart.std(ddof=1))
    if sd <= 1e-12 * max(1.0, float(np.abs(first).max())):
        return Paired(len(apart), mean, 0.0, float("nan"), float("nan"), float("nan"))
    t = mean / (sd / np.sqrt(len(apart)))
    p = float(2 * stats.t.sf(abs(t), len(apart) - 1))
    return Paired(len(apart), mean, sd, float(t), p, float(stats.wilcoxon(apart).pvalue))


def in_words(found: Paired, metric: str, what: str) -> str:
    """ "no gain over shuffled profiles, p = 0.35 (ndcg@20 +0.0004 ± 0.0012, n 5)"."""
    shown = f"({metric} {found.mean:+.4f} ± {found.sd:.4f}, n {found.n})"
    if found.p != found.p:
        same = "no difference from" if found.mean == 0 else "always the same difference from"
        return f"{same} {what}, so there is nothing to test {shown}"
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    if found.p >= SMALLEST_P:
        return f"no gain over {what}, {p} {shown}"
    return f"{'a gain over' if found.mean > 0 else 'worse than'} {what}, {p} {shown}"
