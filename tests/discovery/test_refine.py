"""Refine: a wording in use gives way to a better one that items in dispute suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import discover, resume
from genz_ppl.data import Items
from genz_ppl.discovery.mine.contrast import disputed_exemplars
from genz_ppl.types import Contrast, FloatArray, Item

ROUGH, EXACT, UNRELATED = "is large, as seen from afar", "is large", "is odd"


@dataclass
class Surveyor:
    """Names the rough wording first; the exact one only when the rough one is in use, or never."""

    knows_better: bool = True
    interrupted: bool = False
    first: str = ROUGH
    contrasts: list[Contrast] = field(default_factory=list)

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        columns = {ROUGH: "rough", EXACT: "large", UNRELATED: "odd"}
        return np.array([[float(item.fields[columns[text]] == 1) for text in features] for item in items]).reshape(
            len(items), len(features)
        )

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.contrasts.append(contrast)
        if ROUGH in contrast.existing:
            if self.interrupted:
                raise KeyboardInterrupt
            return [EXACT if self.knows_better else UNRELATED]
        return [self.first]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return []


@pytest.fixture
def estates() -> Items:
    """400 items; being large moves the target by 4 standard deviations of its noise; the rough answers are wrong for 8 %."""
    random = np.random.default_rng(0)
    large, odd = random.integers(0, 2, 400), random.integers(0, 2, 400)
    rough = np.where(random.random(400) < 0.08, 1 - large, large)
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(400)], "rough": rough, "large": large, "odd": odd})
    return Items.from_frame(frame.assign(y=2.0 * large + 0.5 * random.normal(size=400)), id="key", target="y")


SETTINGS: dict[str, Any] = {"cycles": 1, "add": 1, "cut": 0, "exemplars": 10, "reconsider": False}


@pytest.mark.parametrize("screen", [0, 40])
def test_a_better_wording_takes_the_place(estates: Items, screen: int) -> None:
    model = Surveyor()
    run = discover(estates, model, refinements=1, screen=screen, **SETTINGS)
    events = [(row.event, row.feature) for row in run.curve.itertuples()]
    assert events == [("start", ""), ("add", ROUGH), ("prune", ROUGH), ("add", EXACT), ("final", "")]
    alone = discover(estates, Surveyor(first=EXACT), screen=screen, **SETTINGS)
    for column in ("bound", "test_error"):  # the model is the one that the new wording makes by itself
        assert run.curve[column].iloc[-1] == pytest.approx(alone.curve[column].iloc[-1], rel=1e-3)
    active = run.features[run.features["active"]]
    assert list(active["text"]) == [EXACT]
    assert list(active["origin"]) == ["refined"]
    shown = model.contrasts[-2]
    assert shown.existing == (ROUGH,)
    assert shown.context == ()
    # The posterior follows the target, so that it is right where the rough answer is wrong, and those are shown.
    assert sum(item.fields["rough"] != item.fields["large"] for item in shown.positive) == 5
    assert np.mean([item.fields["large"] == 1 for item in shown.positive]) >= 0.9
    assert np.mean([item.fields["large"] == 0 for item in shown.negative]) >= 0.9


def test_without_a_better_wording_all_stays(estates: Items) -> None:
    before = discover(estates, Surveyor(), **SETTINGS)
    run = discover(estates, Surveyor(knows_better=False), refinements=2, **SETTINGS)
    assert list(run.curve["event"]) == ["start", "add", "final"]
    assert run.curve["bound"].iloc[-1] == pytest.approx(before.curve["bound"].iloc[-1], abs=1e-9)
    assert list(run.features["text"]) == [ROUGH]


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_its_refinements(estates: Items, tmp_path: Path, assert_same_run: Any) -> None:
    broken = Surveyor(interrupted=True)
    discover(estates, Surveyor(), refinements=1, out=tmp_path / "whole", **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        discover(estates, broken, refinements=1, out=tmp_path / "run", **SETTINGS)
    resume(tmp_path / "run", estates, model=Surveyor())
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_half_of_those_shown_are_in_dispute() -> None:
    posterior = np.array([0.99, 0.9, 0.8, 0.95, 0.97, 0.6, 0.1, 0.2, 0.02, 0.3])
    answers = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, np.nan])
    positive, negative = disputed_exemplars(posterior, answers, 4, np.random.default_rng(0))
    assert set(positive) == {3, 1, 0, 4}  # the surest of three in dispute, and of those agreed upon
    assert set(negative) == {8, 9, 6, 7}  # no answer is no agreement
    few = disputed_exemplars(posterior, answers, 1, np.random.default_rng(0))
    assert [side.tolist() for side in few] == [[3], [8]]
    nothing = disputed_exemplars(np.full(3, 0.9), np.ones(3), 2, np.random.default_rng(0))
    assert [len(side) for side in nothing] == [2, 0]
