"""A foundation model of your own: any object with answer, propose and suggest. This one knows three words.

python examples/custom_model.py
genz fit products.csv --target price --model my_module:WordModel --out runs/own     # on your own table, the class in a module
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from genz_ppl import Contrast, Item, Items, discover

WORDS = ("organic", "family size", "discount")


class WordModel:
    """Answers whether a product's text mentions a word."""

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> np.ndarray:
        words = [feature.removeprefix("mentions ") for feature in features]
        return np.array([[float(word in item.text) for word in words] for item in items])

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        def share(items: Sequence[Item], word: str) -> float:
            return float(np.mean([word in item.text for item in items]))

        lift = {word: share(contrast.positive, word) - share(contrast.negative, word) for word in WORDS}
        ranked = sorted((word for word in WORDS if lift[word] > 0), key=lambda word: -lift[word])
        return [f"mentions {word}" for word in ranked][:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return [f"mentions {word}" for word in WORDS][:n]


random = np.random.default_rng(0)
has = random.random((200, 3)) < 0.5
texts = [" ".join(word for word, there in zip(WORDS, row, strict=True) if there) for row in has]
price = has @ np.array([2.0, 1.0, -1.5]) + 0.1 * random.normal(size=200)
items = Items.from_frame(pd.DataFrame({"text": texts, "price": price}), target="price")

run = discover(items, WordModel(), cycles=2, add=2, cut=0)
print(run.features.loc[run.features["active"], ["text", "gain", "p_e"]].to_string(index=False))
