"""`genz compare --annotators` and `genz gold`: who errs where, what was asked, and labels from the list to the fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import Genz

RUN = ("fit", "items.csv", "--target", "y", "--id", "key", "--out", "run", "-q", "--cycles", "1", "--add", "2", "--cut", "0")


@pytest.fixture
def run(genz: Genz, tmp_path: Path) -> Genz:
    """A finished run, and two tables of answers to its questions, one with 5 % and one with 30 % wrong."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"key": [f"k{row}" for row in range(200)]})
    table["colour"], table["size"] = random.choice(["red", "green", "blue"], 200), random.integers(0, 10, 200)
    table["y"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] >= 5) + 0.5 * random.normal(size=200)
    table.to_csv(tmp_path / "items.csv", index=False)
    assert genz(*RUN, "--combine", "1").code == 0
    texts = [row["text"] for row in json.loads(genz("features", "run", "--json").out) if row["active"]]
    assert len(texts) == 2
    for name, share in (("good", 0.05), ("bad", 0.3)):
        answers = pd.DataFrame({"id": table["key"]})
        for text in texts:
            truth = truth_of(table, text)
            answers[text] = np.where(random.random(200) < share, ~truth, truth).astype(int)
        answers.to_csv(tmp_path / f"{name}.csv", index=False)
    return genz


def truth_of(table: pd.DataFrame, text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    field, words = text.split(" is ", 1)
    if field == "colour":
        return (table["colour"] == words).to_numpy()
    large = (pd.to_numeric(table["size"]) >= 5).to_numpy()
    return large if "at least" in words else ~large


def test_who_errs_how_they_agree_and_what_dropping_one_costs(run: Genz) -> None:
    done = run("compare", "run", "--annotators", "table:good.csv,table:bad.csv", "--json")
    assert done.code == 0, done.message
    found = json.loads(done.out)
    good, bad = (next(name for name in found["rates"][0] if kind in name) for kind in ("good.csv", "bad.csv"))
    for row in found["rates"]:
        assert row[good] < 0.1 < 0.2 < row[bad]
    errors = {row["annotators"]: next(value for key, value in row.items() if key != "annotators") for row in found["dropped"]}
    assert errors["all"] <= errors[f"without {bad}"] * 1.05
    assert errors[f"without {good}"] > errors["all"]
    assert [row["answers"] for row in found["asked"]] == [400, 400]
    shown = run("compare", "run", "--annotators", "table:good.csv,run").out
    assert shown.splitlines()[0] == "how often each is wrong:"
    assert "answers given alike:" in shown


def test_a_cascade_asks_the_second_for_its_share(run: Genz) -> None:
    done = run("compare", "run", "--annotators", "table:bad.csv,table:good.csv", "--cascade", "0.1", "--json")
    assert done.code == 0, done.message
    asked = {Path(row["annotator"]).name: row["answers"] for row in json.loads(done.out)["asked"]}
    assert asked["bad.csv"] == 400
    assert asked["good.csv"] == 32 + 80  # a tenth of 320 about training items, and all about test items


def test_labels_from_the_list_to_the_fit(run: Genz, tmp_path: Path) -> None:
    done = run("gold", "run", "-n", "160", "-o", "label.csv")
    assert done.code == 0, done.message
    sheet = pd.read_csv(tmp_path / "label.csv", dtype=str)
    assert list(sheet.columns) == ["id", "question", "answer", "text"]
    assert len(sheet.drop_duplicates(["id", "question"])) == 160
    empty = run("compare", "run", "--annotators", "table:bad.csv", "--gold", "label.csv")
    assert (empty.code, "no row labels one of the run's training items" in empty.message) == (2, True)
    items = pd.read_csv(tmp_path / "items.csv", dtype=str).set_index("key").loc[sheet["id"]]
    rows = [truth_of(items.iloc[[row]], text)[0] for row, text in enumerate(sheet["question"])]
    sheet["answer"] = np.where(rows, "yes", "no")
    sheet.to_csv(tmp_path / "label.csv", index=False)
    found = json.loads(run("compare", "run", "--annotators", "table:bad.csv", "--gold", "label.csv", "--json").out)
    rates = [value for row in found["rates"] for key, value in row.items() if key != "question"]
    assert 0.2 < np.mean(rates) < 0.4, rates


def test_what_cannot_be_is_refused_before_anything_is_asked(run: Genz, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("id,question,answer\nk1,is it odd,yes\n", encoding="utf-8")
    for arguments, said in (
        (("run", "run2", "--annotators", "table:good.csv"), "DIR: --annotators compares them on one run, got 2"),
        (("run", "--annotators", "table:good.csv,table:good.csv"), "is named twice; name each once"),
        (("run", "--annotators", "table:good.csv", "--max-calls", "3"), "caps, an address and a store are for openai:NAME"),
        (
            ("run", "--annotators", "table:good.csv", "--cascade", "0.1"),
            "--cascade: expected two annotators, the cheap",
        ),
        (("run", "--annotators", "table:good.csv,run", "--cascade", "0.1"), "--cascade: the run's own answers are there already"),
        (("run", "--annotators", "table:good.csv,run", "--cascade", "2"), "--cascade: expected a share of the answers"),
        (("run", "--annotators", "table:good.csv", "--gold", "odd.csv"), "gold: the run has no question 'is it odd'"),
        (("run", "--gold", "odd.csv"), "--annotators: --gold, --cascade, caps and a store go with it"),
    ):
        done = run("compare", *arguments)
        assert done.code == 2
        assert said in done.message
    assert "from 1 to 320" in run("gold", "run", "-n", "400", "-o", "label.csv").message
