"""Imports in the package go down only: each part may use the parts below it and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "genz_ppl"

GROUND = {"alone", "errors", "types", "setting_fields", "settings", "output", "cells", "rows", "separated", "mapped"}
BELOW_DISCOVERY = GROUND | {"data", "llm", "models", "inference"}
MAY_IMPORT = {
    **dict.fromkeys(sorted(GROUND), GROUND),
    "data": GROUND,
    "llm": GROUND,
    "models": GROUND,
    "inference": GROUND | {"models"},
    "discovery": BELOW_DISCOVERY | {"diagnostics"},  # for Discovery.to_inference_data
    "diagnostics": GROUND | {"models", "inference"},
    "profiles": BELOW_DISCOVERY | {"discovery"},  # for the answers of loaded runs
    "recommend": BELOW_DISCOVERY | {"profiles", "diagnostics"},  # for its report
    "estimators": BELOW_DISCOVERY | {"discovery"},
    "studio": BELOW_DISCOVERY | {"discovery"},
    "cli": BELOW_DISCOVERY | {"discovery", "diagnostics", "profiles", "recommend", "studio"},
}
ABOVE_ALL = {"__init__", "__main__"}
ARVIZ_HOME = "diagnostics/inference_data.py"
TOP_LEVEL_LINKS = {"models", "inference"}


def imported_names(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, dotted name) of every import: also in functions, under TYPE_CHECKING, and by importlib with a literal name.

    `from a import b` gives "a.b", since b may be a module. A relative import gives a name that starts with a dot.
    """
    names: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                names.append((node.lineno, node.args[0].value))
    return names


def offence(part: str, path: str, name: str) -> str | None:
    """Why the module at `path` (in `part`) must not import `name`; None where it may."""
    if name.startswith("."):
        return f"relative import of {name}: write the absolute name"
    first, _, rest = name.partition(".")
    if first == "arviz" and path != ARVIZ_HOME:
        return f"imports arviz: only {ARVIZ_HOME} may"
    if first in TOP_LEVEL_LINKS:
        return f"imports {name}: the top-level link {first} is not installed, write genz_ppl.{first}"
    if first != "genz_ppl" or part in {*ABOVE_ALL, "cli"}:
        return None
    target = rest.partition(".")[0]
    if target not in MAY_IMPORT:
        return f"imports {name}: name the part it comes from (the package's own __init__ is above all parts)"
    if target != part and target not in MAY_IMPORT[part]:
        return f"imports {name}: {part} may use only {', '.join(sorted(MAY_IMPORT[part]))}"
    return None


def floor_offences(path: str, source: str) -> list[str]:
    """One line for every import in `source` that breaks the floors; `path` is relative to the package."""
    part = path.partition("/")[0].removesuffix(".py")
    if part not in ABOVE_ALL and part not in MAY_IMPORT:
        return [f"{path}: {part} is on no floor: add it to MAY_IMPORT in tests/test_floors.py"]
    found = [(line, offence(part, path, name)) for line, name in imported_names(ast.parse(source))]
    return [f"{path}:{line}: {reason}" for line, reason in sorted(found, key=lambda pair: pair[0]) if reason]


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """By module of the package all those that it names in an import, wherever that stands. sources: by dotted name."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = {name if name in sources else name.rpartition(".")[0] for _, name in imported_names(ast.parse(source))}
        graph[module] = found & sources.keys() - {module}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that reach one another, and those between: what is left when those that import nothing, and then those that
    nothing imports, are taken out again and again."""
    left = dict(graph)
    for _ in range(2):
        while ends := [module for module, found in left.items() if not found & left.keys()]:
            for module in ends:
                del left[module]
        left = {module: {other for other, found in left.items() if module in found} for module in left}
    return sorted(left)


def test_package_has_no_circles_of_imports() -> None:
    sources = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    assert "genz_ppl.models.genz" in import_graph(sources)["genz_ppl.models"]
    assert circle(import_graph(sources)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from genz_ppl.a import one",
        "from genz_ppl import a",
        "def later():\n    import genz_ppl.a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from genz_ppl.a import One",
    ],
)
def test_circle_is_found(source: str) -> None:
    sources = {"genz_ppl.a": "from genz_ppl.b import two", "genz_ppl.c": "import genz_ppl.a", "genz_ppl.d": ""}
    assert circle(import_graph(sources | {"genz_ppl.b": source})) == ["genz_ppl.a", "genz_ppl.b"]
    assert circle(import_graph(sources | {"genz_ppl.b": "import genz_ppl.d"})) == []


