"""`genz baseline` from end to end: its files, what the other commands make of them, and how it stops and goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answerers import Body
from fault_server import FaultServer, contains_truth, truthful_answerer

from genz_ppl.discovery.baseline import readings

TABLE = ("--id", "key", "--target", "y", "--seed", "0")
SUMMARY = re.compile(r"(\d+) questions? suggested, (\d+) usable; (\d+) answers, those on test items included")
READING = re.compile(r"the best point by the test items themselves \(the paper's reading\): .* \S+ with (\d+) features?$")


def record(folder: str = "out") -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(folder, "run.json").read_text())
    return read


@pytest.mark.slow
def test_the_binary_numbers(genz: Any) -> None:
    outcome = genz("baseline", "binary", "--out", "out", "--seed", "1", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["question", "effect", "90", "%", "interval", "p_e", "prevalence", "gain"]
    assert re.match(r"\d+ features; median absolute error \S+ on test items, \S+ on training items; .*written to out", lines[-4])
    counts = SUMMARY.match(lines[-2])
    assert counts is not None
    assert counts[3] == str(512 * int(counts[2]))
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "curve.csv",
        "features.csv",
        "items.parquet",
        "metrics.json",
        "run.json",
        "split.parquet",
        "state.safetensors",
    ]
    curve = pd.read_csv("out/curve.csv", keep_default_na=False)
    assert curve[curve["event"] == "prune"]["n_features"].min() == 0
    reading = READING.search(lines[-1])
    assert reading is not None
    assert int(reading[1]) == readings(curve).best_test.n_features
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert metrics["status"] == record()["status"] == "done"
    assert metrics["n_features"] == curve["n_features"].iloc[-1]


@pytest.mark.slow
def test_other_commands_read_the_run(genz: Any, table: Path) -> None:
    outcome = genz("baseline", table.name, *TABLE, "--out", "out", "--questions", "6", "--task", "What makes y large?")
    assert outcome.code == 0
    assert record()["baseline"] == {"task": "What makes y large?", "n_questions": 6, "examples": 200}
    assert "colour is red" in genz("features", "out").out
    rows = json.loads(genz("features", "out", "--json", "--all").out)
    assert {row["origin"] for row in rows} == {"suggested"}
    assert genz("predict", "out", table.name, "-o", "p.csv").code == 0
    assert len(pd.read_csv("p.csv")) == 40
    pooled = genz("predict", "out", table.name, "-o", "all.csv", "--predict-with", "pool")
    assert pooled.code == 0, pooled.err
    assert "of the variance of training items left out, all 6 that were answered" in pooled.out
    assert (
        "--predict-with: expected list or pool, got 'some'"
        in genz("predict", "out", table.name, "-o", "none.csv", "--predict-with", "some").err
    )
    assert "features that have cut loose" in genz("diagnose", "out").out.lower()
    again = genz("resume", "out")
    assert (again.code, again.out) == (0, "out: the run is done already; 'genz features' shows what it found\n")


@pytest.mark.slow
def test_a_table_joined_with_rules_is_found_from_elsewhere(
    genz: Any, frame: pd.DataFrame, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pd.DataFrame({"id": frame["key"], "Is it red?": (frame["colour"] == "red").astype(int)})
    known.to_csv("known.csv", index=False)
    frame.drop(columns="colour").to_csv(table, index=False)
    assert genz("baseline", table.name, *TABLE, "--out", "out", "--model", "rules+table:known.csv").code == 0
    assert record()["settings"]["model"] == f"rules+table:{Path('known.csv').absolute()}"
    texts = pd.read_csv("out/features.csv").query("active")["text"]
    assert "Is it red?" in texts.tolist()
    assert texts.str.startswith("size is at least ").any()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    frame.assign(size=99).to_csv("changed.csv", index=False)
    assert genz("predict", "../out", "changed.csv", "-o", "p.csv").code == 0


def test_a_config_file(genz: Any, table: Path) -> None:
    Path("b.toml").write_text('id = "key"\ntarget = "y"\n[baseline]\nquestions = 3\nexamples = 9\n[fit]\ncycles = 2\n')
    assert genz("baseline", table.name, "--out", "out", "--config", "b.toml").code == 0
    assert (record()["baseline"]["n_questions"], record()["baseline"]["examples"]) == (3, 9)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--questions", "0"), "--questions: expected a whole number of at least 1, got 0"),
        (("--examples", "0"), "--examples: expected a whole number of at least 1, got 0"),
        (("--task", ""), "--task: expected a description of the task, got an empty text"),
        (("--link", "curly"), "--link: expected one of linear, interaction, neural, got 'curly'"),
        (("--cycles", "3"), "No such option: --cycles"),
        (("--model", "rules+openai:m"), "served models cannot be joined yet"),
        (("--model", "openai:m+rules", "--max-calls", "9"), "served models cannot be joined yet"),
        (("--max-calls", "9"), "--max-calls: only for --model openai:NAME, and the model is 'rules'"),
        (("--target", "z"), "'z'"),
    ],
)
def test_wrong_options_leave_nothing_behind(genz: Any, table: Path, arguments: tuple[str, ...], expected: str) -> None:
    outcome = genz(
        "baseline", table.name, "--id", "key", *(("--target", "y") * ("--target" not in arguments)), "--out", "out", *arguments
    )
    assert outcome.code == 2
    assert outcome.out == ""
    assert expected in outcome.message
    assert not Path("out").exists()


MODEL = """
from pathlib import Path
from genz_ppl.llm.rules.model import RulesModel

