"""The project's own files agree with each other."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import genz_ppl

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "genz_ppl"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))
LONGEST_FILE = 350


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pinned_versions() -> dict[str, str]:
    """Version by normalised name, as constraints.txt has it; every line but comments must be an exact pin."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalised(name): pin for name, pin in pins.items()}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_one(settings: dict[str, Any]) -> None:
    assert settings["project"]["version"] == genz_ppl.__version__ == version("genz-ppl")


def test_changelog_knows_the_version(settings: dict[str, Any]) -> None:
    assert f"## [{settings['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="an unpacked sdist has no links: they belong to the checkout")
@pytest.mark.parametrize("name", ["models", "inference"])
def test_top_level_link_points_into_the_package(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("genz_ppl") / name
    assert (link / "__init__.py").is_file()


def test_every_folder_with_modules_is_a_package() -> None:
    missing = sorted(
        {path.parent.as_posix() for path in map(Path, MODULES)}
        - {Path(path).parent.as_posix() for path in MODULES if path.endswith("__init__.py")}
    )
    assert not missing, f"no __init__.py in {missing}"


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_file_is_short(module: str) -> None:
    length = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST_FILE, f"{module} has {length} lines: split it by idea"


SIZES = re.findall(r"\(`(\w+)`: (\d+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_contributing_gives_the_size_of_what_is_there(name: str, size: str) -> None:
    """Of a class with its decorator, or of a command's file."""
    command = PACKAGE / "cli" / f"{name}.py"
    lengths = [len(command.read_text(encoding="utf-8").splitlines())] if command.exists() else []
    for module in MODULES:
        for node in ast.parse((ROOT / module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == name and node.end_lineno is not None:
                lengths.append(node.end_lineno + 1 - min([node.lineno, *(one.lineno for one in node.decorator_list)]))
    assert lengths == [int(size)]


def test_every_dependency_is_pinned(settings: dict[str, Any]) -> None:
    extras = settings["project"]["optional-dependencies"].values()
    wanted = {re.split(r"[<>=!~\[; ]", line)[0] for group in [settings["project"]["dependencies"], *extras] for line in group}
    missing = {normalised(name) for name in wanted} - pinned_versions().keys()
    assert not missing, f"constraints.txt has no line for {sorted(missing)}"


def test_environment_holds_the_pinned_torch() -> None:
    # A local build tag (2.13.0+cpu) is the same release.
    assert version("torch").partition("+")[0] == pinned_versions()["torch"]


def test_the_names_in_settings_are_those_of_the_tables() -> None:
    from genz_ppl.models import LIKELIHOODS, LINKS
    from genz_ppl.settings import LIKELIHOOD_NAMES, LINK_NAMES

    assert (set(LINK_NAMES), set(LIKELIHOOD_NAMES)) == (set(LINKS), set(LIKELIHOODS))
