"""A run on two sides: features of both, its folder, resuming it, predictions of what was kept out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
from two_sides import make_world

from genz_ppl.data import Items
from genz_ppl.discovery.pairs.cooccur import cooccur, resume_cooccur
from genz_ppl.discovery.pairs.result import CoOccurrenceRun
from genz_ppl.discovery.pairs.states import PairProgress
from genz_ppl.discovery.pairs.watch import PairWatchers
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.types import Pairs

SETTINGS: dict[str, Any] = {"dimensions": 3, "epochs": 20, "cycles": 2, "add": 3, "cut": 1, "proposals": 3, "splits": 1}
Sides = tuple[Items, Items, Pairs]


@pytest.fixture(scope="module")
def sides() -> Sides:
    """100 x 80 items whose fields are the answers, 40 % of the pairs."""
    world = make_world(0, sizes=(100, 80), density=0.4)
    items = []
    for letter, answers in zip("rc", world.answers, strict=True):
        fields = {f"{letter}{k}": np.where(answers[:, k] > 0, "yes", "no") for k in range(answers.shape[1])}
        frame = pd.DataFrame({"id": [f"{letter}{i}" for i in range(len(answers))], **fields})
        items.append(Items.from_frame(frame, id="id", require_target=False))
    return items[0], items[1], world.pairs()


@pytest.fixture(scope="module")
def run(sides: Sides, tmp_path_factory: pytest.TempPathFactory) -> CoOccurrenceRun:
    """A joint run of two rounds, in a folder."""
    return cooccur(*sides, **SETTINGS, out=tmp_path_factory.mktemp("run") / "run")


def folder_of(run: CoOccurrenceRun) -> Path:
    assert run.directory is not None
    return run.directory.path


@pytest.mark.slow
def test_features_of_both_sides_are_found_and_tell_of_what_was_kept_out(run: CoOccurrenceRun) -> None:
    features = run.features
    active = features[features["active"]]
    assert set(active["side"]) == {"rows", "columns"}
    assert (active.groupby("side").size() >= 2).all()
    assert run.affinity.shape == tuple(active.groupby("side").size()[["rows", "columns"]])
    curve = run.curve
    assert list(curve["what"]) == ["factorise", "joint", "joint"]
    for part in ("new_rows", "new_columns", "new_both"):
        assert curve[f"{part}_error"].iloc[-1] < 0.95 * curve[f"{part}_error"].iloc[0]
    assert sum(scores["n_pairs"] or 0 for scores in run.scores.values()) == len(make_world(0, (100, 80), 0.4).pairs())


@pytest.mark.slow
def test_nothing_is_left_in_the_caller_s_parameter_store(run: CoOccurrenceRun, sides: Sides) -> None:
    before = list(pyro.get_param_store().keys())
    again = cooccur(*sides, **{**SETTINGS, "cycles": 1, "epochs": 3, "link": "neural"}, rounds=1)
    again.predict([(run.ids[0][0], run.ids[1][0])])
    assert list(pyro.get_param_store().keys()) == before


def test_the_folder_holds_the_same_run(run: CoOccurrenceRun) -> None:
    again = CoOccurrenceRun.load(folder_of(run))
    pd.testing.assert_frame_equal(again.features, run.features)
    pd.testing.assert_frame_equal(again.affinity, run.affinity)
    pairs = list(zip(run.ids[0][:3], run.ids[1][:3], strict=True))
    pd.testing.assert_frame_equal(again.predict(pairs), run.predict(pairs))
    assert again.status == "done"
    assert {"features.csv", "affinity.csv", "curve.csv", "metrics.json", "rows-1", "columns-2"} <= {
        path.name for path in folder_of(run).iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("stopped_after", [0, 1, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    run: CoOccurrenceRun, sides: Sides, tmp_path: Path, stopped_after: int
) -> None:
    def stop(progress: PairProgress) -> None:
        if progress.stage == stopped_after:
            raise KeyboardInterrupt

    def stop_first_search(*_: object) -> None:
        raise KeyboardInterrupt

    watchers = PairWatchers(on_stage=stop) if stopped_after else PairWatchers(on_step=stop_first_search)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        cooccur(*sides, **SETTINGS, out=out, watchers=watchers)
    resumed = resume_cooccur(out, *sides)
    assert (out / "state.safetensors").read_bytes() == (folder_of(run) / "state.safetensors").read_bytes()
    pd.testing.assert_frame_equal(resumed.features, run.features)


def test_new_items_are_predicted_from_their_descriptions(run: CoOccurrenceRun, sides: Sides) -> None:
    rows, columns, _ = sides
    new = next(identity for identity in rows.ids if identity not in run.ids[0])
    with pytest.raises(InputError, match=f"1 rows were neither fitted nor described: '{new}'"):
        CoOccurrenceRun.load(folder_of(run)).predict([(new, run.ids[1][0])])
    table = run.predict([(new, run.ids[1][0]), (run.ids[0][0], run.ids[1][0])], rows=rows, columns=columns)
    assert table["sd"].iloc[0] > table["sd"].iloc[1]
    known = run.predict([(new, run.ids[1][0])])  # made in this process, so the items that were kept out are known
    assert known["mean"].iloc[0] == pytest.approx(table["mean"].iloc[0], rel=1e-9)
    assert np.isfinite(table[["mean", "sd", "lower", "upper"]].to_numpy()).all()


@pytest.mark.slow
def test_what_was_kept_out_has_no_say(sides: Sides, run: CoOccurrenceRun) -> None:
    rows, columns, pairs = sides
    known = np.isin(np.array(rows.ids)[pairs.rows], run.ids[0]) & np.isin(np.array(columns.ids)[pairs.columns], run.ids[1])
    changed = Pairs(pairs.rows, pairs.columns, np.where(known, pairs.values, -pairs.values), pairs.n_rows, pairs.n_columns)
    other = cooccur(rows, columns, changed, **SETTINGS)
    columns_of = ["side", "text", "p_e", "gain", "active"]
    pd.testing.assert_frame_equal(other.features[columns_of], run.features[columns_of])
    assert other.scores["new_rows"]["rmse"] != run.scores["new_rows"]["rmse"]


@pytest.mark.slow
def test_an_undescribed_side_has_free_embeddings(sides: Sides) -> None:
    rows, columns, pairs = sides
    run = cooccur(rows, columns.ids, pairs, **SETTINGS, fit="decoupled")
    assert run.searches["columns"] is None
    assert len(run.ids[1]) == 80  # all for fitting
    assert run.affinity.shape[1] == 0
    assert run.scores["new_columns"] == {"n_pairs": 0}


def test_inference_data_has_both_sides(run: CoOccurrenceRun) -> None:
    data = run.to_inference_data(draws=20)
    assert data.posterior["rows_embedding"].shape == (1, 20, len(run.ids[0]), 4)
    assert list(data.posterior["columns_item"].values) == list(run.ids[1])
    assert data.posterior["rows_z"].shape[:3] == (1, 20, len(run.ids[0]))


def test_faults_are_told_before_anything_is_written(sides: Sides, run: CoOccurrenceRun, tmp_path: Path) -> None:
    rows, columns, pairs = sides
    out = tmp_path / "out"
    with pytest.raises(OptionError, match="cycels: no such setting"):
        cooccur(rows, columns, pairs, cycels=3, out=out)
    with pytest.raises(OptionError, match="neither side is described"):
        cooccur(rows.ids, columns.ids, pairs, out=out)
    with pytest.raises(InputError, match=r"0 or 1 for the bernoulli likelihood, got .* for the pair 'r"):
        cooccur(rows, columns, pairs, likelihood="bernoulli", out=out)
    assert not out.exists()
    with pytest.raises(RunDirectoryError, match="holds another run"):
        cooccur(rows, columns, pairs, out=folder_of(run))
    shutil.copytree(folder_of(run), out)
    with pytest.raises(InputError, match="are not those of the run"):
        resume_cooccur(out, rows, columns, Pairs(pairs.rows, pairs.columns, pairs.values + 1, pairs.n_rows, pairs.n_columns))


@pytest.mark.slow
def test_rates_of_answers_yes_and_no_apart(sides: Sides, tmp_path: Path) -> None:
    short = {**SETTINGS, "cycles": 1, "cut": 0, "epochs": 5}
    run = cooccur(*sides, **short, rounds=1, error_rates="asymmetric", out=tmp_path / "run")
    active = run.features[run.features["active"]]
    assert len(active) > 0
    assert active[["p_yes", "p_no", "false_yes", "false_no"]].notna().all(axis=None)
    loaded = CoOccurrenceRun.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.features, run.features)
    assert loaded.state.rows.state.error_rates.shape[1:] == (2,)
    pairs = list(zip(run.ids[0][:3], run.ids[1][:3], strict=True))
    pd.testing.assert_frame_equal(loaded.predict(pairs), run.predict(pairs))
    with pytest.raises(OptionError, match="error_rates: expected one of symmetric, asymmetric, got 'auto'"):
        cooccur(*sides, **short, error_rates="auto")
