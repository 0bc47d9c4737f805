from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.settings import FREE, DiscoverSettings

BITS = ("--algorithm", "basic", "--cycles", "1", "--add", "9", "--cut", "0")


def test_fit_finds_what_made_the_target(fit: Any, table: Path) -> None:
    outcome = fit(table.name, "runs/out")
    assert outcome.code == 0
    steps = [line for line in outcome.err.splitlines() if not line.startswith("genz: note: ")]
    assert [line.split(", ")[0] for line in steps] == [f"genz: step {n} of at most 3" for n in range(4)]  # not a terminal
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["question", "effect", "90", "%", "interval", "p_e", "prevalence", "gain"]
    assert "colour is red" in outcome.out
    said = r"2 features; median absolute error \S+ on test items, \S+ on training items; on test items .*; written to runs/out"
    assert lines[-1] == "posterior of the features: near exact in the last fit (--inference auto)"
    assert re.fullmatch(said, lines[-2])  # and no ceiling, which would take more than a tenth of so short a run
    record = json.loads(Path("runs/out/run.json").read_text())
    assert record["source"] == str(table)
    assert record["status"] == "done"
    assert record["settings"]["cycles"] == 1
    assert record["settings"]["proposals"] == FREE["proposals"]  # not given
    assert record["settings"]["patience"] == DiscoverSettings().patience


def test_long_questions_are_not_cut_off_when_piped(fit: Any, frame: pd.DataFrame, table: Path) -> None:
    long = "x" * 300
    frame.assign(colour=frame["colour"].replace("red", long)).to_csv(table, index=False)
    assert long in fit(table.name, "out").out


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["tsv", "parquet", "jsonl"])
def test_other_file_types_give_the_same_features(fit: Any, frame: pd.DataFrame, table: Path, suffix: str) -> None:
    if suffix == "tsv":
        frame.to_csv("toy.tsv", index=False, sep="\t")
    elif suffix == "parquet":
        frame.to_parquet("toy.parquet")
    else:
        frame.to_json("toy.jsonl", orient="records", lines=True, double_precision=15)
    assert fit(f"toy.{suffix}", "other").code == 0
    assert fit(table.name, "out").code == 0
    texts = [pd.read_csv(f"{folder}/features.csv")["text"].tolist() for folder in ("out", "other")]
    assert texts[0] == texts[1]


def test_a_model_from_a_module_in_the_working_directory(fit: Any, table: Path) -> None:
    Path("my_models.py").write_text(
        "from genz_ppl.llm.rules.model import RulesModel\n\n\nclass Mine(RulesModel):\n    pass\n", encoding="utf-8"
    )
    outcome = fit(table.name, "out", "--model", "my_models:Mine")
    assert outcome.code == 0
    assert json.loads(Path("out/run.json").read_text())["settings"]["model"] == "my_models:Mine"


def test_a_table_of_answers_is_found_again_from_elsewhere(
    fit: Any, genz: Any, frame: pd.DataFrame, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pd.DataFrame({"id": frame["key"], "is red": frame["colour"] == "red", "is large": frame["size"] >= 5})
    known.astype({"is red": int, "is large": int}).to_csv("known.csv", index=False)
    outcome = fit(table.name, "out", "--model", "table:known.csv")
    assert outcome.code == 0
    assert "is red" in outcome.out
    frame.assign(size=99).to_csv("changed.csv", index=False)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert genz("predict", "../out", "../changed.csv", "-o", "predicted.csv").code == 0


def test_directions_of_vectors(fit: Any, table: Path, frame: pd.DataFrame) -> None:
    outcome = fit(table.name, "single", "--direction")
    assert outcome.code == 2
    assert outcome.err.splitlines() == ["genz: --direction: expected at least two targets, got 'y' alone; leave direction out"]
    assert not Path("single").exists()
    frame.assign(other=1.0 - frame["size"] % 3).to_csv(table.name, index=False)
    assert fit(table.name, "out", "--target", "other", "--direction").code == 0
    settings = json.loads(Path("out/run.json").read_text())["settings"]
    assert (settings["direction"], settings["error_rate_prior"]) == (True, [1.0, 9.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        'source = "toy.csv"\nid = "key"\ntarget = "y"\nout = "out"\ncycles = 1\nadd = 1\ncut = 0\nerror_rate_prior = [1, 19]\n'
        "reconsider = false\nquiet = true\n",
        'target = ["y"]\ncycles = 7\n[fit]\nsource = "toy.csv"\nid = "key"\nout = "out"\ncycles = 1\nadd = 1\ncut = 0\n'
        'error-rate-prior = "1,19"\nreconsider = false\n[predict]\nlevel = 0.5\n',
    ],
)
def test_options_from_a_file(genz: Any, table: Path, content: str) -> None:
    Path("fit.toml").write_text(content, encoding="utf-8")
    assert genz("fit", "--config", "fit.toml").code == 0
    settings = json.loads(Path("out/run.json").read_text())["settings"]
    assert (settings["cycles"], settings["add"], settings["reconsider"]) == (1, 1, False)
    assert settings["error_rate_prior"] == [1.0, 19.0]
    outcome = genz("fit", "--config", "fit.toml", "--out", "flags-win", "--add", "2", "--reconsider")
    assert outcome.code == 0
    settings = json.loads(Path("flags-win/run.json").read_text())["settings"]
    assert (settings["add"], settings["reconsider"]) == (2, True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("cycels = 3", "'genz fit' has no option 'cycels'; did you mean 'cycles'?"),
        ("config = 'x'", "has no option 'config'"),
        ("test_fraction = 0.2\ntest-fraction = 0.3", "test-fraction is there twice"),
        ("[fitt]\ncycles = 3", "no command 'fitt' for the table [fitt]; did you mean 'fit'?"),
        ("cycles = 2.5", "'--cycles'"),
        ("cycles = true", "cycles: expected what one would type after the option, got True"),
        ("cycles = [1, 2]", "cycles: expected what one would type"),
        ("reconsider = 'no'", "reconsider: expected true or false, got 'no'"),
        ("cycles = 0", "--cycles: expected a whole number of at least 1"),
        ("link = 3", "--link: expected one of linear, interaction, neural, got '3'"),
        ("cycles = ", "fit.toml: not valid TOML"),
    ],
)
def test_a_wrong_config(genz: Any, table: Path, content: str, expected: str) -> None:
    Path("fit.toml").write_text(content, encoding="utf-8")
    outcome = genz("fit", table.name, "--target", "y", "--out", "out", "--config", "fit.toml")
    assert outcome.code == 2
    assert expected in outcome.message
    assert not Path("out").exists()


