"""docs/paper-map.md names files and functions that are there, and leaves out no equation and no algorithm."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "`" in line
]
EQUATIONS, ALGORITHMS = set(range(1, 38)), {1, 2, 3, 4}


def defined(path: Path) -> set[str]:
    """Functions and classes of a module, methods as Class.method."""
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}: {row[3]}".replace("`", "") for row in ROWS])
def test_every_row_leads_to_a_name(row: list[str]) -> None:
    file, name = row[2].strip("`"), row[3].strip("`")
    assert (ROOT / "genz_ppl" / file).is_file(), f"genz_ppl/{file} is not there"
    assert name in defined(ROOT / "genz_ppl" / file), f"{name} is not in genz_ppl/{file}"


def test_nothing_is_left_out() -> None:
    equations = {int(number) for row in ROWS if row[0].startswith("eq") for number in re.findall(r"\d+", row[0])}
    algorithms = {int(number) for row in ROWS if row[0].startswith("Alg") for number in re.findall(r"\d+", row[0])}
    assert (equations, algorithms) == (EQUATIONS, ALGORITHMS)
