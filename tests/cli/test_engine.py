"""`--engine dask`: the last fit of a run in blocks, and predictions of a folder part by part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

SHORT = ("--cycles", "1", "--add", "2", "--cut", "0", "--no-ceiling", "-q")
PLAIN = ("--likelihood", "gaussian", "--calibration", 0, "--no-shrinkage", "--error-rates", "symmetric")


@pytest.fixture
def parts(frame: pd.DataFrame, tmp_path: Path) -> Path:
    """The table as four parquet parts."""
    (tmp_path / "parts").mkdir()
    for number in range(4):
        frame.iloc[10 * number : 10 * number + 10].to_parquet(tmp_path / "parts" / f"p{number}.parquet")
    return tmp_path / "parts"


def test_a_last_fit_in_blocks_is_the_usual_one(genz: Any, table: Path) -> None:
    pytest.importorskip("distributed")
    where = ("fit", table, "--id", "key", "--target", "y", *SHORT)
    assert genz(*where, "--out", "usual", *PLAIN).code == 0
    outcome = genz(*where, "--out", "blocks", "--engine", "dask")
    assert (outcome.code, outcome.err) == (0, "")
    usual, blocks = (json.loads(Path(run, "metrics.json").read_text()) for run in ("usual", "blocks"))
    assert blocks["test"]["r2"] == pytest.approx(usual["test"]["r2"], abs=0.01)
    assert json.loads(Path("blocks/run.json").read_text())["settings"]["engine"] == "dask"
    assert genz("features", "blocks").code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--link", "neural"), "dask fits in blocks with link linear alone, got neural"),
        (("--likelihood", "student_t"), "with likelihood gaussian alone, got student_t"),
        (("--error-rates", "asymmetric"), "with error_rates symmetric alone, got asymmetric"),
        (("--calibration", 5), "with calibration 0.0 alone, got 5.0"),
        (("--inference", "svi"), "with inference coordinate alone, got svi"),
        (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler: expected --blocks"),
        (("--scheduler", "tcp://127.0.0.1:1", "--blocks", "."), "no Dask scheduler at tcp://127.0.0.1:1"),
        (("--varying", "colour"), "effects of groups are not fitted in blocks"),
    ],
)
def test_what_does_not_go_in_blocks_is_refused_before_anything(
    genz: Any, table: Path, options: tuple[object, ...], expected: str
) -> None:
    pytest.importorskip("distributed")
    outcome = genz("fit", table, "--id", "key", "--target", "y", "--out", "out", *SHORT, "--engine", "dask", *options)
    assert outcome.code == 2
    assert expected in outcome.message
    assert not Path("out").exists()


def test_missing_targets_are_refused(genz: Any, frame: pd.DataFrame) -> None:
    frame.assign(z=frame["y"].where(frame.index > 3)).to_csv("holes.csv", index=False)
    where = ("fit", "holes.csv", "--id", "key", "--target", "y", "--target", "z", "--out", "out")
    assert "a fit in blocks needs all of them" in genz(*where, *SHORT, "--engine", "dask").message


def test_parts_are_predicted_one_by_one(genz: Any, fit: Any, table: Path, parts: Path) -> None:
    assert fit(table, "out", "--no-ceiling").code == 0
    assert genz("predict", "out", table, "-o", "whole.parquet").code == 0
    outcome = genz("predict", "out", parts, "-o", "predicted")
    assert outcome.out.strip().endswith("40 predictions of 4 parts written to predicted")
    whole = pd.read_parquet("whole.parquet")
    found = pd.concat([pd.read_parquet(part) for part in sorted(Path("predicted").glob("*.parquet"))])
    assert found["id"].tolist() == whole["id"].tolist()
    assert found["mean"].to_numpy() == pytest.approx(whole["mean"].to_numpy())
    kept = Path("predicted/p0.parquet").stat().st_mtime_ns
    Path("predicted/p3.parquet").unlink()
    assert "10 predictions of 1 parts written to predicted; 3 were there" in genz("predict", "out", parts, "-o", "predicted").out
    assert Path("predicted/p0.parquet").stat().st_mtime_ns == kept
    pytest.importorskip("distributed")
    assert genz("predict", "out", parts, "-o", "spread", "--engine", "dask").code == 0
    for part in sorted(Path("predicted").iterdir()):
        pd.testing.assert_frame_equal(pd.read_parquet(part), pd.read_parquet(Path("spread") / part.name))


def test_folders_that_do_not_do_for_parts(genz: Any, fit: Any, table: Path, parts: Path, tmp_path: Path) -> None:
    assert fit(table, "out", "--no-ceiling").code == 0
    assert "SOURCE is a folder" in genz("predict", "out", parts).message
    assert "SOURCE is a folder" in genz("predict", "out", parts, "-o", "p.csv").message
    assert "is SOURCE itself" in genz("predict", "out", parts, "-o", parts).message
    (tmp_path / "empty").mkdir()
    assert "expected a folder of .parquet files" in genz("predict", "out", "empty", "-o", "predicted").message
    assert "and SOURCE is none" in genz("predict", "out", table, "--engine", "dask").message
