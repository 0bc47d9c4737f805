"""What the first form of run directories and stores held is still there: `tests/data/format_1` was written by that version."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from plain import PLAIN

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.record import FORMAT
from genz_ppl.errors import RunDirectoryError
from genz_ppl.llm.store.rows import Question
from genz_ppl.llm.store.store import AnswerStore

HERE = Path(__file__).resolve().parent.parent / "data" / "format_1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE, tmp_path / "run"))


@pytest.fixture
def items() -> Items:
    return Items.from_csv(HERE / "items.csv", id="id", target=["y"])


def test_a_run_is_loaded_and_predicts(folder: Path, items: Items) -> None:
    run = Discovery.load(folder)
    assert run.record.format == 1
    assert run.status == "running"
    assert run.features["text"].tolist() == ["colour is red", "size is less than 6"]
    assert (run.features["gain_when_added"] > 10).all()
    assert run.features["gain"].isna().all()  # of an addition only, then
    assert items.targets is not None
    assert np.corrcoef(run.predict(items)["mean"], items.targets[:, 0])[0, 1] > 0.95


def test_a_run_goes_on_to_the_end_it_has_today(folder: Path, items: Items) -> None:
    before = RunDirectory(folder).record()
    run = resume(folder, items)
    fresh = discover(items, cycles=1, add=2, cut=1, seed=0, **PLAIN)  # as models were fitted when it was written
    assert run.features["text"].tolist() == fresh.features["text"].tolist()
    np.testing.assert_allclose(run.predict(items), fresh.predict(items), atol=1e-3)
    after = RunDirectory(folder).record()
    assert (after.status, after.split, after.versions) == ("done", before.split, before.versions)


def test_a_later_form_is_refused_in_one_line(folder: Path) -> None:
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "format": FORMAT + 1}))
    with pytest.raises(RunDirectoryError, match=r"run\.json: not written by genz-ppl, or by another version \(format: .*\)"):
        Discovery.load(folder)


def test_a_store_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript((HERE / "store.sql").read_text())
    connection.close()
    question = Question("The flat has a lift", "m", "https://api.openai.com/v1", "extract-1", "{}")
    with AnswerStore(path) as store:
        values, known = store.lookup([question], [hashlib.sha256(text).digest() for text in (b"one", b"two", b"three", b"four")])
    np.testing.assert_array_equal(values[:, 0], [1.0, 0.0, np.nan, np.nan])
    assert known[:, 0].tolist() == [True, True, True, False]
