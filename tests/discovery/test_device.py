"""Where a run is fitted: the same run on a CUDA device, names that are refused, and going on on another device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genz_ppl import Discovery, Items, baseline, discover, resume
from genz_ppl.cli.app import run as run_command
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.settings import DiscoverSettings

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 1, "seed": 3}
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


class Stopping(RulesModel):
    """Interrupts the run when asked for answers for the `at`-th time; 0: never."""

    def __init__(self, at: int = 4) -> None:
        self.at, self.calls = at, 0

    def answer(self, items: Any, features: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().answer(items, features)


def begun_on_cuda(folder: Path, **changes: Any) -> RunRecord:
    """Make a run look as a machine with a CUDA device leaves it, where the state is written from the CPU, too; its run.json."""
    directory = RunDirectory(folder)
    record = directory.record()
    record = record.changed(settings=replace(record.settings, device="cuda"), **changes)
    directory.write_record(record)
    return record


def assert_close(one: Discovery, other: Discovery) -> None:
    """Fails unless two runs found the same wordings with the same numbers, to 1e-6."""
    assert one.features["text"].tolist() == other.features["text"].tolist()
    assert one.curve[["event", "feature"]].equals(other.curve[["event", "feature"]])
    for column in ("bound", "train_error", "test_error"):
        np.testing.assert_allclose(one.curve[column], other.curve[column], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.posterior, other.posterior, atol=1e-6)
    np.testing.assert_allclose(one.features["p_e"], other.features["p_e"], atol=1e-6)


@CUDA
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"likelihood": "laplace"},
        {"likelihood": "student_t"},
        {"likelihood": "isotropic", "algorithm": "basic"},
        {"link": "interaction"},
    ],
)
def test_a_run_on_cuda_is_the_run_on_the_cpu(items: Items, tmp_path: Path, settings: dict[str, Any]) -> None:
    here = discover(items, **QUICK, **settings)
    there = discover(items, out=tmp_path / "run", device="cuda", **QUICK, **settings)
    assert_close(here, there)
    np.testing.assert_allclose(here.predict(items), there.predict(items), rtol=1e-6, atol=1e-6)
    loaded = Discovery.load(tmp_path / "run")
    assert loaded.posterior.equals(there.posterior)
    assert loaded.features.equals(there.features)


@CUDA
def test_a_baseline_on_cuda_is_the_baseline_on_the_cpu(items: Items) -> None:
    here, there = (baseline(items, n_questions=8, seed=3, device=device) for device in ("cpu", "cuda"))
    assert_close(here, there)


@CUDA
@pytest.mark.parametrize(("begun", "ended"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_another_device(items: Items, tmp_path: Path, begun: str, ended: str) -> None:
    whole = discover(items, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Stopping(), out=tmp_path / "run", device=begun, **QUICK)
    assert_close(whole, resume(tmp_path / "run", items, model="rules", device=ended))
    assert RunDirectory(tmp_path / "run").record().settings.device == ended


@pytest.mark.parametrize("name", ["tpu", "CUDA", "cuda:", "cuda:-1", "cuda 1", "", 0, None])
def test_an_unknown_device_is_refused(name: Any) -> None:
    with pytest.raises(OptionError, match=r"^device: expected 'cpu', 'cuda' or 'cuda:1' and so on, got .*$"):
        DiscoverSettings(device=name)


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"inference": "svi"}, "inference svi"),
        ({"inference": "structured"}, "inference structured"),
        ({"inference": "enumeration", "max_features": 3}, "inference enumeration"),
        ({"inference": "svi", "bayesian": True}, "inference svi with bayesian"),
    ],
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_other_strategies_run_on_the_cpu_only(settings: dict[str, Any], given: str, device: str) -> None:
    expected = f"^device: {device} is for inference coordinate, got {given}; use cpu, or choose coordinate$"
    with pytest.raises(OptionError, match=expected):
        DiscoverSettings(device=device, **settings)
    DiscoverSettings(device="cpu", **settings)


@NO_CUDA
@pytest.mark.parametrize("begin", [discover, baseline])
def test_a_device_that_is_not_there_is_refused_before_anything_is_asked(
    begin: Any, items: Items, tmp_path: Path, recorder: Any
) -> None:
    with pytest.raises(OptionError, match=r"^device: torch finds no 'cuda' on this machine; use 'cpu'$"):
        begin(items, recorder, out=tmp_path / "run", device="cuda")
    assert not recorder.asked
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_begun_elsewhere_goes_on_on_the_cpu(
    items: Items, tmp_path: Path, assert_same_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover(items, Stopping(at=0), out=tmp_path / "whole", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Stopping(), out=tmp_path / "run", **QUICK)
    record = begun_on_cuda(tmp_path / "run")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(OptionError, match=r"^device: torch finds no 'cuda' on this machine; use 'cpu'$"):
        resume(tmp_path / "run", items, model=Stopping(at=0))
    with pytest.raises(OptionError, match=r"^device: expected 'cpu', 'cuda'"):
        resume(tmp_path / "run", items, model=Stopping(at=0), device="tpu")
    assert RunDirectory(tmp_path / "run").record() == record
    resume(tmp_path / "run", items, model=Stopping(at=0), device="cpu")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_baseline_begun_elsewhere_goes_on_on_the_cpu(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    baseline(items, Stopping(at=0), out=tmp_path / "whole", n_questions=4, seed=3)
    with pytest.raises(KeyboardInterrupt):
        baseline(items, Stopping(at=1), out=tmp_path / "run", n_questions=4, seed=3)
    begun_on_cuda(tmp_path / "run")
    resume(tmp_path / "run", items, model=Stopping(at=0), device="cpu")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@NO_CUDA
def test_the_commands_name_the_flag(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame.to_csv("toy.csv", index=False)
    columns = ("toy.csv", "--id", "key", "--target", "y", "--device")
    absent = "genz: --device: torch finds no 'cuda' on this machine; use 'cpu'\n"
    for command in ("fit", "baseline"):
        assert run_command([command, *columns, "cuda", "--out", "run"]) == 2
        assert capsys.readouterr().err == absent
        assert not Path("run").exists()
    assert run_command(["plan", *columns, "cuda"]) == 0  # of a run on a machine that has one
    assert run_command(["plan", *columns, "tpu"]) == 2
    assert run_command(["fit", *columns, "cuda", "--inference", "svi", "--out", "run"]) == 2
    unknown, elsewhere = capsys.readouterr().err.splitlines()
    assert unknown == "genz: --device: expected 'cpu', 'cuda' or 'cuda:1' and so on, got 'tpu'"
    assert elsewhere == "genz: --device: cuda is for inference coordinate, got inference svi; use cpu, or choose coordinate"
    assert run_command(["baseline", *columns, "cpu", "--questions", "2", "--out", "run"]) == 0
    begun_on_cuda(Path("run"), status="interrupted")
    capsys.readouterr()
    assert run_command(["resume", "run"]) == 2
    assert capsys.readouterr().err == absent
    assert run_command(["resume", "run", "--device", "cpu"]) == 0
    assert RunDirectory(Path("run")).record().settings.device == "cpu"
