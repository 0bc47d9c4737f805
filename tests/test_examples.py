"""Every example runs; the Python of README and docs is tried in test_docs.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPECTED = {
    "binary": "n is at least 256",
    "own_answers": "of the posterior's",
    "custom_model": "mentions discount",
    "own_loop": "of the posterior's",
    "likelihoods": "student_t",
    "own_likelihood": "an interval",
    "posterior": "elpd",
    "houses": "pool is true",
    "movies": "on films kept aside",
    "serve": "funny chosen: film",
}


def test_every_example_is_listed_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert EXPECTED[name] in done.stdout
