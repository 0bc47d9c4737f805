"""Which answers would tell most: what to ask a dear annotator, or people, next.

An effect w of question k on an item's target is learned from z (y - f) / noise, so that what is not known of z is missing from
its information by the variance of that: q (1 - q) |(y - f without k - w / 2) / noise|^2; where z is known, nothing is. Of error
rates q (1 - q) is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.errors import OptionError
from genz_ppl.inference.annotators.fit import AnnotatedFit, fit_annotators
from genz_ppl.types import FloatArray, IntArray

#: Answers of a dear annotator to the items and questions of these rows, (n, 2): (n,) of 1, 0 and NaN.
Ask = Callable[[IntArray], FloatArray]
# Of what a cascade may ask, the part that is asked of cells drawn at random, so that the annotator's error rates are known.
AT_RANDOM = 0.5


@torch.no_grad()
def missing_information(fit: AnnotatedFit) -> FloatArray:
    """(T, K), what not knowing z takes from the information about the effects of each question, over the targets.

    Where the likelihood has no precision, of counts and classes, in units of the effects' own sizes.
    """
    state, data = fit.state, fit.data
    q = state.posterior
    weights = state.model.link.coefficients()[:, 0]
    if not state.model.likelihood.sees_errors:
        of_classes: FloatArray = (q * (1 - q) * weights.square().sum(1)).numpy()
        return of_classes
    precision = state.model.likelihood.precision(torch.zeros_like(data.targets[:1]))
    precision = precision.expand_as(data.targets[:1])[0]
    residual = torch.nan_to_num(data.targets - state.model.link(q, data.covariates))
    # At z = 1 less z = 0, the others at their means: the residual without k, less half of its effect on either side.
    found = [(residual + (q[:, [k]] - 0.5) * weights[k]).square() @ precision for k in range(q.shape[1])]
    variance = q * (1 - q)
    missing: FloatArray = (variance * (torch.stack(found, dim=1) + 1)).numpy()
    return missing


def most_telling(fit: AnnotatedFit, n: int, open_to: NDArray[np.bool_] | None = None) -> IntArray:
    """The n (item, question) positions, (n, 2), whose truth would tell most of the effects, the most telling first.

    open_to: (T, K), those that may be chosen. Raises OptionError where there are not so many.
    """
    score = missing_information(fit)
    allowed = np.ones(score.shape, dtype=np.bool_) if open_to is None else open_to
    if not 1 <= n <= int(allowed.sum()):
        raise OptionError(f"n: expected a number from 1 to {int(allowed.sum())}, the answers that may be asked for, got {n}")
    ranked = np.argsort(-np.where(allowed, score, -np.inf), axis=None, kind="stable")[:n]
    return np.stack(np.unravel_index(ranked, score.shape), axis=1)


def cascade(
    cheap: FloatArray, ask: Ask, targets: FloatArray, share: float, rounds: int = 4, seed: int = 0, **options: object
) -> tuple[AnnotatedFit, FloatArray]:
    """A dear annotator asked about a share of all (item, question) cells only, where that matters; the fit, and its answers.

    cheap: (T, K), answers to all. Half of the share is drawn at random, the rest in rounds by `most_telling`, each after a fit
    to all answers so far. options: of `fit_annotators`. Raises OptionError for a share that is not between 0 and 1.
    """
    if not 0 < share <= 1:
        raise OptionError(f"cascade: expected a share of the answers above 0 and at most 1, got {share:g}")
    total = max(1, round(share * cheap.size))
    dear, random = np.full(cheap.shape, np.nan), np.random.default_rng(seed)
    asked = np.zeros(cheap.shape, dtype=np.bool_)
    first = max(1, round(AT_RANDOM * total))
    cells = np.stack(np.unravel_index(random.permutation(cheap.size)[:first], cheap.shape), axis=1)
    for number in range(rounds + 1):
        dear[cells[:, 0], cells[:, 1]] = ask(cells)
        asked[cells[:, 0], cells[:, 1]] = True
        found = fit_annotators({"cheap": cheap, "dear": dear}, targets, seed=seed, **options)  # type: ignore[arg-type]
        left = total - int(asked.sum())
        if left == 0 or number == rounds:
            break
        cells = most_telling(found, max(1, left // (rounds - number)), ~asked)
    return found, dear
