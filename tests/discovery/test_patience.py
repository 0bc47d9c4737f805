"""A run looks on for as long as its failures may be chance at the rate of its finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from phrases import Phrases

from genz_ppl import Items, discover
from genz_ppl.discovery.run import patience
from genz_ppl.types import Contrast, Item


class Seldom(Phrases):
    """Names what moves the target the fifth time and the thirteenth, else nothing."""

    asked_for = 0

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.asked_for += 1
        return {5: ["has 0"], 13: ["has 1"]}.get(self.asked_for, [])

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return []


def items_of(n_true: int) -> tuple[Items, np.ndarray]:
    random = np.random.default_rng(1)
    present = (random.random((300, 12)) < 0.4).astype(np.float64)
    y = present[:, :n_true] @ np.array([1.0, -1.0, 0.9, -0.9])[:n_true] + 0.5 * random.normal(size=300)
    frame = pd.DataFrame({"key": np.arange(300), "note": [f"item {number}" for number in range(300)], "y": y})
    return Items.from_frame(frame, id="key", target="y"), present


def test_rare_finds_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One find in five steps: seven failures in a row are no wonder, which is more than a round and more than patience."""
    items, present = items_of(2)
    options: dict[str, Any] = {"polarity": "positive", "proposals": 1, "cut": 0, "cycles": 6}
    run = discover(items, Seldom(present), **options)
    assert run.features.loc[run.features["active"], "text"].tolist() == ["has 0", "has 1"]
    monkeypatch.setattr(patience, "BY_CHANCE", 1.0)
    assert discover(items, Seldom(present), **options).features["text"].tolist() == ["has 0"]


@pytest.mark.parametrize("bears", [2, 5])
def test_where_nothing_was_found_patience_counts(bears: int) -> None:
    items, present = items_of(1)
    model = Seldom(present)
    model.asked_for = -1000
    model.propose = lambda contrast, n: []  # type: ignore[method-assign]
    run = discover(items, model, patience=bears, cycles=10)
    assert run.progress.failures == bears
    assert not run.features["active"].any()
