"""Runs whose intercept and covariate weights vary between the groups of a column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.cli.app import run as run_command
from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Item

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 1, "seed": 1}
ROLES: dict[str, Any] = {"id": "key", "target": "price", "covariates": ["area"], "varying": "town"}


def made_frame(rows: int = 320) -> pd.DataFrame:
    """Each of 24 towns has its own level and its own price of area; a pool is worth 0.6."""
    random = np.random.default_rng(2)
    town = random.integers(0, 24, rows)
    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "town": [f"town {one:02}" for one in town],
            "area": random.normal(100, 20, rows).round(1),
            "pool": random.choice(["yes", "no"], rows),
        }
    )
    level, slope = random.normal(0, 1, 24), random.normal(0.02, 0.02, 24)
    table["price"] = level[town] + slope[town] * (table["area"] - 100) + 0.6 * (table["pool"] == "yes")
    table["price"] += 0.2 * random.normal(size=rows)
    return table


@pytest.fixture
def frame() -> pd.DataFrame:
    return made_frame()


@pytest.fixture
def items(frame: pd.DataFrame) -> Items:
    return Items.from_frame(frame, **ROLES)


class Interrupted(RulesModel):
    """Is stopped at its third call."""

    calls = 0

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().answer(items, features)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_groups_need_no_questions_of_their_own(frame: pd.DataFrame, items: Items, link: str) -> None:
    varied = discover(items, link=link, **QUICK)
    active = varied.features[varied.features["active"]]["text"]
    assert active.tolist() in (["pool is yes"], ["pool is no"])
    plain = discover(Items.from_frame(frame, **{**ROLES, "varying": None}), link=link, **QUICK)
    assert varied.curve["test_error"].iloc[-1] < 0.5 * plain.curve["test_error"].iloc[-1]


@pytest.mark.slow
def test_predictions_know_the_groups_of_the_run(frame: pd.DataFrame, items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", **QUICK)
    loaded = Discovery.load(tmp_path / "run")
    pd.testing.assert_frame_equal(run.predict(items), loaded.predict(items))
    means = frame.groupby("town")["price"].mean()
    dearest, overall = str(means.idxmax()), float(frame["price"].mean())
    new = pd.DataFrame({"key": ["a", "b"], "area": [100.0, 100.0], "pool": ["yes", "yes"], "town": ["nowhere", dearest]})
    stranger, known = loaded.predict(Items.from_frame(new, **{**ROLES, "require_target": False}))["mean"].to_numpy().tolist()
    assert abs(stranger - overall) < 0.6
    assert known > overall + 0.7
    with pytest.raises(InputError, match=r"expected the column 'town' \(varying\) of the run, which is missing"):
        loaded.predict(Items.from_frame(new, **{**ROLES, "require_target": False, "varying": None}))


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_end(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    whole = Interrupted()
    whole.calls = 10
    discover(items, whole, out=tmp_path / "whole", link="interaction", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Interrupted(), out=tmp_path / "run", link="interaction", **QUICK)
    assert resume(tmp_path / "run", items, model=whole).status == "done"
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_other_groups_are_other_items(frame: pd.DataFrame, items: Items, tmp_path: Path) -> None:
    discover(items, out=tmp_path / "run", **QUICK)
    with pytest.raises(InputError, match="not those of the run"):
        resume(tmp_path / "run", Items.from_frame(frame, **{**ROLES, "varying": None}))


def test_refused_before_anything_is_asked_or_written(items: Items, frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="links linear and interaction, got neural"):
        discover(items, link="neural", out=tmp_path / "run")
    many = Items.from_frame(pd.concat([frame] * 3, ignore_index=True).assign(town=np.arange(960) % 480, key=range(960)), **ROLES)
    with pytest.raises(
        InputError, match=r"varying column town: 4\d\d different values, each with an intercept and 1 slope, make 9\d\d"
    ):
        discover(many, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_from_the_command_line_to_the_report(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame.to_csv("homes.csv", index=False)
    columns = ("--id", "key", "--target", "price", "--covariate", "area", "--varying", "town")
    search = ("--cycles", "1", "--add", "1", "--cut", "0", "--likelihood", "student_t", "--quiet")
    assert run_command(["fit", "homes.csv", *columns, *search, "--out", "run"]) == 0
    frame.drop(columns="price").head(5).to_csv("new.csv", index=False)
    assert run_command(["predict", "run", "new.csv", "--output", "predicted.csv"]) == 0
    assert len(pd.read_csv("predicted.csv")) == 5
    frame.drop(columns=["price", "town"]).head(5).to_csv("short.csv", index=False)
    assert run_command(["predict", "run", "short.csv", "--output", "other.csv"]) == 2
    assert "no column 'town'" in capsys.readouterr().err
    pytest.importorskip("plotly")
    assert run_command(["report", "run"]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "together with area and the 24 values of town" in page
    assert 'id="figure-groups"' in page
    assert "town 07" in page


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_the_table_of_groups(frame: pd.DataFrame, items: Items, likelihood: str) -> None:
    run = discover(items, likelihood=likelihood, **QUICK)
    table = run.groups
    assert table.columns.tolist() == ["level", "level_sd", "area", "area_sd"]
    assert table.index.tolist() == sorted(set(frame["town"]))
    rest = frame["price"] - 0.6 * (frame["pool"] == "yes")
    assert np.corrcoef(table["level"], rest.groupby(frame["town"]).mean()[table.index])[0, 1] > 0.95
    assert table["level_sd"].between(0.02, 0.2).all()
    counts = frame.loc[run.posterior.index, "town"].value_counts()[table.index]
    assert np.corrcoef(table["level_sd"], counts)[0, 1] < -0.7
    plain = discover(Items.from_frame(frame, **{**ROLES, "varying": None}), **QUICK)
    assert plain.groups.empty


@pytest.mark.slow
def test_several_targets_and_classes_in_the_table(frame: pd.DataFrame) -> None:
    frame = frame.assign(twice=2 * frame["price"], dear=np.where(frame["price"] > 0, "dear", "cheap"))
    both = discover(Items.from_frame(frame, **{**ROLES, "target": ["price", "twice"], "text": ["pool"]}), **QUICK).groups
    assert both.columns[:2].tolist() == ["price_level", "price_level_sd"]
    np.testing.assert_allclose(both["twice_level"], 2 * both["price_level"], rtol=0.02, atol=0.02)
    classes = Items.from_frame(frame, **{**ROLES, "target": "dear", "classes": True, "text": ["pool"]})
    table = discover(classes, likelihood="bernoulli", **{**QUICK, "add": 1}).groups
    assert table.columns.tolist() == ["level", "level_sd", "area", "area_sd"]
    assert table["level_sd"].isna().all()  # points
