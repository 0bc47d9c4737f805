"""What boosting on all fields reaches beside a run: its scores by hand, its fields, and what it may cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import Split
from genz_ppl.discovery import ceiling
from genz_ppl.discovery.ceiling import ceiling_of, fields_of, seconds_for

MANY_STEPS = 200


def table(n_items: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.random(n_items), "colour": random.choice(["red", "blue", "green"], n_items)})
    frame["y"] = (frame["size"] > 0.5) + 2.0 * (frame["colour"] == "red") + 0.1 * random.normal(size=n_items)
    return frame


SPLIT = Split(train=np.arange(150), test=np.arange(150, 200))


def found_for(frame: pd.DataFrame, targets: Any, predicted: Any, kind: str, steps: int = MANY_STEPS) -> Any:
    items = Items.from_frame(frame, target="y", classes=kind == "classes")
    return ceiling_of(items, SPLIT, targets, predicted, kind, 0, steps)


def test_numbers_by_the_r2_of_the_targets_that_vary_most() -> None:
    y = table()["y"].to_numpy()
    targets = np.column_stack([y, 10 * y, *np.full((3, 200), 20 * y), 1e-3 * y])
    targets[151, 1] = np.nan
    predicted = np.tile(y[150:, None], 6) * [0, 10, 20, 20, 20, 0]
    found = found_for(table(), targets, predicted, "numbers")
    assert found.name == "gradient boosting on all fields"
    assert 0.9 < found.best < 1
    assert found.ours == pytest.approx(1)  # the two targets that vary least have no say
    half = found_for(table(), y[:, None], np.full((50, 1), y[150:].mean()), "numbers")
    assert half.ours == pytest.approx(0)
    assert found_for(table(), y[:, None], np.full((50, 1), y[150:].mean()), "numbers") == half
    assert found_for(table(), np.zeros((200, 1)), np.zeros((50, 1)), "numbers") is None


def test_classes_by_the_share_of_the_log_loss() -> None:
    turned = np.random.default_rng(1).random(200) < 0.1
    frame = table().assign(y=np.where((table()["colour"] == "red") ^ turned, "yes", "no"))
    codes = (frame["y"] == "yes").to_numpy(dtype=float)[:, None]
    share, came = codes[:150].mean(), codes[150:, 0]
    guess = -np.log(np.where(came > 0, share, 1 - share)).mean()
    found = found_for(frame, codes, np.full((50, 1), 0.5), "classes")
    assert found.ours == pytest.approx(1 - np.log(2) / guess)
    assert 0.3 < found.best < 0.8
    both = found_for(frame, codes, np.column_stack([1 - came, came]), "classes")
    assert both.ours == pytest.approx(1)
    assert found_for(frame, 0 * codes, np.full((50, 1), 0.5), "classes") is None


def test_fields_are_numbers_codes_and_words() -> None:
    notes = [f"number {row} with {'a view' if row % 2 else 'noise all night'}" for row in range(12)]
    frame = pd.DataFrame({"size": [None, *range(11)], "kind": ["b"] * 6 + ["a"] * 4 + ["c"] * 2, "note": notes})
    frame["y"] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    columns = fields_of(Items.from_frame(frame, target="y", as_text="note"))
    assert np.isnan(columns[0][0])
    assert columns[0][1:].tolist() == list(range(11))
    assert columns[1].tolist() == [0.0] * 6 + [1.0] * 4 + [2.0] * 2  # the most frequent first
    assert [0.0, 1.0] * 6 in [column.tolist() for column in columns[2:]]  # "view"


def test_a_short_run_has_none_and_a_longer_one_more_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    y = table()["y"].to_numpy()[:, None]
    assert seconds_for(4, 200) < 0 < seconds_for(80, 200)
    assert found_for(table(), y, y[150:], "numbers", steps=4) is None
    monkeypatch.setattr(ceiling, "TREE", 1.0)  # then a run of 400 steps has time for a dozen
    few = found_for(table(), y, y[150:], "numbers", steps=400)
    monkeypatch.undo()
    assert few.best < found_for(table(), y, y[150:], "numbers", steps=400).best


def test_nothing_to_learn_from_is_none() -> None:
    frame, y = table(), table()["y"].to_numpy()[:, None]
    items = Items.from_frame(frame, target="y")
    bare = replace(items, items=tuple(replace(item, fields={}) for item in items), schema=replace(items.schema, text=()))
    assert ceiling_of(bare, SPLIT, y, y[150:], "numbers", 0, MANY_STEPS) is None
    nobody = Split(train=SPLIT.train, test=np.arange(0))
    assert ceiling_of(items, nobody, y, y[:0], "numbers", 0, MANY_STEPS) is None


def test_a_run_notes_its_ceiling(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "START", 100.0)
    run = discover(frame, id="key", target="y", cycles=1, add=2, cut=0, out=tmp_path / "run")
    assert Discovery.load(tmp_path / "run").ceiling is None  # it has no fields to learn from
    found = run.ceiling
    assert found is not None
    assert found.ours == pytest.approx(run.summary.r2)
    monkeypatch.undo()
    assert Discovery.load(tmp_path / "run").ceiling == found
