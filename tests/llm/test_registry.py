from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.registry import open_model
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.table import TableModel

SOURCE = """
from genz_ppl.llm.rules.model import RulesModel
class Mine(RulesModel):
    def __init__(self): self.made = True
def factory(): return Mine()
def failing(): raise RuntimeError("no\\nkey")
def wanting(argument): return Mine()
ready = Mine()
class Partial:
    def answer(self, items, features): ...
"""
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current directory, a new one each time: imports are remembered."""
    name = f"my_models_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return name


def test_embedded_models_open_by_name(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("id,x\na,1\n", encoding="utf-8")
    assert isinstance(open_model("rules"), RulesModel)
    assert isinstance(open_model(f"table:{path}"), TableModel)
    with pytest.raises(InputError, match=r"absent\.csv"):
        open_model(f"table:{tmp_path / 'absent.csv'}")


@pytest.mark.parametrize("name", ["Mine", "factory", "ready"])
def test_an_object_of_the_current_directory_is_imported(module: str, name: str) -> None:
    before = list(sys.path)
    model = open_model(f"{module}:{name}")
    assert type(model).__name__ == "Mine"
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "could not be made .AttributeError.*absent"),
        ("failing", "RuntimeError: no key"),
        ("wanting", "TypeError.*argument"),
        ("Partial", r"is no foundation model: it lacks propose\(\), suggest\(\)"),
    ],
)
def test_an_unusable_object_is_refused_with_the_reason(module: str, name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        open_model(f"{module}:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "ruels",
            "unknown model 'ruels'; choose rules, similarity, phrases, similarity:PROFILES, table:FILE, openai:NAME or package",
        ),
        ("", "unknown model ''; choose rules"),
        ("rules:x", "unknown model 'rules:x'"),
        ("table:", "names no file; write table:FILE"),
        ("table", "unknown model 'table'"),
        ("openai:gpt", "set the environment variable OPENAI_API_KEY, or name a server by --base-url"),
        ("openai:", "names none of the server's models"),
        ("no_such_module_here:thing", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("a b:c", "unknown model"),
    ],
)
def test_other_texts_are_refused_with_the_choices(spec: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_model(spec)
