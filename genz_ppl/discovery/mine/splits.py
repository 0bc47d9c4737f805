"""The split of the items that a new question is sought for: the posterior of a feature that only the targets move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.start import build_model, leading_split, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import Strategy
from genz_ppl.inference.worth.judge import missed
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

# Splits from two starts that are more alike than this are one; one that is as like an earlier split was sought for before.
SAME_SPLIT, SHOWN_BEFORE = 0.95, 0.9


@dataclass(frozen=True)
class Split:
    """posterior: of the free feature, (T,). gain: nats, of the paper's bound. before: those like it that were shown."""

    posterior: FloatArray
    gain: float
    before: int = 0


def find_split(
    settings: DiscoverSettings, strategy: Strategy, state: State, data: Data, earlier: Sequence[NDArray[np.uint8]] = ()
) -> Split:
    """A feature that only y moves (p_e = 0.5), fitted with the others: what a question is to explain.

    Its posterior with the structured strategy is conditional on the modes of the other features, which is what Algorithm 2 groups
    items by. Beside a network it enters as a term of its own, y = f(z, x) + w z_i: trained for a few epochs, the network would
    not answer to a new input yet, and the split would be lost.

    earlier: the splits shown so far, see `packed_split`. Of several starts one that is like the fewest of them counts, and of
    those the one with the highest bound.
    """
    with torch.no_grad():
        state.model.eval()
        residual = missed(state, data)
    plain = state.model.has_closed_form or not state.model.shortcuts
    free_data = data if plain else Data(residual.new_zeros(len(residual), 0), residual.new_zeros(len(residual), 0), residual)
    # Answers alone say nothing of a feature that has none: the paper's bound is what splits the items.
    base = state.plain() if plain else start_state(build_model(0, residual.shape[1], 0).to(residual.device), free_data)
    fitted = refit if base.model.shortcuts or base.posterior.shape[1] == 0 else strategy.refit
    without = fitted(base.copy(), free_data, settings.inner_steps).total
    found: list[Split] = []
    for rank in range(min(settings.splits, *residual.shape)):
        start = leading_split(residual, rank=rank)[:, None]
        bound, posterior = _fitted(strategy, base, free_data, start, settings.inner_steps)
        if all(alike(posterior, other.posterior) < SAME_SPLIT for other in found):
            before = sum(alike(posterior, shown.astype(np.float64)) > SHOWN_BEFORE for shown in earlier)
            found.append(Split(posterior, bound - without, before))
    return min(found, key=lambda split: (split.before, -split.gain))


def _fitted(strategy: Strategy, base: State, data: Data, start: Tensor, steps: int) -> tuple[float, FloatArray]:
    """The bound with a free feature fitted from one start, (T, 1), and its posterior, (T,)."""
    free = base.with_columns(list(range(base.posterior.shape[1])), start)
    blank = data.answers.new_full((len(start), 1, *data.answers.shape[2:]), float("nan"))
    bound, posterior = strategy.split(free, data.with_answers(torch.cat([data.answers, blank], dim=1)), steps)
    return bound, posterior.cpu().numpy()


def packed_split(posterior: FloatArray) -> NDArray[np.uint8]:
    """A split as a run remembers it, (T,) from 0 to 255."""
    return np.round(255 * posterior).astype(np.uint8)


def alike(one: FloatArray, other: FloatArray) -> float:
    """The size of the correlation of two splits, (T,); 1 where the first splits nothing, 0 where only the other does not."""
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(abs(one @ other) / size) if size > 0 else float(not one.any())
