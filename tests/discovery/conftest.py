from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl.data import Items
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, Item


@pytest.fixture(autouse=True, scope="module")  # before the results of a module are made
def one_thread() -> Iterator[None]:
    """Small tables gain nothing from a second thread, and on a busy machine threads wait for each other for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy_frame(rows: int = 60) -> pd.DataFrame:
    """A target of 3 x red + 2 x (size at least 5) - 1.5 x old, and a little noise."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "colour": random.choice(["red", "green", "blue"], rows),
            "size": random.integers(0, 10, rows),
            "note": random.choice(["old oak", "new pine", "old pine"], rows),
        }
    )
    table["y"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] >= 5) - 1.5 * table["note"].str.contains("old")
    table["y"] += 0.3 * random.normal(size=rows)
    return table


@pytest.fixture
def frame() -> pd.DataFrame:
    return toy_frame()


@pytest.fixture
def items(frame: pd.DataFrame) -> Items:
    return Items.from_frame(frame, id="key", target="y")


class Recorder(RulesModel):
    """The rules model, with a memory of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.contrasts: list[tuple[Contrast, int]] = []
        self.shown: list[Item] = []

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        self.asked.append((tuple(item.id for item in items), tuple(features)))
        self.shown.extend(items)
        return super().answer(items, features)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.contrasts.append((contrast, n))
        self.shown.extend([*contrast.positive, *contrast.negative])
        return super().propose(contrast, n)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def contents(folder: Path) -> dict[str, Any]:
    """The files of a run directory by name, without times and the run's id: all else must be equal byte for byte."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.name == "curve.csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found[path.name] = table.drop(columns="seconds").to_csv()
        elif path.suffix == ".json":
            record = json.loads(path.read_text(encoding="utf-8"))
            record.pop("seconds", None), record.pop("id", None)
            found[path.name] = json.dumps(record)  # keeps the order of the keys
        else:
            found[path.name] = path.read_bytes()
    return found


@pytest.fixture
def assert_same_run() -> Callable[[Path, Path], None]:
    """Fails unless two run directories are identical but for times."""

    def check(first: Path, second: Path) -> None:
        left, right = contents(first), contents(second)
        assert sorted(left) == sorted(right)
        assert len(left) == 7
        different = [name for name in left if left[name] != right[name]]
        assert not different, f"{first} and {second} differ in {different}"

    return check
