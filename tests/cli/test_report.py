"""`genz report`, end to end on a small table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Items
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.pairs.cooccur import cooccur
from genz_ppl.types import Pairs


def test_report_is_written_beside_the_run(genz: Any, fit: Any, table: Path, tmp_path: Path) -> None:
    assert fit(table, "run").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done = genz("report", "run")
    assert (done.code, done.err, done.out) == (0, "", "written to run/report.html\n")
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    page = after.pop("report.html").decode()
    assert after == before
    assert "colour is red" in page
    assert "What explains y?" in page


@pytest.mark.slow
def test_report_elsewhere_with_figures_a_baseline_and_moved_items(genz: Any, fit: Any, table: Path, tmp_path: Path) -> None:
    assert fit(table, "run").code == 0
    table.rename(tmp_path / "moved.csv")
    pd.DataFrame({"n_features": [2, 1], "test_error": [0.7, 0.9]}).to_csv(tmp_path / "base.csv", index=False)
    done = genz("report", "run", "moved.csv", "-o", "out.html", "--figures", "new/figures", "--baseline", "base.csv")
    assert (done.code, done.err) == (0, "")
    assert "baseline, best" in (tmp_path / "out.html").read_text(encoding="utf-8")
    assert len(list((tmp_path / "new" / "figures").glob("*.pdf"))) == 4
    done = genz("report", "run", "moved.csv", "-o", "out.html", "--baseline", "run")
    assert done.code == 0
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_wrong_use(genz: Any, fit: Any, table: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    assert fit(table, "run").code == 0
    frame.assign(y=0.0 + frame["size"]).to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "base.csv").write_text("n_features,error\n1,2\n")
    (tmp_path / "words.csv").write_text("n_features,test_error\n1,low\n")
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    for arguments, message in (
        (("nowhere",), "nowhere: expected a run directory, found no run.json; give the folder of --out"),
        (("run", "other.csv"), "other.csv: the items are not those of the run; give the data it was started on"),
        (("run", "gone.csv"), "gone.csv"),
        (("run", "-o", "no/where.html"), "report no/where.html: there is no folder no; make it first"),
        (("run", "-o", "run.txt"), "report run.txt: expected a name that ends with .html; choose another name"),
        (("run", "--figures", "toy.csv"), "figures toy.csv: expected a folder, found a file; choose another name"),
        (("run", "--baseline", "none.csv"), "--baseline none.csv: there is no none.csv; give a .csv file or the folder of a run"),
        (("run", "--baseline", "base.csv"), "--baseline base.csv: expected the columns n_features and test_error"),
        (("run", "--baseline", "words.csv"), "--baseline words.csv: expected numbers in n_features and test_error"),
    ):
        done = genz("report", *arguments)
        assert done.code == 2, arguments
        assert message in done.message
        assert done.out == ""
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == files


@pytest.mark.slow
def test_a_file_that_cannot_be_written(genz: Any, fit: Any, table: Path, tmp_path: Path) -> None:
    assert fit(table, "run").code == 0
    (tmp_path / "out.html.partial").mkdir()
    done = genz("report", "run", "-o", "out.html")
    assert done.code == 2
    assert done.message.startswith("genz: report out.html: cannot be written (")
    assert not (tmp_path / "out.html").exists()


@pytest.mark.slow
def test_a_run_on_a_table_in_memory_is_shown_without_texts(genz: Any, frame: pd.DataFrame, table: Path, tmp_path: Path) -> None:
    discover(Items.from_frame(frame, id="key", target="y", name="toy.csv"), cycles=1, add=1, cut=0, out=tmp_path / "run")
    done = genz("report", "run")
    assert (done.code, done.err) == (0, "")
    assert "without texts: run: the run was started from Python on a table in memory; give SOURCE to show them" in done.out
    assert "colour: red" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    done = genz("report", "run", table.name)
    assert (done.code, done.out) == (0, "written to run/report.html\n")
    assert "colour: red" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert genz("diagnose", "run").code == 0


@pytest.mark.slow
def test_a_run_whose_table_is_gone(genz: Any, fit: Any, table: Path, tmp_path: Path) -> None:
    assert fit(table, "kept", "--keep-texts").code == 0
    assert fit(table, "run").code == 0
    table.unlink()
    assert "without texts: " in genz("report", "run").out
    assert genz("report", "kept").out == "written to kept/report.html\n"
    assert "colour: red" in (tmp_path / "kept" / "report.html").read_text(encoding="utf-8")
    assert genz("compare", "run", "kept").code == 0


@pytest.mark.slow
def test_a_run_on_two_sides(genz: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    rows, columns = (
        Items.from_frame(part, id="key", text=["colour", "size"], require_target=False, name=name)
        for part, name in ((frame[:25], "left.csv"), (frame[25:], "right.csv"))
    )
    red, large = frame["colour"][:25].eq("red").to_numpy(), frame["size"][25:].ge(5).to_numpy()
    first, second = (part.ravel() for part in np.indices((25, 15)))
    values = 2.0 * red[first] * large[second] + 0.1 * np.random.default_rng(1).normal(size=len(first))
    pairs = Pairs(first, second, values, 25, 15)
    source = {"rows": "data/left.csv", "columns": "data/right.csv", "pairs": "data/pairs.csv"}
    short: dict[str, Any] = {"dimensions": 2, "rounds": 1, "epochs": 4, "cycles": 1, "add": 1, "cut": 0}
    cooccur(rows, columns, pairs, out=tmp_path / "run", source=source, **short)
    done = genz("report", "run")
    gone = "written to run/report.html, without texts and predictions: the tables of the run are not there any more\n"
    assert (done.code, done.err, done.out) == (0, "", gone)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What explains the pairs of left.csv and right.csv?" in page
    assert genz("report", "run", "-o", "out.html").code == 0
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == page
    for arguments, message in (
        (("left.csv",), "SOURCE: the report of a run on two sides does not take it; leave it out"),
        (("--figures", "figures"), "--figures: the report of a run on two sides does not take it"),
        (("--baseline", "run"), "--baseline: the report of a run on two sides does not take it"),
        (("-o", "out.txt"), "expected a name that ends with .html"),
    ):
        done = genz("report", "run", *arguments)
        assert done.code == 2
        assert message in done.message


@pytest.mark.parametrize("option", ["--figures", "--baseline", "--output"])
def test_help_names_its_options(genz: Any, option: str) -> None:
    assert option in genz("report", "--help").out