def assert_nine_bits(folder: Path) -> None:
    """Each feature is one bit or its complement, the largest first."""
    features = pd.read_csv(folder / "features.csv")
    active = features[features["active"]]
    assert len(active) == len(features) == 9
    for place, text in zip(range(8, -1, -1), active["text"], strict=True):
        weight = 2**place
        half, whole = re.escape(str(weight)), re.escape(str(2 * weight))
        patterns = {
            8: rf"n is (at least|less than|below) {half}",
            0: r"n modulo 2 is (0|1|at least 1|less than 1)",
        }
        assert re.fullmatch(patterns.get(place, rf"n modulo {whole} is (at least|less than) {half}"), text), (place, text)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["status"] == "done"
    assert metrics["n_features"] == 9
    assert metrics["test"]["r2"] > 0.999999


SEEDS = [pytest.param(seed, marks=[] if seed < 2 else pytest.mark.slow) for seed in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_nine_bits_of_the_papers_experiment(genz: Any, seed: int) -> None:
    assert genz("fit", "binary", "--out", "out", *BITS, "--seed", seed, "--model", "rules").code == 0
    assert_nine_bits(Path("out"))


def shuffled_numbers(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(512).tolist()
    with Path("numbers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("n", "y"), *((n, -3 * n + 7) for n in order)])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_the_nine_bits_of_another_line_in_shuffled_rows(genz: Any, seed: int) -> None:
    shuffled_numbers(seed)
    outcome = genz("fit", "numbers.csv", "--target", "y", "--out", "out", *BITS, "--seed", seed, "--quiet")
    assert outcome.code == 0
    assert ["column 'n' tells almost all" in line or "steps of the number 'n'" in line for line in outcome.err.splitlines()] == [
        True
    ] * 2
    assert_nine_bits(Path("out"))


def test_the_demo(genz: Any) -> None:
    outcome = genz("demo", "--seed", "1")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert sum(line.startswith("n ") for line in lines) == 9
    bars = [line.count("█") for line in lines if re.match(r" +\d+ ", line)]
    assert len(bars) == 10
    assert bars == sorted(bars, reverse=True)
    assert lines[-2].startswith("9 features; median absolute error")
    assert not list(Path().iterdir())  # writes nothing unless asked to


@pytest.mark.slow
def test_the_demo_writes_where_it_is_told(genz: Any) -> None:
    assert genz("demo", "--out", "out").code == 0
    assert_nine_bits(Path("out"))
    assert json.loads(Path("out/run.json").read_text())["source"] == "binary"


@pytest.mark.slow
def test_a_fit_ends_with_its_ceiling_unless_told_not_to(fit: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genz_ppl.discovery import ceiling

    monkeypatch.setattr(ceiling, "START", 100.0)
    assert re.search(
        r"\nthese 2 questions explain \d+ % of what gradient boosting on all fields does \(0\.\d+ of 0\.\d+\)\n",
        fit(table.name, "out").out,
    )
    assert "gradient boosting" not in fit(table.name, "without", "--no-ceiling").out


def test_questions_that_do_not_help_on_test_items_are_said_to(fit: Any, frame: pd.DataFrame) -> None:
    frame["part"] = ["train"] * 30 + ["test"] * 10
    frame.loc[30:, "y"] = -frame.loc[30:, "y"]  # what held for the training items is wrong for the others
    frame.to_csv("turned.csv", index=False)
    done = fit("turned.csv", "out", "--split", "part")
    assert done.code == 0
    assert done.message.startswith("genz: warning: on test items predictions are no better with these questions than without")
    assert " % more, 90 % interval" in done.out


def test_contrasts_are_shown_without_a_call_or_a_key(genz: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    before = sorted(Path().rglob("*"))
    asked = ("fit", table.name, "--id", "key", "--target", "y", "--model", "openai:m", "--exemplars", "3")
    outcome = genz(*asked, "--dry-contrasts", "1")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("contrast 1 of 1: 3 items on the one side, 3 on the other, sharpness 0.")
    assert outcome.out.count("== mine_both, version 1-") == 1
    assert outcome.out.count('{"item": ') == 6
    assert lines[-1] == "nothing was asked, and nothing was written"
    assert sorted(Path().rglob("*")) == before
    assert genz(*asked, "--dry-contrasts", "0").message.startswith("genz: --dry-contrasts: expected a whole number of at least 1")
    assert genz(*asked).message.startswith("genz: Missing option '--out'")
