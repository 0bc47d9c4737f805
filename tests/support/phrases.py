"""A world of phrases: a model that knows which item has which, and words them by the groups it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from genz_ppl import Contrast, Item
from genz_ppl.types import FloatArray


class Phrases:
    """Proposes phrases that the positives have, and counts what it is asked. present: (T, L), of the item with that id."""

    def __init__(self, present: FloatArray) -> None:
        self.present, self.asked = present, Counter[str]()

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        self.asked.update({feature: len(items) for feature in features})
        return np.array([[self.present[int(item.id), int(text.split()[1])] for text in features] for item in items])

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        sides = [self.present[[int(item.id) for item in side]].mean(0) for side in (contrast.positive, contrast.negative)]
        order = np.argsort(sides[1] - sides[0], kind="stable")
        return [text for text in (f"has {number}" for number in order) if text not in contrast.existing][:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return [f"has {number}" for number in range(n)]
