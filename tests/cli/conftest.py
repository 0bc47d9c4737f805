from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genz_ppl.cli.app import run


@dataclass(frozen=True)
class Outcome:
    """What a command line ended with."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The only line on stderr besides steps and notes; of notes, if there is nothing else."""
        lines = [line for line in self.err.splitlines() if not line.startswith(("genz: step ", "genz: stage "))]
        others = [line for line in lines if not line.startswith("genz: note: ")] or lines
        assert len(others) == 1, self.err
        return others[0]


Genz = Callable[..., Outcome]

# One round on the small table: enough to find something, half a second.
SHORT = ("--cycles", "1", "--add", "2", "--cut", "0")


@pytest.fixture(autouse=True, scope="module")  # before the results of a module are made
def one_thread() -> Iterator[None]:
    """Small tables gain nothing from a second thread, and on a busy machine threads wait for each other for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def genz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Genz:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def frame() -> pd.DataFrame:
    """40 items whose target is 3 x red + 2 x (size at least 5) and a little noise."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(40)],
            "colour": random.choice(["red", "green", "blue"], 40),
            "size": random.integers(0, 10, 40),
        }
    )
    table["y"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] >= 5) + 0.1 * random.normal(size=40)
    return table


@pytest.fixture
def table(frame: pd.DataFrame, tmp_path: Path) -> Path:
    """The frame as toy.csv."""
    frame.to_csv(tmp_path / "toy.csv", index=False)
    return tmp_path / "toy.csv"


@pytest.fixture
def fit(genz: Genz) -> Genz:
    """`genz fit` with the key, the target and few steps."""

    def call(source: object, out: object, *more: object) -> Outcome:
        return genz("fit", source, "--id", "key", "--target", "y", "--out", out, *SHORT, *more)

    return call
