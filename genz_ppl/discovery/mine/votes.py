"""What several annotators answer: kept by annotator, voted on for whatever looks at one answer an item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from genz_ppl.discovery.run.progress import UNASKED, Progress, pack
from genz_ppl.inference.annotators.answers import voted
from genz_ppl.types import FloatArray, Item


class Votes:
    """A `Heard` that keeps the answers in a `Progress`. items: those of the run, training, test and held back, in this order."""

    def __init__(self, progress: Progress, items: Iterable[Item]) -> None:
        self.progress, self.places = progress, {item.id: place for place, item in enumerate(items)}

    def __call__(self, items: Sequence[Item], texts: Sequence[str], each: FloatArray) -> FloatArray:
        """each: (n, N, A); returns the votes, (n, N), by the rates that annotators have in common as far as is known."""
        rows, layers = np.array([self.places[item.id] for item in items], dtype=np.int64), self.progress.layers
        for column, text in enumerate(texts):
            known = layers.setdefault(text, np.full((len(self.places), each.shape[2]), UNASKED, dtype=np.int8))
            known[rows] = pack(each[:, column])
        rates = self.progress.state.model.features.rates(1)[0, : each.shape[2]].cpu()
        votes: FloatArray = voted(torch.from_numpy(each), rates).numpy()
        return votes