def test_package_keeps_to_its_floors() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert PACKAGE / "models" / "__init__.py" in modules
    offences = [
        line
        for module in modules
        for line in floor_offences(module.relative_to(PACKAGE).as_posix(), module.read_text(encoding="utf-8"))
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "from genz_ppl.data.items import Items"),
        ("types.py", "import genz_ppl.models"),
        ("data/items.py", "from genz_ppl.llm.rules.model import Rules"),
        ("data/items.py", "from genz_ppl.models import genz"),
        ("llm/rules/model.py", "from genz_ppl import data"),
        ("models/genz.py", "from genz_ppl.inference.fit import fit"),
        ("inference/fit.py", "from genz_ppl.llm.base import FoundationModel"),
        ("inference/fit.py", "import torch, genz_ppl.data.items as items"),
        ("inference/fit.py", "from genz_ppl.discovery import cycle"),
        ("discovery/mine/cycle.py", "from genz_ppl.cli.app import main"),
        ("diagnostics/report/write.py", "from genz_ppl.llm.base import FoundationModel"),
        ("diagnostics/report/write.py", "from genz_ppl.discovery.mine.cycle import cycle"),
        ("diagnostics/report/write.py", "from genz_ppl.data.items import Items"),
        ("inference/fit.py", "def later():\n    from genz_ppl.llm import rules"),
        ("inference/fit.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from genz_ppl.data.items import Items"),
        ("models/genz.py", "import importlib\nimportlib.import_module('genz_ppl.llm')"),
        ("models/genz.py", "__import__('genz_ppl.llm')"),
        ("models/genz.py", "from genz_ppl import *"),
        ("discovery/mine/cycle.py", "from genz_ppl import __version__"),
        ("discovery/mine/cycle.py", "import genz_ppl"),
        ("models/genz.py", "from . import links"),
        ("models/genz.py", "from ..errors import InputError"),
        ("cli/app.py", "from .fit import fit"),
        ("cli/app.py", "import arviz as az"),
        ("diagnostics/compare.py", "from arviz import loo"),
        ("__init__.py", "import arviz"),
        ("inference/fit.py", "from models.genz import GenZ"),
        ("discovery/discover.py", "from genz_ppl.profiles import read_profiles"),
        ("profiles/table.py", "from genz_ppl.recommend import recommend"),
        ("recommend/models.py", "from genz_ppl.discovery.discover import discover"),
        ("extras/new.py", ""),
    ],
)
def test_offence_is_found(path: str, source: str) -> None:
    offences = floor_offences(path, source)
    assert len(offences) == 1
    assert offences[0].startswith(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from genz_ppl.discovery.run import discover\nfrom genz_ppl.cli.app import main"),
        ("settings.py", "from genz_ppl.errors import OptionError"),
        ("data/items.py", "from genz_ppl.errors import InputError\nfrom genz_ppl.data.text import words\nimport pandas"),
        ("llm/rules/model.py", "from genz_ppl import types"),
        ("inference/fit.py", "from genz_ppl.models.genz import GenZ\nfrom genz_ppl.inference import isolation"),
        (
            "discovery/mine/cycle.py",
            "from genz_ppl.data import items\nfrom genz_ppl.llm import base\nimport genz_ppl.inference.fit",
        ),
        ("diagnostics/inference_data.py", "import arviz\nfrom genz_ppl.inference.fit import fit"),
        ("discovery/discover.py", "def report():\n    from genz_ppl.diagnostics.report.write import report"),
        ("cli/app.py", "from genz_ppl import __version__\nfrom genz_ppl.diagnostics import report"),
        ("models/genz.py", "import importlib\nimportlib.import_module('torch')\nlen('genz_ppl.llm')"),
    ],
)
def test_allowed_import_passes(path: str, source: str) -> None:
    assert floor_offences(path, source) == []


def test_message_names_the_line_and_what_is_allowed() -> None:
    source = "import torch\n\nfrom genz_ppl.llm.base import FoundationModel"
    assert floor_offences("inference/fit.py", source) == [
        "inference/fit.py:3: imports genz_ppl.llm.base.FoundationModel: "
        "inference may use only alone, cells, errors, mapped, models, output, rows, separated, setting_fields, settings, types"
    ]
