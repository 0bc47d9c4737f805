"""`genz effects`: the table on a terminal, as LaTeX and as JSON; labels by people, from the sample to the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl.cli.latex import escaped, latex_table
from tests.cli.conftest import Genz

RUN = ("fit", "items.csv", "--target", "y", "--id", "key", "--out", "run", "-q", "--cycles", "1", "--add", "2", "--cut", "0")


@pytest.fixture
def run(genz: Genz, tmp_path: Path) -> Genz:
    """With a finished run in "run", a part of whose items is held back."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"key": [f"k{row}" for row in range(160)]})
    table["colour"], table["size"] = random.choice(["red", "green", "blue"], 160), random.integers(0, 10, 160)
    table["y"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] >= 5) + 0.3 * random.normal(size=160)
    table.to_csv(tmp_path / "items.csv", index=False)
    assert genz(*RUN, "--honest", "0.3", "--combine", "1").code == 0
    return genz


def test_it_says_what_is_confirmed_and_where(run: Genz) -> None:
    done = run("effects", "run")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["question", "effect", "95", "%", "interval", "p", "Holm", "BH", "from"]
    confirmed = "2 of 2 questions confirmed on items they were not found on (32 test items and 48 items held back; the answers: "
    assert f"{confirmed}Holm, 5 %)" in done.out
    assert "intervals: the effect of what was answered" in done.out
    assert (
        "answers are wrong with probabilities drawn from Beta(1, 99)" in run("effects", "run", "--error-rate-prior", "1,99").out
    )


def test_from_a_sample_to_labels_to_a_paper(run: Genz, tmp_path: Path) -> None:
    assert "40 items to label" in run("effects", "run", "--sample", "40", "--output", "label.csv").out
    sheet = pd.read_csv(tmp_path / "label.csv", dtype=str)
    assert sheet["text"].str.contains("colour: ").all()
    empty = run("effects", "run", "--gold", "label.csv")
    assert (empty.code, "none of its 40 rows" in empty.message) == (2, True)
    items = pd.read_csv(tmp_path / "items.csv", dtype=str).set_index("key").loc[sheet["id"]]
    for text in sheet.columns[2:]:
        field, words = text.split(" is ", 1)
        red = items[field] == words
        large = pd.to_numeric(items["size"]) >= 5
        sheet[text] = np.where(red if field == "colour" else large == ("at least" in words), "yes", "no")
    sheet.to_csv(tmp_path / "label.csv", index=False)
    done = json.loads(run("effects", "run", "--gold", "label.csv", "--json").out)
    assert done["gold_items"] == 40
    assert {row["method"] for row in done["effects"]} <= {"gold labels and answers", "gold labels alone"}
    paper = run("effects", "run", "--gold", "label.csv", "--latex").out
    assert paper.startswith("\\begin{table}")
    assert "with 40 gold labels a question" in paper
    assert paper.count("\\\\\n") == 1 + len(done["effects"])


def test_options_that_do_not_go_together_are_refused(run: Genz) -> None:
    for arguments, said in (
        (("--level", "1"), "--level: expected a number between 0 and 1"),
        (("--latex", "--json"), "--latex and --json exclude each other"),
        (("--sample", "5"), "--sample: writes the items to label to --output FILE"),
        (("--sample", "500", "--output", "label.csv"), "sample: expected a number from 1 to 80"),
        (("--gold", "items.csv"), 'gold: expected the ids of the items in a column "id", found none'),
        (("--error-rate-prior", "high"), "expected two numbers A,B"),
    ):
        done = run("effects", "run", *arguments)
        assert (done.code, said in done.message) == (2, True), done.err


def test_latex_survives_what_people_write() -> None:
    assert escaped("50 % of_it & a\\b\n~^ {x} <$1 #2>") == (
        r"50 \% of\_it \& a\textbackslash{}b \textasciitilde{}\textasciicircum{} \{x\} \textless{}\$1 \#2\textgreater{}"
    )
    row = {"feature": "a", "target": "y", "effect": 1234.5, "lower": np.nan, "upper": 2e-7, "p_holm": 1e-9}
    table = pd.DataFrame([row])
    table.attrs = {"level": 0.9, "gold_items": 0, "chosen_on": "5 items", "estimated_on": "6 test items", "assumed": "nothing"}
    assert "a & $1234$ & -- & $<0.001$" in latex_table(table) or "a & $1235$ & -- & $<0.001$" in latex_table(table)
    assert "$2 \\times 10^{-7}$" in latex_table(table.assign(effect=2e-7))
