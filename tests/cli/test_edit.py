"""`genz edit` from the command line, with what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd


def test_a_run_is_edited_and_goes_back(genz: Any, fit: Any, table: Path) -> None:
    assert fit(table.name, "out").code == 0
    before = Path("out/features.csv").read_bytes()
    rows = pd.read_csv("out/features.csv")
    first = rows["id"].iloc[0]
    outcome = genz(
        "edit", "out", "--reword", f"{first}=colour is blue", "--lock", "colour is blue", "--add", "size is at least 3"
    )
    assert outcome.code == 0
    assert "colour is blue" in outcome.out
    assert outcome.out.endswith("genz edit DIR --undo takes it back\n")
    assert json.loads(Path("out/run.json").read_text())["edits"][0]["lock"] == ["colour is blue"]
    assert genz("predict", "out", table.name, "--explain").code == 0
    assert genz("edit", "out", "--undo").code == 0
    assert Path("out/features.csv").read_bytes() == before
    assert "was not edited" in genz("edit", "out", "--undo").message
    for options, said in (
        ((), "expected a change, got none"),
        (("--undo", "--add", "x"), "--undo: goes back and changes nothing else"),
        (("--reword", "f1"), "--reword: expected ID=TEXT, got 'f1'"),
        (("--drop", "f77"), "the run has no question 'f77'"),
        (("--add", "is it nice?"), "is it nice?"),
    ):
        outcome = genz("edit", "out", *options)
        assert outcome.code == 2
        assert said in outcome.message
