"""From a free feature's posterior to the two groups of items a model is shown (Algorithms 1 and 2, eq. 16)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.inference.state import Data, State
from genz_ppl.llm.combined import implied, parts_of
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

# Items whose side is in doubt teach a model little: the less certain quarter of each side is not shown.
SHOWN_SHARE = 0.75


def weighted_errors(state: State, data: Data) -> FloatArray:
    """(y - f(z))' Sigma^-1 (y - f(z)) of every item at the mode of q (eq. 15), (T,); missing entries count nothing.

    With noise that is not Gaussian the squared `Likelihood.residual` stands in for it.
    """
    state.model.eval()
    with torch.no_grad():
        mode = (state.posterior > 0.5).to(state.posterior)
        error = state.model.likelihood.residual(state.model.link(mode, data.covariates), data.targets)
        total: FloatArray = (error**2).sum(1).cpu().numpy()
    return total


def targeted_items(
    modes: NDArray[np.bool_], errors: FloatArray, positive: NDArray[np.bool_], enough: int, rank: int = 0
) -> IntArray:
    """The items that share one combination of the other features: the one with the largest total error (eq. 16).

    modes: (T, K) modes of the other features; errors: (T,); positive: (T,), the side of the free feature. With many
    features a combination holds few items; items that differ in one feature, then two ..., join until either side has
    `enough` to show (or all have joined). rank: 0 for the worst combination, 1 for the next, ..., and again from the worst.
    """
    _, which = np.unique(modes, axis=0, return_inverse=True)
    ranked = np.argsort(-np.bincount(which.ravel(), weights=errors), kind="stable")
    worst = int(ranked[rank % len(ranked)])
    combination = modes[np.flatnonzero(which.ravel() == worst)[0]]
    distance = (modes != combination).sum(axis=1)
    for radius in range(modes.shape[1] + 1):
        chosen = distance <= radius
        if min((chosen & positive).sum(), (chosen & ~positive).sum()) >= enough:
            break
    return np.flatnonzero(chosen)


def exemplars(posterior: FloatArray, items: IntArray, n: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Up to n items from the confident end of either side of a split, in random order.

    posterior: (T,) of the free feature; items: positions to choose from.
    """
    sides = []
    for sign in (1.0, -1.0):
        side = items[sign * (posterior[items] - 0.5) > 0]
        ranked = side[np.argsort(-sign * posterior[side], kind="stable")]
        confident = ranked[: max(min(n, len(ranked)), round(SHOWN_SHARE * len(ranked)))]
        sides.append(random.permutation(confident)[:n])
    return sides[0], sides[1]


def disputed_exemplars(
    posterior: FloatArray, answers: FloatArray, n: int, random: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Up to n items that a feature holds for and up to n that it does not, by its posterior, in random order.

    posterior, answers: (T,) of one feature. Up to half of either side are items whose answer says otherwise (or is missing),
    the surest first; the others are from the confident end, as in `exemplars`.
    """
    sides = []
    for value in (1.0, 0.0):
        side = np.flatnonzero((posterior > 0.5) == (value == 1.0))
        disputed = side[answers[side] != value]
        surest = disputed[np.argsort(-np.abs(posterior[disputed] - 0.5), kind="stable")][: (n + 1) // 2]
        agreed = exemplars(posterior, side[answers[side] == value], n - len(surest), random)[0 if value == 1.0 else 1]
        sides.append(random.permutation(np.concatenate([surest, agreed])))
    return sides[0], sides[1]


def build_contrast(
    items: Sequence[Item],
    positive: IntArray,
    negative: IntArray,
    answers: FloatArray,
    texts: Sequence[str],
    replaced: tuple[str, ...] = (),
) -> Contrast:
    """The contrast to show. answers: (T, K) of the features in use; those that all shown items share become context.

    Of combinations their parts are named, so that a model meets no wordings but its own.
    replaced: wordings in use that another is sought for: not to be proposed again, whatever the items share.
    """
    shown = np.concatenate([positive, negative])
    shared = [text for k, text in enumerate(texts) if len(shown) and bool((answers[shown, k] == 1).all())]
    return Contrast(
        positive=tuple(items[i] for i in positive),
        negative=tuple(items[i] for i in negative),
        context=tuple(dict.fromkeys(part for text in shared for part in implied(text))),
        existing=tuple(dict.fromkeys(part for text in (*texts, *replaced) for part in parts_of(text))),
    )
