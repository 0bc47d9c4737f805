"""`genz cooccur`, and the commands that go on with its folder, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from two_sides import make_world

from genz_ppl.cli.app import run

QUICK = ["--dimensions", "2", "--epochs", "10", "--cycles", "1", "--add", "3", "--rounds", "1", "--proposals", "2"]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """rows.csv, columns.csv and pairs.csv in the working directory."""
    world = make_world(0, sizes=(60, 50), density=0.5)
    for name, answers in zip(("rows", "columns"), world.answers, strict=True):
        fields = {f"{name}{k}": np.where(answers[:, k] > 0, "yes", "no") for k in range(answers.shape[1])}
        frame = pd.DataFrame({"id": [f"{name[0]}{i}" for i in range(len(answers))], **fields})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    pairs = world.pairs()
    frame = pd.DataFrame({"row": pairs.rows, "column": pairs.columns, "value": pairs.values})
    frame.assign(row="r" + frame["row"].astype(str), column="c" + frame["column"].astype(str)).to_csv(
        tmp_path / "pairs.csv", index=False
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_from_tables_to_predictions(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cooccur", "rows.csv", "columns.csv", "pairs.csv", "--out", "out", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "rows:" in printed
    assert "new rows x new columns" in printed
    assert "written to out" in printed
    assert run(["features", "out", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("side,id,text,")
    assert run(["report", "out"]) == 0
    assert capsys.readouterr().out == "written to out/report.html\n"
    pd.DataFrame({"row": ["r0", "r1"], "column": ["c0", "c1"]}).to_csv("ask.csv", index=False)
    assert run(["predict", "out", "ask.csv", "-o", "found.csv"]) == 0
    assert list(pd.read_csv("found.csv").columns) == ["row", "column", "mean", "sd", "lower", "upper"]
    pd.DataFrame({"row": ["new"], "column": ["c1"]}).to_csv("ask.csv", index=False)
    assert run(["predict", "out", "ask.csv", "-o", "found.csv"]) == 2
    described = pd.read_csv("rows.csv").head(1).assign(id="new")
    described.to_csv("more.csv", index=False)
    assert run(["predict", "out", "ask.csv", "-o", "found.csv", "--rows", "more.csv"]) == 0
    capsys.readouterr()
    assert run(["resume", "out"]) == 0
    assert "done already" in capsys.readouterr().out


@pytest.mark.slow
def test_an_undescribed_side_and_absent_pairs(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = pd.read_csv("pairs.csv")
    pairs[pairs["value"] > 0.5][["row", "column"]].to_parquet("present.parquet")
    options = ["--absent-zero", "--likelihood", "bernoulli"]
    pd.read_csv("rows.csv").to_json("rows.jsonl", orient="records", lines=True)
    assert run(["cooccur", "rows.jsonl", "-", "present.parquet", "--out", "out", *options, *QUICK]) == 0
    assert "auc" in capsys.readouterr().out
    assert run(["predict", "out", "present.parquet", "-o", "found.csv", "--columns", "rows.csv"]) == 2
    assert "not described by a table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rows.csv", "columns.csv", "pairs.csv", "--likelihood", "bernouli"], "--likelihood: expected one of gaussian"),
        (["rows.csv", "columns.csv", "pairs.csv", "--likelihood", "poisson"], "expected counts"),
        (["-", "-", "pairs.csv"], "give a table of items for the rows, the columns or both"),
        (["rows.csv", "columns.csv", "pairs.txt"], "expected a name that ends with .csv"),
        (["columns.csv", "columns.csv", "pairs.csv"], "60 ids are not among the row ids: 'r0' (row 1)"),
        (["rows.csv", "columns.csv", "pairs.csv", "--row-id", "name"], "name"),
        (["rows.csv", "columns.csv", "pairs.csv", "--pair-column", "row"], "two or three different columns"),
        (["rows.csv", "columns.csv", "pairs.csv", "--rounds", "0"], "--rounds: expected a whole number of at least 1"),
        (["rows.csv", "columns.csv", "pairs.csv", "--max-cost", "1"], "--max-cost: only for --model openai:NAME"),
    ],
)
def test_faults_are_told_in_a_line_and_nothing_is_written(
    tables: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["cooccur", *arguments, "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert len(message.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_a_pair_twice_is_told(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = pd.read_csv("pairs.csv")
    pd.concat([pairs, pairs.head(1)]).to_csv("pairs.csv", index=False)
    assert run(["cooccur", "rows.csv", "columns.csv", "pairs.csv", "--out", "out"]) == 2
    assert f"is in rows 1 and {len(pairs) + 1}" in capsys.readouterr().err