class Model(RulesModel):
    def answer(self, items, features):
        if Path('down').exists():
            raise {error}
        return super().answer(items, features)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("ConnectionError('gone')", 4, "the model Model failed in answer(): ConnectionError: gone"),
        ("KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_what_was_stopped_goes_on(genz: Any, table: Path, error: str, code: int, message: str) -> None:
    name = f"fragile_{code}"
    Path(f"{name}.py").write_text(MODEL.format(error=error), encoding="utf-8")
    command = ("baseline", table.name, *TABLE, "--model", f"{name}:Model", "--questions", "4")
    Path("down").touch()
    outcome = genz(*command, "--out", "out")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.message == f"genz: {message}; what was done is saved, go on with: genz resume out"
    Path("down").unlink()
    resumed = genz("resume", "out")
    assert resumed.code == 0
    whole = genz(*command, "--out", "whole")
    assert resumed.out == whole.out.replace("written to whole", "written to out")


WORDS = ["granite", "pool", "garage", "fireplace", "garden", "balcony"]


def suggestions(body: Body) -> list[str]:
    assert "What is a house worth?" in body["messages"][1]["content"]
    return WORDS


@pytest.mark.slow
def test_a_served_model_and_its_cap(genz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    random = np.random.default_rng(0)
    has = random.random((40, len(WORDS))) < 0.4
    texts = [" ".join(np.array(WORDS)[row]) or "nothing" for row in has]
    price = has @ [1.0, 0.8, 0.6, 0.0, 0.0, 0.0] + 0.05 * random.normal(size=40)
    pd.DataFrame({"id": [f"h{n}" for n in range(40)], "text": texts, "price": price}).to_csv("houses.csv", index=False)
    with FaultServer(truthful_answerer(contains_truth, suggestions)) as server:
        where = ("--model", "openai:m", "--base-url", server.base_url, "--store", "answers.sqlite", "--items-per-call", "10")
        command = ("baseline", "houses.csv", "--id", "id", "--target", "price", *where, "--task", "What is a house worth?")
        outcome = genz(*command, "--out", "out", "--max-calls", "3", "--workers", "1")
        assert outcome.code == 3
        assert outcome.message.endswith("what was done is saved, go on with: genz resume out --max-calls MORE")
        assert server.total == 3
        assert genz("resume", "out", "--max-calls", "99").code == 0
        made = server.total
        metrics = json.loads(Path("out/metrics.json").read_text())
        assert metrics["calls"] == made
        texts = pd.read_csv("out/features.csv").query("active")["text"].tolist()
        assert set(WORDS[:3]) <= set(texts)
        assert metrics["answers_asked"] >= 40 * len(WORDS)
        assert genz(*command, "--out", "again").code == 0
        assert server.total == made  # every answer and the suggestions are stored
