"""A folder from somebody else runs no code, sends no key and writes nothing elsewhere; one's own runs go on where they are."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fault_server import FaultServer, contains_truth, truthful_answerer

from genz_ppl import Discovery, Items, resume
from genz_ppl.errors import OptionError, RunDirectoryError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.served import calling

TRUE = truthful_answerer(contains_truth, lambda body: ["red", "blue"])
CODE = """
from pathlib import Path
from genz_ppl.llm.rules.model import RulesModel
Path({mark!r}).touch()
def make(): return RulesModel()
"""
SIX = ("--items-per-call", "6", "--features-per-call", "1", "--screen", "0")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A cache folder of the test's own, a key, and no module of the test left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.005)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("planted"):
            del sys.modules[name]


@pytest.fixture
def new(frame: pd.DataFrame, tmp_path: Path) -> Path:
    """An item that the run has not, so that its model must be asked."""
    frame.assign(key="new", size=77)[:1].to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


@pytest.fixture
def served(fit: Any, table: Path) -> Any:
    """`genz fit toy.csv` with a server, its store beside it."""

    def call(server: FaultServer, out: str, *more: object) -> Any:
        return fit(table.name, out, "--model", "openai:m", "--base-url", server.base_url, "--store", "mine.sqlite", *SIX, *more)

    return call


def edit(folder: str, **changes: Any) -> None:
    """Change run.json as somebody else would; an entry of settings or model_settings by its name."""
    path = Path(folder, "run.json")
    record = json.loads(path.read_text())
    for name, value in changes.items():
        part = next((part for part in ("settings", "model_settings") if name in (record[part] or {}) and name != "store"), None)
        (record if part is None or name == "store" else record[part])[name] = value
    path.write_text(json.dumps(record))


def ask(genz: Any, folder: str, *more: object) -> list[Any]:
    """What resume and predict say."""
    return [genz("resume", folder, *more), genz("predict", folder, "new.csv", "-o", "predicted.csv", *more)]


@pytest.mark.slow
def test_code_is_not_run_unless_it_is_confirmed(genz: Any, fit: Any, table: Path, new: Path) -> None:
    assert fit(table.name, "out").code == 0
    edit("out", model="planted_one:make", status="interrupted")
    Path("planted_one.py").write_text(CODE.format(mark=str(Path("ran").absolute())))
    for outcome in ask(genz, "out"):
        assert outcome.code == 2
        assert outcome.message.startswith("genz: out: is not known as a run of yours, and asks for model planted_one:make")
        assert f"code of model {Path('planted_one.py').absolute()}" in outcome.message
        assert "give the same again: --model planted_one:make" in outcome.message
    for name in ("features", "report", "diagnose"):
        assert genz(name, "out").code == 0
    assert not Path("ran").exists()
    assert not Path("predicted.csv").exists()
    assert [outcome.code for outcome in ask(genz, "out", "--model", "planted_one:make")] == [0, 0]
    assert Path("ran").exists()
    assert genz("predict", "out", "new.csv", "-o", "predicted.csv").code == 0  # resumed once, it is one's own


def test_code_of_one_s_own_goes_on_but_not_that_of_another_folder(genz: Any, fit: Any, table: Path, new: Path) -> None:
    Path("planted_two.py").write_text(CODE.format(mark="mine"))
    assert fit(table.name, "out", "--model", "planted_two:make").code == 0
    edit("out", status="interrupted")
    assert [outcome.code for outcome in ask(genz, "out")] == [0, 0]
    theirs = Path("theirs")
    theirs.mkdir()
    shutil.copytree("out", theirs / "out")  # its id is known, if the run was published
    shutil.copy(new, theirs)
    (theirs / "planted_two.py").write_text(CODE.format(mark="ran"))
    del sys.modules["planted_two"]
    os.chdir(theirs)
    edit("out", status="interrupted")
    for outcome in ask(genz, "out"):
        assert outcome.code == 2
        assert "has changed since it was noted as yours with code of model" in outcome.message
    assert not Path("ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["base_url", "store", "prompts"])
def test_nothing_is_sent_or_written_elsewhere(genz: Any, served: Any, new: Path, tmp_path: Path, changed: str) -> None:
    with FaultServer(TRUE) as server, FaultServer(TRUE) as other:
        assert served(server, "out").code == 0
        (tmp_path / "elsewhere").mkdir()
        there = {"base_url": other.base_url, "store": str(tmp_path / "elsewhere" / "s"), "prompts": str(tmp_path / "elsewhere")}
        edit("out", **{changed: there[changed]}, status="interrupted")
        count = server.total
        for outcome in ask(genz, "out"):
            assert outcome.code == 2
            assert "out: has changed since it was noted as yours" in outcome.message
            assert f"--{changed.replace('_', '-')} {there[changed]}" in outcome.message
        edit("out", id=None)
        assert all("is not known as a run of yours" in outcome.message for outcome in ask(genz, "out"))
        assert (server.total, other.total) == (count, 0)
        assert not list((tmp_path / "elsewhere").iterdir())
        assert genz("resume", "out", "--base-url", "http://localhost:1/v1").code == 2  # not what it has


@pytest.mark.slow
def test_a_server_that_is_confirmed(genz: Any, served: Any, new: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with FaultServer(TRUE) as server:
        assert served(server, "out").code == 0
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of somebody else"))
        said = ("--base-url", server.base_url, "--store", "theirs.sqlite")
        edit("out", status="interrupted")
        assert [outcome.code for outcome in ask(genz, "out", *said[:2])] == [2, 2]
        assert not Path("theirs.sqlite").exists()
        assert [outcome.code for outcome in ask(genz, "out", *said)] == [0, 0]
        assert Path("theirs.sqlite").exists()
        edit("out", status="interrupted")
        assert [outcome.code for outcome in ask(genz, "out")] == [0, 0]


@pytest.mark.slow
def test_the_same_in_python(fit: Any, frame: pd.DataFrame, table: Path, new: Path) -> None:
    assert fit(table.name, "out").code == 0
    edit("out", model="planted_three:make")
    Path("planted_three.py").write_text(CODE.format(mark="ran"))
    items = [Items.from_csv(path, id="key", target="y", require_target=False) for path in (table, new)]
    for load in (lambda: Discovery.load("out").predict(items[1]), lambda: resume("out", items[0])):
        with pytest.raises(RunDirectoryError, match=r"asks for model planted_three:make.*arguments of that name in Python"):
            load()
    assert len(Discovery.load("out").predict(items[0])) == len(frame)  # nothing to ask
    assert len(Discovery.load("out", model=RulesModel()).predict(items[1])) == 1
    assert not Path("ran").exists()
    assert len(Discovery.load("out", model="planted_three:make").predict(items[1])) == 1
    assert Path("ran").exists()
    with pytest.raises(OptionError, match="model: cannot change when a run goes on, and the run's is 'planted_three:make'"):
        resume("out", items[0], model="openai:m")


@pytest.mark.parametrize("move", ["renamed", "linked"])
def test_what_was_spent_is_known_wherever_the_folder_is(genz: Any, served: Any, move: str) -> None:
    with FaultServer(TRUE) as server:
        assert served(server, "out", "--max-calls", 4).code == 3
        assert server.total == 4
        if move == "renamed":
            Path("out").rename("moved")
        else:
            Path("moved").symlink_to("out")
        assert genz("resume", "moved").code == 3
        assert server.total == 4
        assert genz("resume", "moved", "--max-calls", 6).code == 3
        assert server.total == 6
        shutil.copytree("moved", "copy")  # of the same id: counted together
        assert genz("resume", "copy", "--max-calls", 8).code == 3
        assert server.total == 8
        assert genz("resume", "moved", "--max-calls", 8).code == 3
        assert server.total == 8


def test_a_run_of_an_older_version_takes_its_ledger_along(genz: Any, served: Any) -> None:
    with FaultServer(TRUE) as server:
        assert served(server, "out", "--max-calls", 4).code == 3
        edit("out", id=None)
        with sqlite3.connect("mine.sqlite") as connection:  # a ledger was known by the path of its run
            connection.execute("UPDATE runs SET path = ?", (os.path.abspath("out"),))
        connection.close()
        confirmed = ("--base-url", server.base_url, "--store", "mine.sqlite")
        assert genz("resume", "out", *confirmed).code == 3
        assert server.total == 4
        Path("out").rename("moved")
        assert genz("resume", "moved", "--max-calls", 5).code == 3
        assert server.total == 5


def test_the_cache_folder_cannot_be_written(genz: Any, served: Any, new: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with FaultServer(TRUE) as server:
        outcome = served(server, "out")
        assert outcome.code == 0
        assert "genz: note: the run could not be noted as yours" in outcome.err
        assert "resume and predict will want --base-url --store" in outcome.err
        assert genz("predict", "out", "new.csv", "-o", "predicted.csv").code == 2


@pytest.mark.slow
def test_a_file_under_the_name_of_a_new_one_is_no_way_out(genz: Any, fit: Any, table: Path, tmp_path: Path) -> None:
    """A folder may hold links in place of the files that are written first under another name."""
    assert fit(table.name, "out").code == 0
    edit("out", status="interrupted")
    names = ("run.json", "state.safetensors", "features.csv", "curve.csv", "metrics.json", "posterior.nc", "report.html")
    for name in names:
        (tmp_path / f"mine-{name}").write_text("mine")
        (Path("out") / f"{name}.partial").symlink_to(tmp_path / f"mine-{name}")
    assert [genz(name, "out").code for name in ("resume", "diagnose", "report")] == [0, 0, 0]
    assert {(tmp_path / f"mine-{name}").read_text() for name in names} == {"mine"}
    assert not list(Path("out").glob("*.partial"))
