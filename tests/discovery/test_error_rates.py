"""Runs with error rates of answers yes and no apart: what is written, shown, loaded and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.cli.app import run as genz
from genz_ppl.diagnostics.inference_data import to_inference_data
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.tables import FEATURE_COLUMNS, RATE_COLUMNS
from genz_ppl.types import AnswerErrors

QUICK: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0, "splits": 1}


@pytest.fixture(scope="module")
def noted() -> Items:
    """Two targets move with what is true; the columns that the rules read have a fifth of their yeses wrong."""
    random = np.random.default_rng(0)
    said = random.random((600, 2)) < 0.4
    truth = np.where(said & (random.random(said.shape) < 0.2), False, said)
    targets = truth @ np.array([[2.0, 1.0], [-1.0, 2.0]]) + 0.3 * random.normal(size=(600, 2))
    words = [np.where(said[:, k], "yes", "no") for k in range(2)]
    table = pd.DataFrame({"key": [f"k{row}" for row in range(600)], "sea": words[0], "lift": words[1]})
    return Items.from_frame(table.assign(y=targets[:, 0], v=targets[:, 1]), id="key", target=["y", "v"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture(scope="module")
def run(noted: Items, folder: Path) -> Discovery:
    """The default chooses by the bound."""
    return discover(noted, out=folder, **QUICK)


def test_what_is_shown_is_what_was_fitted_and_what_is_loaded(run: Discovery, noted: Items, folder: Path) -> None:
    assert run.settings["error_rates"] == "auto"
    assert run.progress.state.model.features.asymmetric
    active = run.features[run.features["active"]]
    assert len(active) == 2
    # A question and its opposite are the same: one of the two rates is a fifth, the other nothing.
    for _, row in active.iterrows():
        assert max(row["p_yes"], row["p_no"]) == pytest.approx(0.2, abs=0.05)
        assert min(row["p_yes"], row["p_no"]) < 0.03
    errors = AnswerErrors(*(active[name].to_numpy() for name in ("p_yes", "p_no", "prevalence")))
    np.testing.assert_allclose(active["false_yes"], errors.false_yes)
    np.testing.assert_allclose(active["p_e"], errors.overall)
    place = list(run.features).index("p_e")
    assert tuple(run.features)[place + 1 : place + 5] == RATE_COLUMNS
    written = pd.read_csv(folder / "features.csv")
    np.testing.assert_allclose(written["false_no"], run.features["false_no"])

    loaded = Discovery.load(folder)
    pd.testing.assert_frame_equal(loaded.features, run.features)
    pd.testing.assert_frame_equal(RunDirectory(folder).features(), run.features)
    pd.testing.assert_frame_equal(loaded.predict(noted), run.predict(noted))
    exported = to_inference_data(loaded.fitted())
    assert exported.posterior["p_e_by_answer"].dims == ("chain", "draw", "feature", "answer")
    assert list(exported.posterior["answer"].values) == ["yes", "no"]
    apart = exported.posterior["p_e_by_answer"].mean(("chain", "draw")).values
    np.testing.assert_allclose(apart, active[["p_yes", "p_no"]].to_numpy(), atol=0.03)
    np.testing.assert_allclose(exported.posterior["p_e"].mean(("chain", "draw")).values, active["p_e"], atol=0.03)


def test_the_command_line_shows_both(run: Discovery, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert genz(["features", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "false yes" in shown
    assert "false no" in shown
    assert genz(["report", str(folder), "--output", str(tmp_path / "report.html")]) == 0
    assert "of the answers yes, and of the answers no" in (tmp_path / "report.html").read_text()


def test_exact_answers_stay_together(items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", **QUICK)
    assert run.settings["error_rates"] == "auto"
    assert list(run.features) == list(FEATURE_COLUMNS)
    other = discover(items, error_rates="symmetric", **QUICK)
    pd.testing.assert_frame_equal(run.features, other.features)
    pd.testing.assert_frame_equal(run.posterior, other.posterior)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_both(noted: Items, tmp_path: Path, assert_same_run: Any) -> None:
    settings: dict[str, Any] = {"error_rates": "asymmetric", **QUICK}

    def stop(progress: Any, settings: Any) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    discover(noted, out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        discover(noted, out=tmp_path / "cut", on_step=stop, **settings)
    resume(tmp_path / "cut", noted)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
