"""The wheel and the sdist carry the package once, whole, and without the top-level links."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCES = (".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
MADE_UP = ("genz_ppl/llm/served/prompts/made_up/ask.md", "genz_ppl/diagnostics/report/templates/made_up.html")


@dataclass(frozen=True)
class Built:
    """What a build of a copy of the checkout gave. sources: the package's files in that copy, relative to it."""

    sources: frozenset[str]
    wheel: zipfile.ZipFile
    sdist: tarfile.TarFile
    output: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Both archives, each straight from the tree (links included), with no network: the backend is already installed."""
    folder = tmp_path_factory.mktemp("distribution")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    for name in MADE_UP:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("a template\n", encoding="utf-8")
    sources = frozenset(path.relative_to(tree).as_posix() for path in (tree / "genz_ppl").rglob("*") if path.is_file())
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(folder / "dist"), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened_wheel, tarfile.open(sdist) as opened_sdist:
        yield Built(sources, opened_wheel, opened_sdist, done.stdout + done.stderr)


def test_wheel_holds_the_package_once_and_nothing_else(built: Built) -> None:
    names = [name for name in built.wheel.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    assert set(names) == built.sources
    assert {"genz_ppl/py.typed", *MADE_UP} <= set(names)


def test_sdist_holds_the_package_once(built: Built) -> None:
    members = [member for member in built.sdist.getmembers() if not member.isdir()]
    assert all(member.isfile() for member in members), "a link is in the sdist"
    names = [member.name.partition("/")[2] for member in members]
    assert len(names) == len(set(names))
    assert {name for name in names if name.startswith("genz_ppl/")} == built.sources
    assert not [name for name in names if name.startswith(("models/", "inference/"))]


def test_sdist_holds_what_is_needed_to_test_it(built: Built) -> None:
    names = {name.partition("/")[2] for name in built.sdist.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= names


def test_wheel_metadata(built: Built) -> None:
    (name,) = (name for name in built.wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(built.wheel.read(name).decode())
    assert metadata["Name"] == "genz-ppl"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    scripts = built.wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "genz = genz_ppl.cli.app:main" in scripts


def test_build_gives_no_warning(built: Built) -> None:
    assert "Warning" not in built.output, built.output
