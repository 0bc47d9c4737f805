"""The whole path against a real, very small model on this machine. It is often wrong and often loses the format, so what is
tested is shape, bookkeeping and the dealing with unusable replies, never whether an answer is true."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer, always
from local_server import NAME, LocalServer, missing

from genz_ppl.cli.app import run
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.requests import FORMATS
from genz_ppl.types import Contrast, Item

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

Genz = Callable[..., tuple[int, str]]

TEXTS = (
    "A ranch house with a tile roof, a pool and a three-car garage.",
    "A small wooden cabin without a garage; the kitchen is old.",
    "A brick house of two floors with granite counters.",
    "A flat on the third floor with a new bathroom.",
)
FEATURES = ("has a garage", "is large")

# As the built-in prompts but a fifth of their length: a processor reads 200 tokens a second.
EXTRACT = """version: 1
--- system
You answer yes/no questions. Reply in JSON.
--- user
{items}

Features:
{features}

%s Leave characteristics empty, like this:
%s
"""
SHORT_PROMPTS = {
    "extract_one": EXTRACT
    % (
        "For each feature: applies is 1 if it is true of the item, else 0.",
        '{"characteristics": "", "answers": [{"feature": 1, "applies": 1}]}',
    ),
    "extract_many": EXTRACT
    % (
        "For each feature: the numbers of the items it is true of.",
        '{"characteristics": "", "features": [{"feature": 1, "matched_items": [1, 2]}]}',
    ),
    "mine": """version: 1
--- system
You compare items. Reply in JSON.
--- user
Good:
{positive}

Bad:
{negative}

In common:
{context}

Known:
{existing}

Give {n} short features that good items have and bad ones lack, like this:
{"description": "", "characteristics": ["has a garden", "is old"]}
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """One thread: where other tests are at work, two of them wait for each other."""
    with LocalServer(threads=1, log=tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture
def items() -> list[Item]:
    return [Item(str(number), text) for number, text in enumerate(TEXTS)]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, text in SHORT_PROMPTS.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def check_answers(model: OpenAIModel, serving: Any, items: list[Item], features: tuple[str, ...]) -> None:
    """Shape and domain; a reason for every gap; all of it paid for once.

    Where nothing was ever answered, model or server may be at fault: nothing is stored, and another time it is asked again.
    """
    answers = model.answer(items, features)
    assert answers.shape == (len(items), len(features))
    assert set(np.unique(answers[~np.isnan(answers)])) <= {0.0, 1.0}
    assert sum(model.failures.values()) == int(np.isnan(answers).sum())
    rows = serving.rows("SELECT value, reason FROM answers")
    if np.isnan(answers).all():
        assert not rows
        return
    assert len(rows) == answers.size
    assert sum(value is None for value, _ in rows) == int(np.isnan(answers).sum())
    assert all((value is None) == bool(reason) for value, reason in rows)
    spent = model.spent
    assert spent.calls >= 1
    assert spent.tokens_in > 0
    np.testing.assert_array_equal(model.answer(items, features), answers)
    assert model.spent == spent


def test_answers_with_the_built_in_prompts(server: LocalServer, serving: Any, items: list[Item]) -> None:
    model = serving(server.base_url, model=NAME, timeout=60.0, workers=2, max_output_tokens=120, items_per_call=2)
    check_answers(model, serving, items[:2], FEATURES)


def test_answers_one_question_a_call(server: LocalServer, serving: Any, items: list[Item], prompts: Path) -> None:
    given: dict[str, Any] = {"max_output_tokens": 60, "prompts": str(prompts), "log_probabilities": True}
    model = serving(server.base_url, model=NAME, timeout=60.0, workers=2, **given)
    check_answers(model, serving, items, FEATURES[:1])
    probabilities = [row[0] for row in serving.rows("SELECT probability FROM answers WHERE value IS NOT NULL")]
    assert all(probability is not None and 0 <= probability <= 1 for probability in probabilities)


def test_wordings_of_a_contrast(server: LocalServer, serving: Any, items: list[Item], prompts: Path) -> None:
    model = serving(server.base_url, model=NAME, timeout=60.0, max_output_tokens=150, prompts=str(prompts))
    contrast = Contrast(tuple(items[::2]), tuple(items[1::2]), existing=("has walls",))
    wordings = model.propose(contrast, 3)
    assert len(wordings) <= 3
    assert len(set(wordings)) == len(wordings)
    assert all(wording.strip() for wording in wordings)
    calls = model.spent.calls
    assert model.propose(contrast, 3) == wordings
    assert model.spent.calls == calls >= 1


def test_questions_from_a_task(server: LocalServer, serving: Any, items: list[Item]) -> None:
    model = serving(server.base_url, model=NAME, timeout=60.0, max_output_tokens=150)
    questions = model.suggest(items, "predict the price of a house", 2)
    assert len(questions) <= 2
    assert all(question.strip() for question in questions)


@pytest.mark.parametrize(("fault", "form"), [("400_json_schema", "json_object"), ("400_response_format", "text")])
def test_a_server_that_knows_fewer_reply_formats(
    server: LocalServer, serving: Any, items: list[Item], prompts: Path, fault: str, form: str
) -> None:
    """The model's own replies, where nothing but the prompt (or a grammar of any JSON) tells it the form."""
    with FaultServer(lambda body: said(server, body), always(fault)) as lesser:
        given: dict[str, Any] = {"max_output_tokens": 60, "prompts": str(prompts), "features_per_call": 1, "workers": 1}
        model = serving(lesser.base_url, model=NAME, timeout=60.0, items_per_call=1, **given)
        check_answers(model, serving, items[:2], FEATURES[:1])
        assert model.caller.form == form
        refused = FORMATS.index(form)
        assert lesser.counts[fault] == refused
        assert lesser.counts["right"] == model.spent.calls - refused >= 2


def said(server: LocalServer, body: dict[str, Any]) -> str:
    """What the model says to a request."""
    address, content = f"{server.base_url}/chat/completions", json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])


