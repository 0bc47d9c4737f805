"""The training items on which no question is sought: asked about those of the end only, they count in the last fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.discovery.mine.combine import complete
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.coordinate import measured
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import Strategy
from genz_ppl.rows import chosen
from genz_ppl.types import Item

# Items asked about at a time; of very many a fourth of them, since columns are gone through whole for each part.
AT_ONCE = 200_000
#: A state and answers of all training items, (T + R, K) int8 as in a pool, to what they are fitted to.
Whole = Callable[[State, NDArray[np.int8]], Data]


class Rest:
    """items: the R training items beside the T of the run. whole: makes the data of all, those of the run first."""

    def __init__(self, items: Sequence[Item], whole: Whole) -> None:
        self.items, self.whole = items, whole

    def fit(self, progress: Progress, oracle: Oracle, strategy: Strategy, steps: int) -> tuple[State, Data]:
        """Fit the model, as the run's own items have it, to all: in place of it comes one with the posterior of the run's items.

        The bound stays that of the run's items, beside those of earlier steps. Returns the state and data of all items.
        """
        n_items, answers = len(progress.state.posterior), self.answers(progress, oracle)
        data = self.whole(progress.state, answers)
        state = replace(progress.state.copy(), posterior=data.start_of(progress.state.error_rates))
        strategy.conclude(state, data, steps)
        progress.state = replace(state, posterior=state.posterior[:n_items].to(torch.float64, copy=True))
        own = self.whole(progress.state, answers[:n_items])
        progress.bound = measured(progress.state, engine_for(state.model, own, first=False)).total
        return state, data

    def answers(self, progress: Progress, oracle: Oracle) -> NDArray[np.int8]:
        """Of all items to the questions in use, (T + R, K), as in a pool; those about the rest are asked for now."""
        texts, n_own = [record.text for record in progress.active], len(progress.state.posterior)
        found = np.empty((len(texts), n_own + len(self.items)), dtype=np.int8)
        for row, text in enumerate(texts):
            found[row, :n_own] = progress.pool[text]
        size = max(AT_ONCE, -(-len(self.items) // 4))
        for start in range(0, len(self.items), size):
            part = chosen(self.items, np.arange(start, min(len(self.items), start + size)))
            pool: dict[str, NDArray[np.int8]] = {}
            complete(pool, texts, lambda missing, part=part: oracle.answer(part, missing))  # type: ignore[misc]
            for row, text in enumerate(texts):
                found[row, n_own + start : n_own + start + len(part)] = pool[text]
        return found.T
