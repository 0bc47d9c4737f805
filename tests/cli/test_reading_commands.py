"""`features`, `predict` and `resume` on a finished run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def done(fit: Any, table: Path) -> Path:
    """A finished run of the toy table."""
    assert fit(table.name, "out", "--covariate", "size").code == 0
    return Path("out")


@pytest.mark.slow
def test_features_as_text_json_and_csv(genz: Any, done: Path) -> None:
    written = pd.read_csv(done / "features.csv")
    active = written[written["active"]]
    plain = genz("features", done)
    assert plain.code == 0
    assert len(plain.out.splitlines()) == 1 + len(active)
    rows = json.loads(genz("features", done, "--json").out)
    assert [row["text"] for row in rows] == active["text"].tolist()
    assert rows[0]["removed_at"] is None
    everything = pd.read_csv(StringIO(genz("features", done, "--csv", "--all").out))
    pd.testing.assert_frame_equal(everything, written)
    assert "removed_at" in genz("features", done, "--all").out.splitlines()[0]


@pytest.mark.slow
def test_removed_features_are_shown_when_asked_for(genz: Any, fit: Any, table: Path) -> None:
    outcome = fit(table.name, "out", "--smallest-worth", "1000000")  # no feature is worth that
    assert outcome.code == 0
    assert outcome.out.startswith("no features\n0 features; ")
    assert genz("features", "out").out == "no features\n"
    assert json.loads(genz("features", "out", "--json").out) == []
    rows = json.loads(genz("features", "out", "--json", "--all").out)
    assert rows
    assert all(row["removed_at"] > row["added_at"] and row["p_e"] is None and not row["active"] for row in rows)
    lines = genz("features", "out", "--all").out.splitlines()
    assert lines[0].split() == [
        "question",
        "effect",
        "90",
        "%",
        "interval",
        "p_e",
        "prevalence",
        "gain",
        "added_at",
        "removed_at",
    ]
    assert len(lines) == 1 + len(rows)
    assert genz("predict", "out", table.name, "-o", "p.csv").code == 0
    assert pd.read_csv("p.csv")["mean"].nunique() == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet", "CSV"])
def test_predict_writes_what_the_library_predicts(genz: Any, done: Path, frame: pd.DataFrame, suffix: str) -> None:
    frame.drop(columns="y").to_csv("new.csv", index=False)
    outcome = genz("predict", done, "new.csv", "-o", f"predicted.{suffix}")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"40 predictions written to predicted.{suffix}\n"
    read = pd.read_parquet if suffix == "parquet" else pd.read_csv
    predicted = read(f"predicted.{suffix}")
    assert list(predicted) == ["id", "mean", "sd", "lower", "upper"]
    assert predicted["id"].tolist() == frame["key"].tolist()
    assert (predicted["lower"] < predicted["mean"]).all()
    assert (predicted["mean"] < predicted["upper"]).all()
    assert not list(Path().glob("*.partial"))
    assert genz("predict", done, "new.csv", "-o", f"predicted.{suffix}").code == 0  # again: replaced


def test_the_interval_is_as_wide_as_the_errors(genz: Any, fit: Any, frame: pd.DataFrame, table: Path) -> None:
    assert fit(table.name, "out").code == 0
    assert genz("predict", "out", table.name, "-o", "predicted.csv").code == 0
    predicted = pd.read_csv("predicted.csv")
    errors = predicted["mean"].to_numpy() - frame["y"].to_numpy()
    assert 0.5 < predicted["sd"].mean() / np.sqrt(np.mean(errors**2)) < 2
    level = np.mean((predicted["lower"] < frame["y"]) & (frame["y"] < predicted["upper"]))
    assert level >= 0.75  # 0.9 is asked for; 40 items leave 0.05 of standard error


@pytest.mark.slow
def test_predictions_go_to_standard_output_or_into_lines_of_json(genz: Any, done: Path, frame: pd.DataFrame) -> None:
    frame.drop(columns="y").to_csv("new.csv", index=False)
    assert genz("predict", done, "new.csv", "-o", "p.csv").code == 0
    shown = genz("predict", done, "new.csv")
    assert shown.code == 0
    assert shown.out == Path("p.csv").read_text(encoding="utf-8")
    assert genz("predict", done, "new.csv", "-o", "p.jsonl").code == 0
    pd.testing.assert_frame_equal(pd.read_json("p.jsonl", lines=True), pd.read_csv("p.csv"), check_dtype=False)


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("short.csv", "p.csv", "short.csv: there is no column 'colour' (text)"),
        ("no-covariate.csv", "p.csv", "there is no column 'size' (covariate)"),
        ("binary", "p.csv", "there is no column 'key' (id)"),
        ("nowhere.csv", "p.csv", "no such file"),
        ("toy.csv", "p.txt", "--output p.txt: expected a name that ends with .csv or .jsonl or .parquet"),
        ("toy.csv", "p", "--output p: expected a name"),
        ("toy.csv", "nowhere/p.csv", "there is no folder nowhere"),
        ("toy.csv", "toy.csv", "is SOURCE itself"),
        ("toy.csv", "folder.csv", "found a folder"),
    ],
)
def test_predictions_that_cannot_be(genz: Any, done: Path, frame: pd.DataFrame, source: str, output: str, expected: str) -> None:
    frame.drop(columns="colour").to_csv("short.csv", index=False)
    frame.drop(columns="size").to_csv("no-covariate.csv", index=False)
    Path("folder.csv").mkdir()
    before = sorted(path.name for path in Path().iterdir())
    outcome = genz("predict", done, source, "-o", output)
    assert outcome.code == 2
    assert outcome.out == ""
    assert expected in outcome.message
    assert sorted(path.name for path in Path().iterdir()) == before


def test_predict_checks_its_level(genz: Any, done: Path, table: Path) -> None:
    assert (
        "--level: expected a number between 0 and 1, got 1.5"
        in genz("predict", done, table.name, "-o", "p.csv", "--level", "1.5").message
    )


def test_resuming_a_finished_run_says_so(genz: Any, done: Path) -> None:
    before = {path.name: path.read_bytes() for path in done.iterdir()}
    outcome = genz("resume", done)
    assert (outcome.code, outcome.err) == (0, "")
    assert "the run is done already" in outcome.out
    assert {path.name: path.read_bytes() for path in done.iterdir()} == before


def unfinished(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))


@pytest.mark.slow
def test_resuming_on_data_that_changed(genz: Any, done: Path, frame: pd.DataFrame, table: Path) -> None:
    unfinished(done)
    frame.assign(size=3).to_csv(table, index=False)
    assert "toy.csv: the items are not those of the run in out" in genz("resume", done).message
    frame.drop(columns="colour").to_csv(table, index=False)
    assert "there is no column 'colour'" in genz("resume", done).message
    table.unlink()
    outcome = genz("resume", done)
    assert outcome.code == 2
    assert "no such file" in outcome.message


def test_resuming_a_run_that_python_started(genz: Any, done: Path) -> None:
    record = json.loads((done / "run.json").read_text())
    (done / "run.json").write_text(json.dumps({**record, "source": None, "status": "running"}))
    outcome = genz("resume", done)
    assert outcome.code == 2
    assert "go on with genz_ppl.resume('out', items)" in outcome.message


@pytest.mark.parametrize("command", ["features", "resume", "predict"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected a run directory, found no run.json"),
        ("{", "run.json: not written by genz-ppl, or by another version (Invalid JSON"),
        ("[" * 100_000, "run.json: not written by genz-ppl, or by another version (Invalid JSON"),
        ("[]", "run.json: not written by genz-ppl, or by another version (Input should be an object)"),
        ("{}", "run.json: not written by genz-ppl, or by another version (versions: Field required)"),
    ],
)
def test_folders_that_are_no_runs(genz: Any, table: Path, command: str, content: str | None, expected: str) -> None:
    Path("out").mkdir()
    if content is not None:
        Path("out/run.json").write_text(content)
    more = [table.name, "-o", "p.csv"] if command == "predict" else []
    outcome = genz(command, "out", *more)
    assert outcome.code == 2
    assert expected in outcome.message


def test_a_state_that_is_cut_short(genz: Any, done: Path) -> None:
    state = done / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    outcome = genz("features", done)
    assert outcome.code == 2
    assert "state.safetensors: cannot be read" in outcome.message


def test_what_is_only_read_does_not_wait_for_torch(done: Path, table: Path) -> None:
    program = (
        "import sys; from genz_ppl.cli.app import run\n"
        f"plan = ['plan', {table.name!r}, '--target', 'y', '--id', 'key']\n"
        "codes = [run(['features', 'out', '--csv']), run(plan), run(['store', '--help'])]\n"
        "sys.exit(' '.join(name for name in ('torch', 'pyro', 'openai', 'sklearn') if name in sys.modules) or max(codes))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_settings_of_another_version(genz: Any, done: Path) -> None:
    unfinished(done)
    record = json.loads((done / "run.json").read_text())
    record["settings"]["no_such_setting"] = 1
    (done / "run.json").write_text(json.dumps(record))
    outcome = genz("resume", done)
    assert outcome.code == 2
    assert "not of this version" in outcome.message


@pytest.mark.slow
def test_a_run_can_be_moved(genz: Any, done: Path, table: Path) -> None:
    shutil.move(done, "moved")
    assert genz("features", "moved").code == 0
    assert genz("predict", "moved", table.name, "-o", "p.csv").code == 0


@pytest.mark.slow
def test_features_are_sorted_by_any_column(genz: Any, done: Path) -> None:
    table = pd.read_csv(done / "features.csv").query("active")
    for by in ("text", "effect", "p_e", "prevalence", "gain", "added_at"):
        key = table["effect"].abs() if by == "effect" else table[by]
        expected = table.loc[key.sort_values(ascending=by == "text").index, "text"].tolist()
        assert len(expected) > 1
        assert pd.read_csv(StringIO(genz("features", done, "--csv", "--sort", by).out))["text"].tolist() == expected
        lines = genz("features", done, "--sort", by).out.splitlines()[1:]
        assert [line.partition("  ")[0] for line in lines] == expected


def test_sorting_by_no_column_says_which_there_are(genz: Any, done: Path) -> None:
    found = genz("features", done, "--sort", "size")
    assert (found.code, found.out) == (2, "")
    assert "--sort size: no such column; known are id, text, effect" in found.message


def test_without_features_csv_has_its_header(genz: Any, fit: Any, table: Path) -> None:
    assert fit(table.name, "out", "--smallest-worth", "1000000").code == 0
    empty = pd.read_csv(StringIO(genz("features", "out", "--csv").out))
    assert list(empty) == list(pd.read_csv("out/features.csv"))
    assert empty.empty


def test_predictions_are_explained(genz: Any, done: Path, frame: pd.DataFrame) -> None:
    frame.drop(columns="y").to_csv("new.csv", index=False)
    shown = genz("predict", done, "new.csv", "--explain")
    assert shown.code == 0
    assert "genz: contributions are in the target's unit, and add up with base" in shown.err
    table = pd.read_csv(StringIO(shown.out))
    assert list(table)[:6] == ["id", "mean", "sd", "lower", "upper", "base"]
    np.testing.assert_allclose(table.iloc[:, 5:].sum(axis=1), table["mean"], rtol=1e-6)
