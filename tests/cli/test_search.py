"""`genz search`: answered questions chosen over parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.inference import fit
from tests.inference.blockwise.conftest import made

COLUMNS = ("--question", "q*", "--target", "y*", "--covariate", "x0:x1")
SHORT = ("--add", 4, "--cut", 1, "--cycles", 1, "--refit-steps", 3, "--final-steps", 4, "-q")


@pytest.fixture
def parts() -> Path:
    """Two parts to choose on, one to test on, in the working directory."""
    h, y, x = made(900, 6, 2, seed=4, n_telling=2)
    columns = {f"q{k} is it?": h[:, k] for k in range(6)}
    columns |= {f"{name}{k}": values[:, k] for name, values in (("y", y), ("x", x)) for k in range(2)}
    frame = pd.DataFrame(columns).assign(id=[f"i{n}" for n in range(900)])
    Path("parts").mkdir()
    frame[:400].to_parquet("parts/a.parquet")
    frame[400:700].to_parquet("parts/b.parquet")
    frame[700:].to_parquet("test.parquet")
    frame[:9].assign(**{"q3 is it?": [1.0, 3.0, *[0.0] * 7]}).to_parquet("bad.parquet")
    return Path("parts")


def test_questions_are_chosen_fitted_and_tested(genz: Any, parts: Path) -> None:
    outcome = genz("search", parts, "--test", "test.parquet", "--out", "out", *COLUMNS, *SHORT, "--final-steps", 100)
    assert (outcome.code, outcome.err) == (0, "")
    assert "q0 is it?" in outcome.out
    assert "2 features, chosen on 700 of 700 items; R2 0." in outcome.out
    features, metrics = pd.read_csv("out/features.csv"), json.loads(Path("out/metrics.json").read_text())
    assert set(features["question"]) == {"q0 is it?", "q1 is it?"}
    assert (features["loss"] > 10).all()
    assert features["loss"].is_monotonic_decreasing
    curve = pd.read_csv("out/curve.csv")
    assert list(curve["event"][:2]) == ["add", "add"]
    # The same questions in memory, fitted to where they stay.
    frame = pd.concat([pd.read_parquet(part) for part in sorted(parts.iterdir())])
    chosen = list(features["question"])
    covariates, targets = frame[["x0", "x1"]].to_numpy(), frame[["y0", "y1"]].to_numpy()
    plain: dict[str, Any] = {"inference": "coordinate", "calibration": 0.0, "shrinkage": False, "steps": 200}
    usual = fit(frame[chosen].to_numpy(), targets, covariates, **plain)
    for place, (_, row) in enumerate(features.iterrows()):
        effect = usual.parameters["weights"][place, ["y0", "y1"].index(row["target"])]
        assert row["effect"] == pytest.approx(effect, abs=0.02)
    assert metrics["noise"] == pytest.approx(usual.parameters["scale"], rel=0.01)
    test = pd.read_parquet("test.parquet")
    predicted = usual.predict(test[chosen].to_numpy(), test[["x0", "x1"]].to_numpy())
    rmse = float(np.sqrt(np.mean((test[["y0", "y1"]].to_numpy() - predicted) ** 2)))
    assert metrics["test"]["rmse"] == pytest.approx(rmse, rel=0.01)
    assert (metrics["test"]["n_items"], metrics["train"]["n_items"], metrics["n_features"]) == (200, 700, 2)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "curve.csv", "features.csv", "metrics.json", "parameters.npz", "search.json",
    ]  # fmt: skip


def test_dask_finds_the_same_on_a_sample(genz: Any, parts: Path) -> None:
    pytest.importorskip("distributed")
    here = genz("search", parts, "--out", "here", *COLUMNS, *SHORT, "--sample", 300)
    there = genz("search", parts, "--out", "there", *COLUMNS, *SHORT, "--sample", 300, "--engine", "dask")
    assert (here.code, there.code) == (0, 0)
    for name in ("features.csv", "curve.csv", "parameters.npz"):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
    assert "of 700 items" in there.out


def test_a_search_that_was_stopped_goes_on(genz: Any, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genz_ppl.inference.blockwise import search

    assert genz("search", parts, "--out", "whole", *COLUMNS, *SHORT).code == 0
    saved, times = search.Search._save, list[int]()

    def stop(self: Any, stand: Any) -> None:
        saved(self, stand)
        times.append(1)
        if len(times) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(search.Search, "_save", stop)
    stopped = genz("search", parts, "--out", "out", *COLUMNS, *SHORT)
    assert stopped.code == 130
    assert "give the command again" in stopped.message
    assert genz("search", parts, "--out", "out", *COLUMNS, *SHORT).code == 0
    for name in ("features.csv", "curve.csv", "parameters.npz"):
        assert Path("whole", name).read_bytes() == Path("out", name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("parts", "--out", "out", "--target", "y0"), "--question: expected at least one column, got none"),
        (("parts", "--out", "out", "--question", "q*"), "--target: expected at least one column, got none"),
        (("parts", "--out", "out", "--question", "q*", "--target", "z"), "expected a column 'z', found none"),
        (("parts", "--out", "out", *COLUMNS, "--target", "q0 is it?"), "'q0 is it?': is named twice"),
        (("parts", "--out", "out", "--question", "id", "--target", "y0"), "expected answers 1 and 0, or true and false"),
        (("bad.parquet", "--out", "out", *COLUMNS), "bad.parquet: row 2, column 'q3 is it?': expected 1, 0 or nothing, found 3"),
        (("none", "--out", "out", *COLUMNS), "expected a .parquet file, or a folder of them, found none"),
        (("parts", "--out", "parts", *COLUMNS), "--out parts: is not empty"),
        (("parts", "--out", "test.parquet", *COLUMNS), "--out test.parquet: is a file; name a new folder"),
        (("parts", "--out", "out", *COLUMNS, "--add", 0), "--add: expected a whole number of at least 1"),
        (("parts", "--out", "out", *COLUMNS, "--scheduler", "tcp://127.0.0.1:1"), "goes with engine dask"),
    ],
)
def test_what_cannot_be_searched_is_refused(genz: Any, parts: Path, arguments: tuple[object, ...], expected: str) -> None:
    outcome = genz("search", *arguments)
    assert outcome.code == 2
    assert expected in outcome.message
    assert not Path("out").exists()  # so that it may be named again


def test_a_folder_of_another_search_is_left_alone(genz: Any, parts: Path) -> None:
    assert genz("search", parts, "--out", "out", *COLUMNS, *SHORT).code == 0
    kept = Path("out/features.csv").read_bytes()
    assert "holds this search, done" in genz("search", parts, "--out", "out", *COLUMNS, *SHORT).message
    assert "holds another search" in genz("search", parts, "--out", "out", *COLUMNS, *SHORT, "--seed", 3).message
    assert Path("out/features.csv").read_bytes() == kept
