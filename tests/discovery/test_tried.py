"""What the miner is told of wordings that were tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genz_ppl.data import Items
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.mine.tried import MOST_TRIED, with_tried
from genz_ppl.types import Contrast, Tried


class Known:
    """Stands for a `Progress`: a pool alone."""

    def __init__(self, pool: dict[str, Any]) -> None:
        self.pool = {text: np.array(answers, dtype=np.int8) for text, answers in pool.items()}


def test_shares_are_of_shown_items_with_answers(items: Items) -> None:
    part = items[:8]
    contrast = Contrast(tuple(part[:4]), tuple(part[4:8]), (), ("in use",))
    pool = {
        "weak": [1, 0, 1, 0, 0, 0, 1, 0],
        "opposite": [0, 0, 0, 0, 1, 1, 1, -1],  # one without a valid answer
        "in use": [1, 1, 1, 1, 0, 0, 0, 0],
        "hardly asked": [1, 1, -2, -2, 0, 0, 0, 0],
    }
    found = with_tried(Known(pool), tuple(part))(contrast)  # type: ignore[arg-type]
    assert found.tried == (Tried("opposite", 0.0, 1.0), Tried("weak", 0.5, 0.25))
    assert found.reversed().tried == (Tried("opposite", 1.0, 0.0), Tried("weak", 0.25, 0.5))
    assert found.reversed().reversed() == found
    many = Known({f"wording {n}": pool["weak"] for n in range(30)})
    assert len(with_tried(many, tuple(part))(contrast).tried) == MOST_TRIED  # type: ignore[arg-type]


def test_a_run_tells_the_miner_what_was_tried(items: Items, recorder: Any) -> None:
    discover(items, recorder, cycles=1, add=2, cut=0, refinements=1, seed=4)
    first, *later = [contrast for contrast, _ in recorder.contrasts]
    assert first.tried == ()
    assert any(contrast.tried for contrast in later)
    for contrast in later:
        assert not {one.text for one in contrast.tried} & set(contrast.existing)
        shown = {item.id for item in (*contrast.positive, *contrast.negative)}
        assert set(contrast.moved) <= shown
        assert bool(contrast.moved) <= bool(contrast.improved)
        assert contrast.improved == "" or contrast.improved in contrast.existing
        for one in contrast.tried:
            answers = [recorder.answer(list(side), [one.text]).mean() for side in (contrast.positive, contrast.negative)]
            assert answers == pytest.approx([one.positive, one.negative], abs=1e-4)
