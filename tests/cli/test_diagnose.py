"""`genz diagnose` and `genz compare`, end to end on a small table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def runs(genz: Any, tmp_path: Path) -> list[str]:
    """Two runs on one table and split, with another likelihood each."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": random.choice(["red", "blue"], 80), "size": random.integers(0, 10, 80)})
    frame["y"] = 2.0 * (frame["colour"] == "red") + 1.0 * (frame["size"] >= 5) + 0.3 * random.standard_t(2, size=80)
    frame.to_csv(tmp_path / "toy.csv", index=False)
    for likelihood in ("gaussian", "student_t"):
        done = genz("fit", "toy.csv", "--target", "y", "--out", likelihood, "--likelihood", likelihood, "--cycles", 1, "--add", 2)
        assert done.code == 0, done.err
    return ["gaussian", "student_t"]


@pytest.mark.slow
def test_diagnose_prints_and_writes(genz: Any, runs: list[str], tmp_path: Path) -> None:
    done = genz("diagnose", runs[0])
    assert done.code == 0, done.err
    assert done.err == ""
    for part in ("colour is", "Leave-one-out", "k-hat", "90% interval", "cut loose", "contradicts", "No R-hat"):
        assert part in done.out
    assert (tmp_path / runs[0] / "posterior.nc").stat().st_size > 1000
    found = json.loads(genz("diagnose", runs[0], "--json").out)
    assert found["items"] == 64
    assert found["loo"]["p_loo"] > 1
    assert {row["statistic"] for row in found["predictive_check"]} == {"mean", "sd", "smallest", "largest"}
    assert 0.5 < found["coverage"]["test"]["0.9"] <= 1


@pytest.mark.slow
def test_the_run_is_as_it_was_but_for_the_new_file(genz: Any, runs: list[str], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / runs[1]).iterdir()}
    genz("diagnose", runs[1])
    after = {path.name: path.read_bytes() for path in (tmp_path / runs[1]).iterdir()}
    assert after.pop("posterior.nc")
    assert after == before


@pytest.mark.slow
def test_compare_prints_a_table_and_advice(genz: Any, runs: list[str]) -> None:
    done = genz("compare", *runs)
    assert done.code == 0, done.err
    assert "elpd loo" in done.out
    assert "LOO prefers" in done.out
    found = json.loads(genz("compare", *runs, "--json").out)
    assert {row["run"] for row in found["runs"]} == set(runs)
    assert found["runs"][0]["elpd_difference"] == 0
    assert found["runs"][1]["elpd_difference"] < 0


@pytest.mark.slow
def test_wrong_use(genz: Any, runs: list[str]) -> None:
    for arguments, message in (
        (("diagnose", "nowhere"), "nowhere: expected a run directory, found no run.json; give the folder of --out"),
        (("compare", "gaussian"), "DIR: expected at least two runs to compare, got 1"),
        (("compare", "gaussian", "gaussian"), "DIR: a run is named twice; name each once"),
    ):
        done = genz(*arguments)
        assert done.code == 2
        assert done.message == f"genz: {message}"
        assert done.out == ""


@pytest.mark.slow
def test_runs_on_other_splits_are_not_compared(genz: Any, runs: list[str]) -> None:
    genz("fit", "toy.csv", "--target", "y", "--out", "other", "--seed", 5, "--cycles", 1, "--add", 1)
    done = genz("compare", "gaussian", "other")
    assert done.code == 2
    assert "other: expected the training items and targets of gaussian, got others" in done.message


@pytest.mark.slow
def test_wrong_options_of_strategies_in_the_words_of_the_command_line(genz: Any, runs: list[str], tmp_path: Path) -> None:
    fit = ("fit", "toy.csv", "--target", "y", "--out", "new")
    for extra, message in (
        (("--bayesian",), "--bayesian: auto fits weights and noise as points; choose inference svi"),
        (("--batch-size", 10), "--batch-size: auto works on all items at once; choose inference svi"),
        (("--inference", "svi", "--batch-size", 100), "--batch-size: expected at most the 64 items there are to fit, got 100"),
        (("--likelihood", "poisson"), "toy.csv: target 'y': expected counts (0, 1, 2, ...) for the poisson likelihood, got"),
    ):
        done = genz(*fit, *extra)
        assert done.code == 2
        assert done.message.removeprefix("genz: ").startswith(message)
        assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_classes_by_name_and_what_is_comparable_between_likelihoods(genz: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": random.choice(["red", "blue"], 80), "size": random.integers(0, 10, 80)})
    frame["kind"] = np.where((frame["colour"] == "red") ^ (random.random(80) < 0.1), "warm", "cold")
    frame.to_csv(tmp_path / "toy.csv", index=False)
    for likelihood in ("bernoulli", "categorical"):
        fit = ("fit", "toy.csv", "--target", "kind", "--out", likelihood, "--likelihood", likelihood)
        done = genz(*fit, "--cycles", 1, "--add", 1, "--no-ceiling")
        assert done.code == 0, done.err
        assert "; accuracy " in done.out
        found = json.loads(genz("diagnose", likelihood, "--json").out)
        expected = ["kind is warm"] if likelihood == "bernoulli" else ["kind is cold", "kind is warm"]
        assert [(row["target"], row["statistic"]) for row in found["predictive_check"]] == [(name, "mean") for name in expected]
        assert (found["confusion"]["kind"]["classes"], found["coverage"]) == (["cold", "warm"], {})
        metrics = json.loads((tmp_path / likelihood / "metrics.json").read_text(encoding="utf-8"))["test"]
        measured = {row["measure"]: row["test"] for row in found["measures"]}
        assert measured == pytest.approx({name: metrics[name] for name in measured})
        printed = genz("diagnose", likelihood).out
        assert "balanced_accuracy" in printed
        assert "kind: came  cold  warm" in printed
    done = genz("compare", "bernoulli", "categorical")
    assert "balanced accuracy" in done.out
    assert "different error metrics" not in done.out  # both are the mean of -log P(the class that came)
    rows = json.loads(genz("compare", "bernoulli", "categorical", "--json").out)["runs"]
    assert all(row["log_loss"] == pytest.approx(row["error"], rel=1e-6) for row in rows)
