"""Tables that come otherwise than as a file, on the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from genz_ppl.discovery.run.folder import RunDirectory


def piped(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))


def test_a_pipe_from_fit_to_resume_and_predict(
    genz: Any, fit: Any, frame: pd.DataFrame, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = frame.to_csv(index=False)
    piped(monkeypatch, content)
    assert fit("-", "run").code == 0
    directory = RunDirectory(Path("run"))
    assert directory.record().source == "-"
    (Path("run") / "state.safetensors").unlink()
    directory.set_status("interrupted")
    piped(monkeypatch, content.replace("red", "green"))
    assert "not those of the run" in genz("resume", "run").message
    piped(monkeypatch, content)
    assert genz("resume", "run").code == 0
    piped(monkeypatch, frame.drop(columns="y").to_csv(index=False))
    predicted = genz("predict", "run", "-")
    assert len(predicted.out.splitlines()) == len(frame) + 1
    monkeypatch.setattr(sys, "stdin", None)
    assert genz("report", "run").code == 0  # it asks for no input again


def test_how_a_file_is_written_is_noted_and_asked_anew_for_another(genz: Any, fit: Any, frame: pd.DataFrame) -> None:
    frame.to_csv("a.csv", index=False, sep="|", decimal=",", encoding="utf-16")
    how = ("--sep", "|", "--decimal", ",", "--encoding", "utf-16", "--memory", "2GB")
    assert fit("a.csv", "run", *how).code == 0
    source = json.loads(Path("run/run.json").read_text())["source"]
    assert source == f'{Path("a.csv").absolute()} --sep "|" --decimal "," --encoding "utf-16" --memory "2GB"'
    directory = RunDirectory(Path("run"))
    (Path("run") / "state.safetensors").unlink()
    directory.set_status("interrupted")
    assert genz("resume", "run").code == 0
    assert genz("predict", "run", "a.csv", *how, "-o", "there.csv").code == 0
    assert "not UTF-8" in genz("predict", "run", "a.csv", "-o", "there.csv").message
