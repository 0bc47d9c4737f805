"""A finished run steered by hand: what is changed, what is asked, what survives a kill, what is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, discover, resume
from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.llm.rules.model import RulesModel

QUICK: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0, "text": ["colour", "size", "age"], "target": "price"}


class Counting(RulesModel):
    """Knows what it was asked; fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        self.fails_after: int | None = None

    def answer(self, items: Any, features: Any) -> Any:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise RuntimeError("the server has gone")
        self.asked.append((len(items), tuple(features)))
        return super().answer(items, features)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    table = pd.DataFrame({name: random.choice(words, 120) for name, words in WORDS.items()})
    table["price"] = sum(weight * (table[name] == word) for name, word, weight in EFFECTS) + 0.2 * random.normal(size=120)
    return table


WORDS = {"colour": ["red", "green", "blue"], "size": ["small", "large", "huge"], "age": ["old", "new"]}
EFFECTS = (("colour", "red", 3.0), ("size", "large", 2.0), ("age", "old", 1.0))


@pytest.fixture
def run(frame: pd.DataFrame, tmp_path: Path) -> Discovery:
    model = Counting()
    found = discover(frame, model, out=tmp_path / "run", **QUICK)
    assert len(found.progress.active) == 3
    model.asked.clear()
    return found


def texts(run: Discovery) -> list[str]:
    return [record.text for record in run.progress.active]


def model_of(run: Discovery) -> Counting:
    model = run._model
    assert isinstance(model, Counting)
    return model


def test_drop_and_add_and_what_is_asked(run: Discovery, frame: pd.DataFrame) -> None:
    dropped = next(record for record in run.progress.active if "size" in record.text)
    assert "size is one of huge, small" not in run.progress.pool
    edited = run.edit(drop=[dropped.id], add=["size is one of huge,  small"])
    assert texts(edited) == [*(text for text in texts(run) if text != dropped.text), "size is one of huge, small"]
    asked = model_of(run).asked
    assert {text for _, some in asked for text in some} == {"size is one of huge, small"}
    assert sum(n * len(some) for n, some in asked) == len(frame)  # every item once, training and test
    own = edited.features.set_index("text").loc["size is one of huge, small"]
    assert own["origin"] == "own"
    assert own["effect"] == pytest.approx(-2.0, abs=0.2)  # large adds 2
    assert edited.status == "done"
    again = edited.edit(drop=["size is one of huge, small"], add=[dropped.text])
    assert len(model_of(run).asked) == len(asked)  # nothing new: nothing asked
    assert again.curve.iloc[-1]["test_error"] == pytest.approx(run.curve.iloc[-1]["test_error"], rel=0.05)
    assert edited.directory is not None
    loaded = Discovery.load(edited.directory.path)
    pd.testing.assert_frame_equal(loaded.features, again.features)


def test_reword_and_lock_and_veto_while_mining_goes_on(run: Discovery) -> None:
    red = next(text for text in texts(run) if "red" in text)
    edited = run.edit(reword={red: "colour is one of red, blue"}, lock=["colour is one of red, blue"], mine=4)
    assert "colour is one of red, blue" in texts(edited)  # the worse wording stays, since it is locked
    assert red not in texts(edited)  # and what was reworded does not come back by itself
    dropped = edited.edit(drop=["colour is one of red, blue"], add=[red], mine=2)
    assert red in texts(dropped)
    assert "colour is one of red, blue" not in texts(dropped)


def test_an_unlocked_question_of_no_use_is_pruned_a_locked_one_is_not(run: Discovery, frame: pd.DataFrame) -> None:
    noise = "colour is green"
    assert noise not in texts(run.edit(add=[noise], mine=1))
    assert noise in texts(run.undo().edit(add=[noise], lock=[noise], mine=1, items=frame))


def test_undo_goes_back_edit_by_edit(run: Discovery, frame: pd.DataFrame) -> None:
    assert run.directory is not None
    path, states = run.directory.path, []
    for text in ("size is huge", "colour is green"):
        states.append({name: (path / name).read_bytes() for name in ("state.safetensors", "run.json", "features.csv")})
        run = run.edit(add=[text])
    for before in reversed(states):
        run = run.undo()
        assert {name: (path / name).read_bytes() for name in before} == before
    with pytest.raises(OptionError, match=r"undo: the run in .* was not edited"):
        run.undo()


def test_a_run_in_memory_stays_as_it_is(frame: pd.DataFrame) -> None:
    run = discover(frame, **QUICK)
    before = texts(run)
    edited = run.edit(drop=[before[0]])
    assert texts(run) == before
    assert texts(edited) == before[1:]
    with pytest.raises(OptionError, match="a run without a folder is not changed by edit"):
        edited.undo()


def test_an_edit_that_was_killed_goes_on_to_the_same_end(run: Discovery, frame: pd.DataFrame, tmp_path: Path) -> None:
    assert run.directory is not None
    path, changes = run.directory.path, {"drop": [texts(run)[0]], "add": ["size is huge", "colour is green"], "mine": 1}
    whole = run.edit(**changes)
    whole.undo()
    for calls in (0, 1, 2):
        model = Counting()
        model.fails_after = calls
        with pytest.raises(Exception, match="the server has gone"):
            Discovery.load(path, model).edit(**changes, items=frame)
        assert Discovery.load(path).record.status == "failed"
        with pytest.raises(OptionError, match="the run was stopped before its end; resume it first"):
            Discovery.load(path, model).edit(add=["age is new"], items=frame)
        model.fails_after = None
        gone_on = resume(path, frame, model)
        assert texts(gone_on) == texts(whole)
        pd.testing.assert_frame_equal(gone_on.features, whole.features)
        gone_on.undo()


def test_a_question_that_everything_answers_alike_is_left_out(run: Discovery) -> None:
    with pytest.warns(GenzWarning, match="'age is one of old, new': has the same answer for all training items and was left out"):
        edited = run.edit(add=["age is one of old, new"])
    assert texts(edited) == texts(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "expected a change, got none"),
        ({"drop": ["f99"]}, r"the run has no question 'f99'; give an id \(f1"),
        ({"drop": "f1"}, r"drop: expected a list of questions, got one text; write drop=\['f1'\]"),
        ({"drop": ["f1"], "reword": {"f1": "age is new"}}, "is reworded, too; choose one"),
        ({"drop": ["f1", "f2", "f3"]}, "at least one question must stay"),
        ({"add": [" "]}, "expected a question, got an empty text"),
        ({"mine": -1}, "mine"),
    ],
)
def test_edits_that_cannot_be(run: Discovery, changes: dict[str, Any], said: str) -> None:
    assert run.directory is not None
    before = {path.name for path in run.directory.path.iterdir()}
    with pytest.raises((OptionError, InputError), match=said):
        run.edit(**changes)
    assert {path.name for path in run.directory.path.iterdir()} == before
    assert model_of(run).asked == []


def test_the_embedded_model_reads_a_question_before_anything_happens(frame: pd.DataFrame) -> None:
    run = discover(frame, **QUICK)
    with pytest.raises(OptionError, match="is it nice"):
        run.edit(add=["is it nice?"])


def test_a_loaded_run_needs_its_items(run: Discovery, frame: pd.DataFrame) -> None:
    assert run.directory is not None
    with pytest.raises(OptionError, match="items: a run that was loaded has not what a model reads"):
        Discovery.load(run.directory.path, Counting()).edit(add=["size is huge"])
    with pytest.raises(InputError, match="the items are not those of the run"):
        Discovery.load(run.directory.path, Counting()).edit(add=["size is huge"], items=frame[:-1])