def house_texts() -> pd.DataFrame:
    """60 different texts of a dozen words; the price goes with the size and the pool."""
    random = np.random.default_rng(0)
    large, pool = random.random(60) < 0.5, random.random(60) < 0.5
    style = random.choice(["Ranch", "Brick", "Wooden"], 60)
    texts = [
        f"{style[i]} house no. {i + 1}, {'large' if large[i] else 'small'}, {'with a pool' if pool[i] else 'no pool'}."
        for i in range(60)
    ]
    price = 200 + 150 * large + 80 * pool + random.normal(0, 20, 60)
    return pd.DataFrame({"house": [f"h{i}" for i in range(60)], "text": texts, "price": price})


@pytest.fixture
def genz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Genz:
    """Runs a command line in an empty folder; what it ends with and what it wrote to stdout."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    return call


def test_from_plan_to_predictions(server: LocalServer, genz: Genz, prompts: Path) -> None:
    """60 houses: planned, begun, stopped by a cap, resumed, and used for predictions."""
    house_texts().to_csv("houses.csv", index=False)
    columns = ("--id", "house", "--target", "price", "--text", "text")
    search = ("--cycles", 1, "--add", 2, "--cut", 0, "--proposals", 2, "--polarity", "positive", "--exemplars", 5)
    calls = ("--items-per-call", 8, "--features-per-call", 2, "--max-output-tokens", 150, "--text-limit", 200, "--workers", 2)
    model = ("--model", f"openai:{NAME}", "--base-url", server.base_url, "--prompts", prompts, "--timeout", 60)
    options = ("houses.csv", *columns, *search, *model, *calls, "--price", "0,0")

    code, planned = genz("plan", *options, "--json")
    assert code == 0
    assert json.loads(planned)["calls"] > 0
    code, _ = genz("fit", *options, "--out", "run", "--store", "answers.sqlite", "--max-calls", 3)
    assert code == 3
    code, _ = genz("resume", "run", "--max-calls", 2000)
    assert code == 0
    assert json.loads(Path("run/run.json").read_text(encoding="utf-8"))["status"] == "done"
    code, _ = genz("predict", "run", "houses.csv", "--output", "predicted.csv")
    assert code == 0
    predicted = pd.read_csv("predicted.csv")
    assert len(predicted) == 60
    assert all(math.isfinite(value) for value in predicted.select_dtypes("number").to_numpy().ravel())
