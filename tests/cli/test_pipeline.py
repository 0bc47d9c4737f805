from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from liked_pairs import QUESTIONS, liked_pairs

CONFIG = """
[pipeline]
items = "things.csv"
id = "name"
pairs = "pairs.csv"
out = "out"
at-least = 4
core = 3
dimensions = 4

[profile]
encoder = "own_encoders:Lengths"

[fit]
likelihood = "isotropic"
cycles = 2
max-features = 4

[recommend]
features = "answers"
ridge = 20
seeds = 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """pipeline.toml with its tables, and an encoder that takes no time."""
    pairs, profiles = liked_pairs()
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    columns = {name.removeprefix("Is it ").rstrip("?"): profiles.answers[:, at] for at, name in enumerate(QUESTIONS)}
    things = pd.DataFrame({name: ["yes" if one else "no" for one in cells] for name, cells in columns.items()})
    things.insert(0, "name", list(profiles.ids))
    things.to_csv(tmp_path / "things.csv", index=False)
    code = "import numpy as np\nclass Lengths:\n    def encode(self, texts):\n"
    code += "        return np.array([[len(t), t.count('e'), 1.0] for t in texts], np.float32)\n"
    (tmp_path / "own_encoders.py").write_text(code)
    (tmp_path / "pipeline.toml").write_text(CONFIG)
    return tmp_path / "pipeline.toml"


def test_plan_shows_the_commands_and_does_nothing(genz: Callable[..., Any], config: Path) -> None:
    done = genz("pipeline", config, "--plan")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["factors", "fit", "profile", "recommend", "report"]
    assert "recommend: genz recommend " in done.out
    assert not (config.parent / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[pipeline]", "[pipelines]"), "'pipelines' is none of the tables pipeline, profile, fit, recommend"),
        (('pairs = "pairs.csv"\n', ""), "[pipeline] says no pairs; add it"),
        (("pairs.csv", "absent.csv"), "[pipeline] pairs: there is no file"),
        (("core = 3", "core = true"), "[pipeline] core = True: expected one of items, id, pairs"),
        (("[recommend]", '[recommend]\nsplit = "cold"'), "[recommend] split: the pipeline says this itself"),
        (("core = 3", 'core = 3\nsplit = "column"'), "[pipeline] split: expected cold, random or time, got 'column'"),
        (("core = 3", "core ="), "not valid TOML"),
    ],
)
def test_wrong_files_are_refused_in_a_line(genz: Callable[..., Any], config: Path, change: tuple[str, str], message: str) -> None:
    config.write_text(CONFIG.replace(*change))
    done = genz("pipeline", config)
    assert done.code == 2
    assert message in done.message
    assert not (config.parent / "out").exists()


@pytest.mark.slow
def test_pipeline_goes_from_tables_to_a_report_and_goes_on(genz: Callable[..., Any], config: Path) -> None:
    out = config.parent / "out"
    config.write_text(CONFIG.replace("ridge = 20", "ridge = -1"))
    stopped = genz("pipeline", config)
    assert stopped.code == 2, "the step's own exit code"
    assert (out / "questions" / "run.json").exists()
    kept = (out / "questions" / "run.json").read_bytes()
    config.write_text(CONFIG)
    done = genz("pipeline", config)
    assert done.code == 0, done.err
    assert "fit: done already" in done.out
    assert (out / "questions" / "run.json").read_bytes() == kept
    about = json.loads((out / "recommend" / "recommend.json").read_text())
    assert about["questions"] >= 2
    said = next(one for one in about["verdict"] if "new items" in one and "shuffled" in one)
    assert "a gain over shuffled profiles" in said
    assert "gain over shuffled" in (out / "recommend" / "report.html").read_text(encoding="utf-8")
    again = genz("pipeline", config)
    assert again.code == 0
    assert again.out.count("done already") == 5


@pytest.mark.slow
def test_what_is_mined_has_seen_training_pairs_alone(genz: Callable[..., Any], config: Path) -> None:
    assert genz("pipeline", config).code == 0
    pairs = pd.read_parquet(config.parent / "out" / "pairs.parquet")
    mined = pd.read_parquet(config.parent / "out" / "mining.parquet")
    trained = set(pairs["item"][pairs["split"] == "train"])
    assert set(mined["name"]) == trained
    assert len(trained) == 51  # 15 % of 60 are hidden whole
