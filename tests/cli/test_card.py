"""`genz card`: what a card says, whatever the data are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd


def test_a_card_of_a_run(genz: Any, fit: Any, table: Path) -> None:
    assert fit(table.name, "out", "--covariate", "size").code == 0
    shown = genz("card", "out")
    assert shown.code == 0
    assert shown.out.startswith("# toy.csv: y\n")
    assert "and from size" in shown.out
    for text in pd.read_csv("out/features.csv").query("active")["text"]:
        assert f"| {text} |" in shown.out.replace("\\", "")
    for part in ("## Questions", "## How well it predicts", "32 train and 8 test items", "`rules`", "## Limits"):
        assert part in shown.out
    assert genz("card", "out", "-o", "card.md").out == "written to card.md\n"
    assert Path("card.md").read_text() == shown.out
    assert "cannot be written" in genz("card", "out", "-o", "nowhere/card.md").message


def test_names_are_no_markup(genz: Any, fit: Any, frame: pd.DataFrame) -> None:
    frame.assign(colour=frame["colour"].replace("red", "<b>|`x`")).to_csv("a|b.csv", index=False)
    assert fit("a|b.csv", "out").code == 0
    card = genz("card", "out").out
    assert card.startswith("# a\\|b.csv: y\n")
    assert "<b>" not in card.replace("\\<", "")
