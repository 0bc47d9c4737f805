"""A disk that fills up: a run that is under way can be resumed (4), what can simply be given again says so (2)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """After that many files have been put in their places the next cannot be, for the reason given."""

    def fill(left: int, reason: int = errno.ENOSPC) -> None:
        files, replace = iter(range(10**6)), Path.replace

        def failing(path: Path, target: Path) -> Path:
            if next(files) >= left:
                raise OSError(reason, os.strerror(reason))
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", failing)

    return fill


@pytest.mark.slow
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_a_run_under_way(genz: Any, fit: Any, table: Path, full: Any, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    with monkeypatch.context():
        full(8, reason)
        outcome = fit(table.name, "out")
    assert outcome.code == 4
    assert outcome.message.startswith("genz: out/")
    assert f"cannot be written: {os.strerror(reason)}" in outcome.message
    assert outcome.message.endswith("what was done is saved, go on with: genz resume out")
    assert genz("resume", "out").code == 4  # still full
    monkeypatch.undo()
    monkeypatch.chdir(table.parent)
    assert genz("resume", "out").code == 0
    assert json.loads(Path("out/run.json").read_text())["status"] == "done"


def test_a_run_that_could_not_begin(fit: Any, table: Path, full: Any) -> None:
    full(0)
    outcome = fit(table.name, "out")
    assert outcome.code == 2
    assert "out/split.parquet: cannot be written: No space left on device; free some space" in outcome.message
    assert not Path("out").exists()


@pytest.mark.slow
def test_commands_that_can_be_given_again(genz: Any, fit: Any, table: Path, full: Any) -> None:
    assert fit(table.name, "out").code == 0
    before = sorted(path.name for path in Path("out").iterdir())
    import_module("genz_ppl.diagnostics.inference_data")  # ArviZ writes a file of its own when imported, once a day
    full(0)
    for arguments in (("predict", "out", table.name, "-o", "p.csv"), ("report", "out"), ("diagnose", "out")):
        outcome = genz(*arguments)
        assert outcome.code == 2
        assert "cannot be written (No space left on device); check space and permissions" in outcome.message
        assert "and give" in outcome.message
    assert sorted(path.name for path in Path("out").iterdir()) == before
    assert not Path("p.csv").exists()


def test_images_are_looked_at_before_anything_is_asked(
    fit: Any, frame: pd.DataFrame, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of items that would be asked about hours later."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    for key in frame["key"]:
        Path(f"{key}.png").write_bytes(b"\x89PNG\r\n\x1a\n" if key != "k39" else b"root:x:0:0")
    frame.assign(photo=frame["key"] + ".png").to_csv(table, index=False)
    served = ("--model", "openai:m", "--base-url", "http://127.0.0.1:9/v1", "--store", "s")
    outcome = fit(table.name, "out", *served, "--image", "photo")
    assert outcome.code == 2
    assert "k39.png: expected an image" in outcome.message
    assert not Path("out").exists()
