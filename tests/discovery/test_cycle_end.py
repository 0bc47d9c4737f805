"""A search goes on only while it changes something (Algorithm 4), and does not cut what came back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from phrases import Phrases

from genz_ppl import Items, discover


def items_of(seed: int) -> tuple[Items, Phrases]:
    """Six phrases move the target, two of them hardly."""
    random = np.random.default_rng(seed)
    present = (random.random((200, 20)) < 0.4).astype(np.float64)
    y = present[:, :6] @ np.array([1.0, -1.0, 0.8, -0.8, 0.3, 0.3]) + random.normal(size=200)
    frame = pd.DataFrame({"key": np.arange(200), "note": [f"item {number}" for number in range(200)], "y": y})
    return Items.from_frame(frame, id="key", target="y"), Phrases(present)


@pytest.mark.parametrize("screen", [0, 40])
@pytest.mark.parametrize("seed", range(3))
def test_a_run_ends_when_a_cycle_changes_nothing(seed: int, screen: int) -> None:
    items, model = items_of(seed)
    run = discover(items, model, seed=seed, screen=screen, cycles=12, patience=50)
    events = run.curve[["cycle", "event", "feature"]].values.tolist()
    found: set[str] = set()
    cycles: dict[int, frozenset[str]] = {0: frozenset()}
    cuts = Counter[str]()
    last = max(cycle for cycle, _, _ in events)
    final = next((row for row, (_, event, _) in enumerate(events) if event == "final"), len(events))
    for cycle, event, text in events[:final]:
        if event == "add":
            found.add(text)
        elif event == "prune":
            found.discard(text)
            cuts[text] += 1
        cycles[cycle] = frozenset(found)
    assert last < 12
    # No cycle left the features as it found them, unless it was the last.
    changed = [cycles[cycle] != cycles.get(cycle - 1, cycles[0]) for cycle in sorted(cycles) if 0 < cycle < last]
    assert all(changed)
    assert max(cuts.values(), default=0) <= 2  # once in the search, and once in the end for what it is not worth


def test_as_published_a_feature_may_be_cut_again() -> None:
    runs = [discover(*items_of(seed), seed=seed, paper=True, cycles=4).curve for seed in range(3)]
    cuts = [curve[curve["event"] == "prune"]["feature"].value_counts().max() for curve in runs]
    assert max(cuts) > 1
