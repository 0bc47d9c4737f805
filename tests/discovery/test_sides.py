"""split.parquet: the sides of a run's items, apart from run.json."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.errors import RunDirectoryError

SETTINGS: dict[str, Any] = {"cycles": 1, "add": 1, "cut": 0}


@pytest.fixture(scope="module")
def items() -> Items:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": random.choice(["red", "blue"], 30), "size": random.integers(0, 10, 30)})
    return Items.from_frame(frame.assign(y=3.0 * (frame["colour"] == "red") + random.normal(size=30)), target="y")


@pytest.fixture(scope="module")
def finished(items: Items, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sides") / "run"
    discover(items, out=out, **SETTINGS)
    return out


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_run_json_has_no_line_for_an_item(folder: Path, items: Items) -> None:
    content = json.loads((folder / "run.json").read_text())
    assert {"split", "content"}.isdisjoint(content)
    sides = pd.read_parquet(folder / "split.parquet")
    assert content["items"]["train"] + content["items"]["test"] == len(sides) == len(items)
    record = RunDirectory(folder).record()
    assert record.split.train + record.split.test == sides["id"].tolist()
    assert record.contents.train + record.contents.test == [one.hex() for one in sides["content"]]


@pytest.mark.parametrize("how", ["gone", "cut off", "of another split"])
def test_a_file_that_is_not_that_of_the_run_is_refused_in_one_line(folder: Path, how: str) -> None:
    path = folder / "split.parquet"
    if how == "gone":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        sides = pd.read_parquet(path)
        sides["side"] = sides["side"].to_numpy()[::-1]
        sides.to_parquet(path)
    with pytest.raises(
        RunDirectoryError, match=re.escape(str(path)) + r": (is missing|cannot be read|is damaged)[^\n]*take an intact copy"
    ):
        Discovery.load(folder)


def test_what_a_run_that_was_stopped_at_once_leaves_is_no_run(folder: Path, items: Items) -> None:
    again = folder.with_name("again")
    again.mkdir()
    shutil.copy(folder / "split.parquet", again)
    discover(items, out=again, **SETTINGS)
    assert (again / "split.parquet").read_bytes() == (folder / "split.parquet").read_bytes()


def test_a_step_that_changes_nothing_writes_nothing(folder: Path) -> None:
    directory, path = RunDirectory(folder), folder / "features.csv"
    before = path.stat().st_mtime_ns, path.stat().st_ino
    directory.write({path.name: path.read_bytes()})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    directory.write({path.name: b"other"})
    assert path.read_bytes() == b"other"
