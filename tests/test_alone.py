"""Two processes and one run directory: the second is refused in a line, whatever it wants to write there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from homes import QUICK, ROLES, homes
from liked_pairs import liked_pairs

from genz_ppl import Discovery, discover, resume
from genz_ppl import alone as locks
from genz_ppl.alone import alone, is_held
from genz_ppl.cli.app import run as genz
from genz_ppl.errors import RunDirectoryError

HAS_LOCKS = importlib.util.find_spec("fcntl") is not None
needs_locks = pytest.mark.skipif(not HAS_LOCKS, reason="this system has no locks of folders")
HOLDING = """
import sys
from pathlib import Path
from genz_ppl.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Makes another process hold a folder."""
    begun: list[subprocess.Popen[str]] = []

    def hold(path: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDING, str(path)]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert begun[-1].stdout is not None
        assert begun[-1].stdout.readline() == "held\n"
        return begun[-1]

    yield hold
    for one in begun:
        one.kill()
        one.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@needs_locks
def test_what_would_write_is_refused_until_the_other_process_is_gone(tmp_path: Path, held: Any) -> None:
    folder = tmp_path / "run"
    run = discover(homes(), out=folder, **ROLES, **QUICK)
    before, other = contents(folder), held(folder)
    refused = "under way in another process; wait for its end, or stop it"
    writers: tuple[Callable[[], object], ...] = (
        lambda: resume(folder, homes()),
        lambda: run.edit(lock=["f1"], items=homes()),
        lambda: Discovery.load(folder).undo(),
    )
    for write in writers:
        with pytest.raises(RunDirectoryError, match=refused):
            write()
    assert contents(folder) == before
    assert len(Discovery.load(folder).features) == len(run.features)  # readers are not kept out
    other.kill()
    other.wait()
    assert not is_held(folder)
    assert resume(folder, homes()).status == "done"
    assert contents(folder) == before


@needs_locks
def test_two_runs_that_are_begun_in_one_folder(tmp_path: Path, held: Any, capsys: pytest.CaptureFixture[str]) -> None:
    homes().to_csv(tmp_path / "homes.csv", index=False)
    held(tmp_path / "run")  # before it has written anything
    assert genz(["fit", str(tmp_path / "homes.csv"), "--target", "price", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "under way in another process" in capsys.readouterr().err
    assert contents(tmp_path / "run") == {}


@needs_locks
def test_folders_that_other_commands_write_over_time(tmp_path: Path, held: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, profiles = liked_pairs()
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    pd.DataFrame({"name": list(profiles.ids)}).to_csv(tmp_path / "things.csv", index=False)
    config = '[pipeline]\nitems = "things.csv"\nid = "name"\npairs = "pairs.csv"\nout = "pipeline"\n'
    (tmp_path / "pipeline.toml").write_text(config)
    (tmp_path / "parts").mkdir()
    homes().assign(answer=homes().index % 2).to_parquet(tmp_path / "parts" / "part.parquet")
    discover(homes(), out=tmp_path / "run", **ROLES, **QUICK)
    commands: dict[str, list[object]] = {
        "search": ["search", tmp_path / "parts", "--question", "answer", "--target", "price", "--out", tmp_path / "search"],
        "recommend": ["recommend", tmp_path / "pairs.csv", "--fuse", "none", "--out", tmp_path / "recommend"],
        "predictions": ["predict", tmp_path / "run", tmp_path / "parts", "--output", tmp_path / "predictions"],
        "pipeline": ["pipeline", tmp_path / "pipeline.toml"],
    }
    for name, command in commands.items():
        other = held(tmp_path / name)
        assert genz([str(one) for one in command]) == 2, name
        assert capsys.readouterr().err.endswith(
            f"{tmp_path / name}: the run is under way in another process; wait for its end, or stop it\n"
        )
        assert contents(tmp_path / name) == {}
        other.kill()
        other.wait()


@needs_locks
def test_one_holder_at_a_time_in_one_process_too(tmp_path: Path) -> None:
    with alone(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(RunDirectoryError), alone(tmp_path):
            pass
    with alone(tmp_path), alone(None):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_made_for_nothing_is_taken_away_again(tmp_path: Path) -> None:
    with alone(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with alone(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert contents(tmp_path / "new") == {"file": b""}


def test_an_edit_of_a_run_that_was_changed_since_it_was_read(tmp_path: Path) -> None:
    first = discover(homes(), out=tmp_path / "run", **ROLES, **QUICK)
    second = Discovery.load(tmp_path / "run")
    second.edit(lock=["f1"], items=homes())
    with pytest.raises(RunDirectoryError, match="was changed since it was read; load it again"):
        first.edit(lock=["f2"], items=homes())


@pytest.mark.parametrize("system", ["without locks", "folders cannot be locked"])
def test_where_there_are_no_locks_runs_go_as_ever(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system == "without locks":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        if not HAS_LOCKS:
            pytest.skip("this system has no locks of folders")

        def refuses(*_: Any) -> None:
            raise OSError(9, "Bad file descriptor")

        monkeypatch.setattr("fcntl.flock", refuses)
    assert discover(homes(), out=tmp_path / "run", **ROLES, **QUICK).status == "done"
    assert is_held(tmp_path / "run") is None


@needs_locks
def test_who_only_asks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    asking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda seconds: os.close(asking))  # the answer is there before the moment is over
    with alone(tmp_path):
        assert is_held(tmp_path)
