from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.tables import FEATURE_COLUMNS
from genz_ppl.errors import InputError, OptionError, RunDirectoryError, RunNotSavedError

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 1}
SETTINGS: list[dict[str, Any]] = [{}, {"link": "neural"}, {"likelihood": "isotropic"}]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_written_is_what_is_loaded(items: Items, tmp_path: Path, settings: dict[str, Any]) -> None:
    run = discover(items, out=tmp_path / "a" / "run", **QUICK, **settings)
    loaded = Discovery.load(tmp_path / "a" / "run")
    pd.testing.assert_frame_equal(loaded.features, run.features)
    pd.testing.assert_frame_equal(loaded.posterior, run.posterior)
    pd.testing.assert_frame_equal(loaded.curve, run.curve)
    pd.testing.assert_frame_equal(loaded.predict(items), run.predict(items))
    assert (loaded.status, loaded.settings, loaded.schema) == ("done", run.settings, run.schema)


def test_the_files_are_those_of_the_contract(items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", **QUICK)
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "curve.csv",
        "features.csv",
        "items.parquet",
        "metrics.json",
        "run.json",
        "split.parquet",
        "state.safetensors",
    ]
    features = pd.read_csv(folder / "features.csv")
    assert list(features) == list(run.features)
    assert list(features) == list(FEATURE_COLUMNS)
    curve = pd.read_csv(folder / "curve.csv")
    assert list(curve) == [
        *("step", "cycle", "event", "feature", "n_features", "bound", "train_error", "test_error", "metric"),
        *("answers_asked", "proposals_asked", "calls", "tokens_in", "tokens_out", "cost", "seconds"),
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {
        *("train", "test", "n_features", "answers_asked", "proposals_asked", "calls"),
        *("tokens_in", "tokens_out", "cost", "seconds", "status", "summary"),
    }
    assert set(metrics["test"]) == {"r2", "median_absolute_error", "rmse", "log_likelihood"}
    assert metrics["n_features"] == features["active"].sum() == curve["n_features"].iloc[-1]
    assert metrics["train"]["median_absolute_error"] == pytest.approx(curve["train_error"].iloc[-1])
    assert metrics["seconds"] > 0
    record = json.loads((folder / "run.json").read_text())
    split = items.split_indices(0, 0.2)
    sides = pd.read_parquet(folder / "split.parquet")
    assert sides.loc[sides["side"] == "train", "id"].tolist() == [items.ids[index] for index in split.train]
    assert sides.loc[sides["side"] == "test", "id"].tolist() == [items.ids[index] for index in split.test]
    assert {name: record["items"][name] for name in ("train", "test", "held")} == sides["side"].value_counts().to_dict() | {
        "held": 0
    }
    assert record["status"] == metrics["status"] == "done"


@pytest.mark.slow
def test_the_log_likelihood_is_that_of_the_predictions(items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", cycles=1, add=3, cut=0)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    train = items.take(items.split_indices(0, 0.2).train)
    assert train.targets is not None
    predicted = run.predict(train)
    sd = predicted["sd"].to_numpy()
    density = -0.5 * ((train.targets[:, 0] - predicted["mean"].to_numpy()) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    # One normal distribution an item stands in for the mixture over z: alike, not equal.
    assert metrics["train"]["log_likelihood"] == pytest.approx(density.mean(), abs=0.3)


def test_metrics_that_cannot_be_had_are_null(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame["part"] = np.where(np.arange(len(frame)) < 50, "train", "test")
    frame.loc[50:, "y"] = np.nan
    discover(Items.from_frame(frame, id="key", target="y", split="part"), out=tmp_path / "run", **QUICK)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["r2"] is None
    assert metrics["train"]["r2"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [*SETTINGS, {"algorithm": "basic", "polarity": "negative"}])
def test_the_same_seed_writes_the_same_files(
    items: Items, tmp_path: Path, assert_same_run: Any, settings: dict[str, Any]
) -> None:
    for name in ("first", "second"):
        discover(items, out=tmp_path / name, seed=11, **QUICK, **settings)
    assert_same_run(tmp_path / "first", tmp_path / "second")


def test_the_comparison_of_runs_sees_a_difference(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    for seed in (1, 2):
        discover(items, out=tmp_path / str(seed), seed=seed, cycles=1, add=1, cut=0)
    with pytest.raises(AssertionError, match="differ in"):
        assert_same_run(tmp_path / "1", tmp_path / "2")


def test_every_step_can_be_read(items: Items, tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []

    def on_step(progress: Any, settings: Any) -> None:
        loaded = Discovery.load(tmp_path / "run")
        pd.testing.assert_frame_equal(loaded.curve.drop(columns="seconds"), pd.DataFrame(progress.curve).drop(columns="seconds"))
        read.append((progress.step, len(loaded.posterior.columns)))
        assert pd.read_csv(tmp_path / "run" / "features.csv")["active"].sum() == len(progress.active)
        assert not list((tmp_path / "run").glob("*.partial"))

    discover(items, out=tmp_path / "run", on_step=on_step, **QUICK)
    assert [step for step, _ in read] == list(range(len(read)))


def test_a_folder_that_is_taken(items: Items, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="the folder is not empty; choose another one"):
        discover(items, out=tmp_path)
    with pytest.raises(RunDirectoryError, match="expected a folder, found a file"):
        discover(items, out=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_kill_left_of_the_first_file_does_not_block_a_new_run(items: Items, tmp_path: Path) -> None:
    (tmp_path / "run.json.partial").write_text("{")
    assert discover(items, out=tmp_path, **QUICK).status == "done"


def test_a_run_that_was_not_begun(items: Items, tmp_path: Path) -> None:
    discover(items, out=tmp_path, **QUICK)
    (tmp_path / "state.safetensors").unlink()
    with pytest.raises(RunDirectoryError, match="stopped before its first step; start it anew or resume it"):
        Discovery.load(tmp_path)


@pytest.mark.slow
def test_other_items_are_refused(frame: pd.DataFrame, items: Items, tmp_path: Path) -> None:
    discover(items, out=tmp_path, **QUICK)
    changed = Items.from_frame(frame.assign(y=frame["y"] + 1), id="key", target="y")
    with pytest.raises(InputError, match="the items are not those of the run in"):
        resume(tmp_path, changed)


def test_a_model_object_must_be_given_again(frame: pd.DataFrame, items: Items, recorder: Any, tmp_path: Path) -> None:
    discover(items, recorder, out=tmp_path, **QUICK)
    new = Items.from_frame(frame.assign(size=50), id="key", target="y")
    with pytest.raises(OptionError, match=r"the run was given the model object .*Recorder, not a name; pass it again as model="):
        Discovery.load(tmp_path).predict(new)
    with pytest.raises(OptionError, match="pass it again as model="):
        resume(tmp_path, items)
    assert len(Discovery.load(tmp_path, model=recorder).predict(new)) == 60
    assert len(Discovery.load(tmp_path).predict(items)) == 60  # nothing to ask


@pytest.mark.slow
def test_a_disk_that_is_full(items: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_run: Any) -> None:
    discover(items, out=tmp_path / "whole", **QUICK)
    writes = iter(range(10**6))
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if next(writes) >= 9:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        with pytest.raises(RunNotSavedError, match="No space left on device; what was saved before is intact"):
            discover(items, out=tmp_path / "run", **QUICK)
        assert not list((tmp_path / "run").glob("*.partial"))  # which would take what space is left
        with pytest.raises(RunDirectoryError, match="No space left on device; free some space") as caught:
            discover(items, out=tmp_path / "other", **QUICK)
        assert caught.value.exit_code == 2
        assert not (tmp_path / "other").exists()
    resume(tmp_path / "run", items)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_folder_is_a_run_directory_or_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"found no run\.json; give the folder of --out"):
        RunDirectory(tmp_path).record()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="expected a run directory, found a file"):
        RunDirectory(tmp_path / "file").record()
