"""A run that was killed, interrupted or failed goes on to the end it would have had: the same files but for times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.cli.app import run as run_command
from genz_ppl.errors import ModelError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, Item

QUICK: dict[str, Any] = {"cycles": 2, "add": 2, "cut": 1, "seed": 3}
COMMAND = ("fit", "toy.csv", "--id", "key", "--target", "y", "--cycles", "2", "--add", "2", "--cut", "1", "--seed", "3")
SLOW_ENOUGH = (*COMMAND, "--refit-steps", "80", "--final-steps", "250")


class Failing(RulesModel):
    """Fails at its n-th call, in the way it is told."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error, self.calls = at, error, 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        self._count()
        return super().answer(items, features)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self._count()
        return super().propose(contrast, n)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"link": "neural", "cycles": 1, "add": 1}, {"algorithm": "basic"}])
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "interrupted"), (OSError("no\nnetwork"), "failed")])
def test_a_stop_in_the_middle(
    items: Items, tmp_path: Path, assert_same_run: Any, settings: dict[str, Any], error: BaseException, status: str
) -> None:
    chosen = {**QUICK, **settings}
    discover(items, Failing(0, error), out=tmp_path / "whole", **chosen)
    expected = KeyboardInterrupt if status == "interrupted" else ModelError
    with pytest.raises(expected):
        discover(items, Failing(4, error), out=tmp_path / "run", **chosen)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == status
    assert Discovery.load(tmp_path / "run").status == "running"
    finished = resume(tmp_path / "run", items, model=Failing(0, error))
    assert finished.status == "done"
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_stopped_again_and_again(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    whole = Failing(0, KeyboardInterrupt())
    discover(items, whole, out=tmp_path / "whole", **QUICK)
    stops = 0
    model = Failing(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        discover(items, model, out=tmp_path / "run", **QUICK)
    while True:
        model = Failing(6, KeyboardInterrupt())
        try:
            resume(tmp_path / "run", items, model=model)
        except KeyboardInterrupt:
            stops += 1
            assert stops < 30
        else:
            break
    assert stops >= 1
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_resuming_what_is_done_changes_nothing(items: Items, tmp_path: Path) -> None:
    discover(items, out=tmp_path, **QUICK)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "metrics.json"}
    assert resume(tmp_path, items).status == "done"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "metrics.json"} == before


@pytest.mark.slow
def test_time_goes_on_where_it_was(items: Items, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        discover(items, Failing(6, KeyboardInterrupt()), out=tmp_path, **QUICK)
    before = Discovery.load(tmp_path).curve["seconds"]
    after = resume(tmp_path, items, model=RulesModel()).curve["seconds"]
    pd.testing.assert_series_equal(after[: len(before)], before)
    assert after.is_monotonic_increasing


# Imports once, then forks a run for every moment of death: os._exit leaves no chance to clean up, as kill -9 does.
DRIVER = """
import os, sys
from pathlib import Path
import torch
from genz_ppl.cli.app import run
from genz_ppl.llm.rules.model import RulesModel

torch.set_num_threads(1)
replace, count = Path.replace, [0]

def dying(path, target, moment):
    if moment == ("before", count[0]):
        os._exit(9)
    result = replace(path, target)
    if moment == ("after", count[0]):
        os._exit(9)
    count[0] += 1
    return result

for moment in sys.argv[1:]:
    kind, _, number = moment.partition("-")
    child = os.fork()
    if child == 0:
        Path.replace = lambda path, target: dying(path, target, (kind, int(number)))
        os._exit(run([*%r, "--out", moment]))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture
def toy(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds toy.csv."""
    frame.to_csv(tmp_path / "toy.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def die_and_resume(toy: Path, assert_same_run: Any, moments: Sequence[str]) -> None:
    """Runs that die before or after their n-th file is put in place; each must end as the whole run."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER % (COMMAND,), *moments],
        cwd=toy,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    codes = [line for line in done.stdout.splitlines() if line in ("0", "9", "-9")]
    assert codes == ["9"] * len(moments), done.stdout + done.stderr
    assert run_command([*COMMAND, "--out", "whole"]) == 0
    for moment in moments:
        if not (toy / moment / "run.json").exists():
            assert run_command([*COMMAND, "--out", moment]) == 0  # nothing had been written: begun anew
        else:
            assert run_command(["resume", moment]) == 0
        assert_same_run(toy / moment, toy / "whole")


@pytest.mark.slow
def test_killed_at_five_moments(toy: Path, assert_same_run: Any) -> None:
    die_and_resume(toy, assert_same_run, ["before-0", "after-0", "before-2", "after-10", "before-19"])


@pytest.mark.slow
def test_killed_at_every_file(toy: Path, assert_same_run: Any) -> None:
    die_and_resume(toy, assert_same_run, [f"{when}-{number}" for number in range(26) for when in ("before", "after")])


def started(toy: Path, out: str) -> subprocess.Popen[str]:
    """A run in a process of its own, past its first saved step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "genz_ppl.cli.app", *SLOW_ENOUGH, "--out", out],
        cwd=toy,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not (toy / out / "state.safetensors").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_run_goes_on(toy: Path, assert_same_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    process = started(toy, "run")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert output == ""
    said = [line for line in errors.splitlines() if not line.startswith("genz: step ")]
    assert said == ["genz: interrupted; what was done is saved, go on with: genz resume run"]
    assert json.loads((toy / "run" / "run.json").read_text())["status"] == "interrupted"
    assert run_command(["resume", "run"]) == 0
    assert run_command([*SLOW_ENOUGH, "--out", "whole"]) == 0
    assert_same_run(toy / "run", toy / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.35, 0.8, 1.3, 2.1])
def test_kill_9(toy: Path, assert_same_run: Any, delay: float) -> None:
    process = started(toy, "run")
    time.sleep(delay)
    process.kill()
    process.communicate(timeout=120)
    assert run_command(["resume", "run"]) == 0
    assert run_command([*SLOW_ENOUGH, "--out", "whole"]) == 0
    assert_same_run(toy / "run", toy / "whole")


@pytest.mark.slow
def test_a_model_that_fails_ends_with_4(toy: Path, assert_same_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "fragile.py").write_text(
        "from pathlib import Path\n"
        "from genz_ppl.llm.rules.model import RulesModel\n\n\n"
        "class Model(RulesModel):\n"
        "    def propose(self, contrast, n):\n"
        "        if contrast.existing and Path('down').exists():\n"
        "            raise ConnectionError('the server\\nis gone')\n"
        "        return super().propose(contrast, n)\n",
        encoding="utf-8",
    )
    command = [*COMMAND, "--model", "fragile:Model"]
    (toy / "down").touch()
    assert run_command([*command, "--out", "run", "--quiet"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "genz: the model Model failed in propose(): ConnectionError: the server is gone; "
        "what was done is saved, go on with: genz resume run"
    ]
    assert run_command(["features", "run"]) == 0  # what was found so far
    assert run_command(["resume", "run"]) == 4  # still down
    (toy / "down").unlink()
    assert run_command(["resume", "run"]) == 0
    assert run_command([*command, "--out", "whole"]) == 0
    assert_same_run(toy / "run", toy / "whole")
