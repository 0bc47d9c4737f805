"""Every example runs, and the README's Python does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
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
}


def test_every_example_is_listed_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert EXPECTED[name] in done.stdout


def readme_python() -> list[str]:
    """The Python blocks of the README."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = readme_python()
    random = np.random.default_rng(0)
    area, pool = random.integers(800, 4000, 60), random.random(60) < 0.5
    houses = pd.DataFrame({"house": np.arange(60), "area": area, "pool": pool, "bedrooms": 3})
    houses["bathrooms"] = random.integers(1, 4, 60)
    houses["log_price"] = 10 + area / 2000 + 0.5 * pool + 0.05 * random.normal(size=60)
    houses.to_csv(tmp_path / "houses.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks[0].replace("cycles=10", "cycles=1"), names)  # noqa: S102 - the project's own text
    run = names["run"]
    assert "pool is" in " ".join(run.features["text"])  # type: ignore[attr-defined]
    assert run.predict(names["items"]).shape == (60, 4)  # type: ignore[attr-defined]

    answers = (random.random((50, 2)) < 0.5).astype(float)
    names = {"answers": answers, "targets": answers @ [1.0, 2.0] + 0.1 * random.normal(size=50), "covariates": None}
    names |= {"new_answers": answers[:3], "new_covariates": None}
    exec(blocks[1], names)  # noqa: S102
    assert names["result"].posterior.shape == (50, 2)  # type: ignore[attr-defined]


def test_the_readme_likelihood_runs_and_is_short() -> None:
    from genz_ppl.models import LIKELIHOODS
    from genz_ppl.settings import LIKELIHOOD_NAMES

    (block,) = [text for text in readme_python() if "GumbelLikelihood" in text]
    own = block[block.index("@add_likelihood") : block.index("result =")]
    assert len([line for line in own.splitlines() if line.strip()]) < 20
    random = np.random.default_rng(0)
    answers = (random.random((200, 2)) < 0.5).astype(float)
    targets = answers @ np.array([2.0, -1.0]) + random.gumbel(scale=0.3, size=200)
    names: dict[str, object] = {"answers": answers, "targets": targets}
    try:
        exec(block, names)  # noqa: S102
    finally:
        LIKELIHOODS.pop("gumbel", None)
        if "gumbel" in LIKELIHOOD_NAMES:
            LIKELIHOOD_NAMES.remove("gumbel")
    weights = names["result"].parameters["weights"]  # type: ignore[attr-defined]
    np.testing.assert_allclose(weights[:, 0], [2.0, -1.0], atol=0.2)


def test_the_readme_names_real_commands_and_options() -> None:
    from typer.main import get_command

    from genz_ppl.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(
        r"`pip install [^`]*`|^(llama-server|OLLAMA|vllm|python -c).*$", "", text, flags=re.MULTILINE
    )  # others' options
    for name in re.findall(r"^    genz (\w+)", text, flags=re.MULTILINE):
        assert name in commands
    known = {option for command in commands.values() for parameter in command.params for option in parameter.opts}
    known |= {option for command in commands.values() for parameter in command.params for option in parameter.secondary_opts}
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)):
        assert option in known | {"--help"}, option
