"""What items, columns and models are called cannot move the cursor of a terminal, nor reckon in a spreadsheet."""

from __future__ import annotations

import ast
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import genz_ppl.cli
from genz_ppl.cli.messages import echo, say
from genz_ppl.cli.tables import print_table
from genz_ppl.discovery.run.tables import csv_of

EVIL = "co\x1b]0;pwned\x07l\x9b31m\u202e"
SHOWN = r"co\u001b]0;pwned\u0007l\u009b31m\u202e"
OBEYED = "\x1b\x07\x9b\u202e\r"


def obeyed(text: str) -> set[str]:
    return set(text) & set(OBEYED)


@pytest.fixture
def evil(frame: pd.DataFrame, table: Path) -> Path:
    """toy.csv with such a name in place of "colour"; ids that begin like formulas."""
    ids = ["=1+1", "-5", "@me", "+a", *frame["key"][4:]]
    frame.assign(key=ids).rename(columns={"colour": EVIL}).to_csv(table, index=False)
    return table


@pytest.mark.slow
def test_nothing_that_a_terminal_obeys_is_printed(genz: Any, fit: Any, evil: Path) -> None:
    fitted = fit(evil.name, "out")
    assert fitted.code == 0
    for outcome in (fitted, genz("features", "out"), genz("diagnose", "out"), genz("features", "out", "--json")):
        assert SHOWN in outcome.out
        assert not obeyed(outcome.out + outcome.err)
    assert EVIL in json.loads(outcome.out)[0]["text"]
    assert EVIL in genz("features", "out", "--csv").out  # into a pipe: as it is
    for options in (("--text", "size"), ("--target", EVIL), ("--covariate", EVIL), ("--split", EVIL)):
        outcome = genz("fit", evil.name, "--id", "key", "--target", "y", "--out", "other", *options, "--link", "\x1b[2J")
        assert outcome.code == 2
        assert not obeyed(outcome.err)
    assert not obeyed(genz("features", "\x1b[2J").err)


def test_a_terminal_gets_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    print_table([EVIL, "number"], [[f"text {EVIL}", "1"]])
    echo(EVIL, data=True)
    say(f"{EVIL}\n{EVIL}")
    found = capsys.readouterr()
    assert found.out.count(SHOWN) == 3
    assert found.err == f"genz: {SHOWN} {SHOWN}\n"
    assert not obeyed(found.out)


def test_text_leaves_in_one_place() -> None:
    """`typer.echo` passes everything on; help is our own text."""
    for path in Path(genz_ppl.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "print"):
                assert path.name == "messages.py" or "get_help" in ast.unparse(node), f"{path.name}:{node.lineno}"


WORDED_AS_FORMULAS = """
from genz_ppl.llm.rules.model import RulesModel
class Model(RulesModel):
    def propose(self, contrast, n):
        return [f"={text}" for text in super().propose(contrast, n)]
    def answer(self, items, features):
        return super().answer(items, [text.removeprefix("=") for text in features])
    def searched(self, items, features):
        return super().searched(items, [text.removeprefix("=") for text in features])
"""


@pytest.mark.slow
def test_texts_that_a_spreadsheet_would_reckon(genz: Any, fit: Any, table: Path) -> None:
    Path("worded_as_formulas.py").write_text(WORDED_AS_FORMULAS)
    assert fit(table.name, "out", "--model", "worded_as_formulas:Model").code == 0
    texts = pd.read_csv("out/features.csv")["text"]
    assert texts.str.startswith("'=colour is").any()
    assert pd.read_csv("out/curve.csv")["feature"].str.startswith("'=colour is").any()
    assert genz("features", "out", "--csv", "--all").out == Path("out/features.csv").read_text()
    raw = pd.read_csv(io.StringIO(genz("features", "out", "--csv", "--all", "--raw").out))
    assert raw["text"].tolist() == [text.removeprefix("'") for text in texts]
    assert [row["text"] for row in json.loads(genz("features", "out", "--json", "--all").out)] == raw["text"].tolist()


def test_ids_of_predictions(genz: Any, fit: Any, evil: Path) -> None:
    assert fit(evil.name, "out").code == 0
    outcome = genz("predict", "out", evil.name, "-o", "p.csv")
    assert "p.csv that begin as a formula would got a leading apostrophe; --raw leaves it out" in outcome.message
    assert pd.read_csv("p.csv", dtype=str)["id"].tolist()[:5] == ["'=1+1", "-5", "'@me", "'+a", "k4"]
    assert genz("predict", "out", evil.name, "-o", "p.csv", "--raw").err == ""
    assert pd.read_csv("p.csv", dtype=str)["id"].tolist()[:5] == ["=1+1", "-5", "@me", "+a", "k4"]
    assert genz("predict", "out", evil.name, "-o", "p.parquet").err == ""
    assert pd.read_parquet("p.parquet")["id"].tolist()[:4] == ["=1+1", "-5", "@me", "+a"]


def test_numbers_are_never_quoted() -> None:
    table = pd.DataFrame(
        {"=a": [-3.2, float("nan")], "n": pd.array([-1, None], dtype="Int64"), "t": ["-3.2", "=x"], "b": [True, None]}
    )
    assert csv_of(table).splitlines() == ["'=a,n,t,b", "-3.2,-1,-3.2,True", ",,'=x,"]
    assert csv_of(table, raw=True).splitlines()[0] == "=a,n,t,b"
