"""The scripts in benchmarks/ compare like with like."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def numpy_em(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_numpy_em", BENCHMARKS / "numpy_em.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_numpy_and_package_agree_after_every_step(numpy_em: ModuleType) -> None:
    found = numpy_em.compare(n_items=300, n_features=6, n_targets=3, steps=8, seed=0)
    assert found.difference < 1e-8
    assert found.numpy_seconds > 0
    assert found.package_seconds > 0


def test_script_prints_its_table(
    numpy_em: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = numpy_em.Comparison(numpy_seconds=0.2, package_seconds=0.1, difference=1e-12, moves_cost=1.25)
    monkeypatch.setattr(numpy_em, "compare", lambda *sizes: found)
    monkeypatch.setattr(sys, "argv", ["numpy_em.py", "--items", "200", "--features", "3", "--targets", "2", "--steps", "2"])
    numpy_em.main()
    printed = capsys.readouterr().out
    assert "200 items, 3 features, 2 targets, 2 steps" in printed
    assert "| numpy | 0.2000 |" in printed
    assert "takes 0.50 times the seconds of numpy" in printed
