"""Runs on targets that stay in float32, as their file has them: those of float64, but for rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import extract, typed_files
from genz_ppl.data import items as items_module
from genz_ppl.diagnostics import measures
from genz_ppl.discovery.run import narrow
from genz_ppl.inference import packed

N_ITEMS, SAMPLE = 4000, 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six attributes of which three matter; answers no are wrong ten times as often as answers yes."""
    random, folder = np.random.default_rng(5), tmp_path_factory.mktemp("narrow")
    z = random.random((N_ITEMS, 6)) < 0.4
    y = 7.1 + z[:, :3] @ random.normal(size=(3, 4)) * 2 + random.normal(size=(N_ITEMS, 4))
    names = [f"thing {row}" for row in range(N_ITEMS)]
    frame = pd.DataFrame({"id": names, "what": names, **{f"y{d}": y[:, d].astype(np.float32) for d in range(4)}})
    frame.to_parquet(folder / "items.parquet")
    said = z & (random.random(z.shape) > 0.2) | ~z & (random.random(z.shape) < 0.01)
    answers = pd.DataFrame(said.astype(int), columns=[f"has {k}" for k in range(6)])
    answers.insert(0, "id", names)
    answers.to_csv(folder / "table.csv", index=False)
    return folder


def read(folder: Path) -> Items:
    return Items.from_parquet(folder / "items.parquet", id="id", target="y*", text="what")


@pytest.fixture(scope="module")
def wide(folder: Path) -> Items:
    return read(folder)


@pytest.fixture
def slim(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Items:
    for module in (extract, items_module, typed_files, packed):
        monkeypatch.setattr(module, "LARGE", 1000)
    for module in (measures, narrow):
        monkeypatch.setattr(module, "PART", 300)
    return read(folder)


def found(items: Items, folder: Path, **settings: Any) -> Discovery:
    options: dict[str, Any] = {"link": "linear", "likelihood": "gaussian", "add": 3, "cycles": 1, "cut": 0, "combine": 1}
    return discover(items, f"table:{folder / 'table.csv'}", progress=False, sample=SAMPLE, **{**options, **settings})


def test_items_say_the_same_in_half_the_memory(wide: Items, slim: Items) -> None:
    assert wide.targets is not None
    assert slim.targets is not None
    assert [str(each.dtype) for each in (wide.targets, slim.targets)] == ["float64", "float32"]
    assert slim.fingerprint() == wide.fingerprint()
    np.testing.assert_array_equal(slim.targets, wide.targets.astype(np.float32))
    some = slim.take(np.arange(N_ITEMS - 100))
    assert some.targets is not None
    assert some.targets.dtype == np.float32
    few = slim[:5]
    assert few.targets is not None
    assert few.targets.dtype == np.float64
    assert not slim.targets.flags.writeable


@pytest.mark.parametrize("settings", [{}, {"error_rates": "asymmetric"}, {"likelihood": "student_t"}], ids=str)
def test_runs_find_the_same(
    wide: Items, folder: Path, slim: Items, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    slender = found(slim, folder, **settings)
    monkeypatch.undo()
    usual = found(wide, folder, **settings)
    numbers = ["gain", "effect", "effect_lower", "effect_upper", "p_e", "prevalence"]
    assert list(slender.features["text"]) == list(usual.features["text"])
    np.testing.assert_allclose(slender.features[numbers], usual.features[numbers], rtol=1e-5)
    errors = ["bound", "train_error", "test_error"]
    np.testing.assert_allclose(slender.curve[errors], usual.curve[errors], rtol=1e-6, atol=1e-8)  # R2 begins at 0
    np.testing.assert_allclose(slender.predict(wide[:50]), usual.predict(wide[:50]), atol=1e-5)
    one, other = (run.progress.outcome for run in (slender, usual))
    assert one.keys() == other.keys()
    for name, value in other.items():
        assert one[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True)), name


def test_all_is_measured_as_in_float64() -> None:
    random = np.random.default_rng(0)
    targets, predicted = (random.normal(size=(1000, 3)).astype(np.float32) for _ in range(2))
    targets[random.random(targets.shape) < 0.1] = np.nan
    for metric in ("r2", "rmse", "median_absolute_error", "cosine", "mean_absolute_error"):
        expected = measures.score(targets.astype(np.float64), predicted.astype(np.float64), metric)
        assert measures.score(targets, predicted, metric) == pytest.approx(expected, rel=1e-6), metric
    empty = np.full((3, 2), np.nan, dtype=np.float32)
    assert all(np.isnan(measures.score(empty, empty, metric)) for metric in ("r2", "rmse", "median_absolute_error", "cosine"))


@pytest.mark.parametrize("gaps", [False, True])
def test_other_columns_are_read_as_ever(folder: Path, slim: Items, tmp_path: Path, gaps: bool) -> None:
    """Targets that are not all float32 are float64; gaps stay gaps."""
    frame = pd.read_parquet(folder / "items.parquet")
    if gaps:
        frame.loc[3, "y1"] = np.nan
    else:
        frame["y1"] = frame["y1"].astype(np.float64)
    frame.to_parquet(tmp_path / "items.parquet")
    items = read(tmp_path)
    assert items.targets is not None
    assert items.targets.dtype == (np.float32 if gaps else np.float64)
    assert np.argwhere(np.isnan(items.targets)).tolist() == ([[3, 1]] if gaps else [])
