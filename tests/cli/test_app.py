from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from importlib.metadata import version
from typing import Any

import pytest
import typer

import genz_ppl
from genz_ppl.cli.app import app
from genz_ppl.cli.messages import noted
from genz_ppl.errors import GenzWarning
from genz_ppl.settings import DiscoverSettings

COMMANDS = (
    "demo",
    "plan",
    "fit",
    "baseline",
    "cooccur",
    "resume",
    "predict",
    "features",
    "edit",
    "studio",
    "diagnose",
    "compare",
    "report",
    "card",
    "coldstart",
    "prompts",
)


def parameters(command: str) -> dict[str, Any]:
    group = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in group.commands[command].params}  # type: ignore[attr-defined]


def test_the_version(genz: Any) -> None:
    outcome = genz("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"genz {genz_ppl.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(genz: Any, arguments: tuple[str, ...]) -> None:
    outcome = genz(*arguments)
    assert outcome.code == 0
    assert outcome.err == ""
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\b", outcome.out, re.MULTILINE)
    assert len(outcome.out.splitlines()) < 45


def test_shells_complete_words() -> None:
    def completed(words: str, shell: str = "bash") -> list[str]:
        given = {"_GENZ_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = subprocess.run(
            [sys.executable, "-m", "genz_ppl"], env={**os.environ, **given}, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("genz pre") == ["predict"]
    assert "--target" in completed("genz fit a.csv --ta")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_a_config(genz: Any, command: str) -> None:
    assert genz(command, "--help").code == 0
    assert "config" in parameters(command)


def test_fit_has_an_option_for_every_setting() -> None:
    known = parameters("fit")
    missing = [name for name in DiscoverSettings.__dataclass_fields__ if name not in known]
    assert not missing
    for name in DiscoverSettings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in known[name].opts
        assert known[name].default is None  # what is not given is left to DiscoverSettings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fit",), "Missing argument 'SOURCE'"),
        (("fit", "binary"), "Missing option '--out'"),
        (("fit", "binary", "--out", "x", "--cycels", "3"), "No such option: --cycels"),
        (("fit", "binary", "--out", "x", "--cycles", "many"), "'--cycles'"),
        (("fit", "binary", "--out", "x", "--error-rate-prior", "1"), "'--error-rate-prior': expected two numbers A,B, got '1'"),
        (("fit", "binary", "--out", "x", "--error-rate-prior", "0,9"), "above 0, got '0,9'"),
        (("train",), "No such command 'train'"),
        (("features", "x", "y"), "unexpected extra argument"),
        (("features", "x", "--json", "--csv"), "--json and --csv exclude each other"),
    ],
)
def test_usage_errors_are_one_line(genz: Any, arguments: tuple[str, ...], expected: str) -> None:
    outcome = genz(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.message.startswith("genz: ")
    assert expected in outcome.message


def test_the_script_itself_ends_with_the_code_and_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genz_ppl.cli.app", "features", "no-such-folder"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "genz: no-such-folder: expected a run directory, found no run.json; give the folder of --out"
    ]


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from genz_ppl.cli.app import run; run(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "genz --help imports torch, which takes seconds"


def test_a_warning_of_ours_is_one_line_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with noted():
        for _ in range(2):
            warnings.warn("column 'age': read as numbers", GenzWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another library's"):
            warnings.warn("another library's", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "genz: note: column 'age': read as numbers\n"
    with pytest.raises(GenzWarning):  # as before
        warnings.warn("column 'age': read as numbers", GenzWarning, stacklevel=1)


def test_version_lists_what_is_installed(genz: Any) -> None:
    shown = genz("version")
    assert shown.code == 0
    found = dict(line.split(maxsplit=1) for line in shown.out.splitlines())
    assert found["genz-ppl"] == genz_ppl.__version__
    assert found["torch"] == version("torch")


def test_the_package_is_a_command() -> None:
    ended = subprocess.run([sys.executable, "-m", "genz_ppl", "--version"], capture_output=True, text=True, check=False)
    assert ended.stdout == f"genz {genz_ppl.__version__}\n"
