from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl import Items, discover
from genz_ppl.data import open_source
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.errors import InputError, ModelError, OptionError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, Item

QUICK: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 1}


def test_it_finds_what_made_the_target(items: Items) -> None:
    run = discover(items, **QUICK)
    assert run.status == "done"
    active = run.features[run.features["active"]]
    assert {"colour is red", "size is at least 5"} <= set(active["text"])
    assert list(run.posterior.columns) == active["text"].tolist()
    assert len(run.posterior) == 48
    assert set(run.posterior.index) < set(items.index)
    assert run.posterior.to_numpy().min() >= 0
    assert run.posterior.to_numpy().max() <= 1
    assert run.curve["event"].iloc[0] == "start"
    assert run.curve["event"].iloc[-1] == "final"
    assert run.curve["test_error"].iloc[-1] < 0.5 * run.curve["test_error"].iloc[0]
    assert run.curve["answers_asked"].is_monotonic_increasing


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"link": "neural"}, {"likelihood": "isotropic"}, {"algorithm": "basic"}])
def test_the_same_seed_gives_the_same_run_and_leaves_the_caller_alone(items: Items, settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    states, parameters = (torch.get_rng_state(), random.getstate()), set(pyro.get_param_store().keys())
    first, second = (discover(items, **{**QUICK, "add": 1, "seed": 5, **settings}) for _ in range(2))
    pd.testing.assert_frame_equal(first.features, second.features)
    pd.testing.assert_frame_equal(first.curve.drop(columns="seconds"), second.curve.drop(columns="seconds"))
    pd.testing.assert_frame_equal(first.posterior, second.posterior)
    pd.testing.assert_frame_equal(first.predict(items), second.predict(items))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert set(pyro.get_param_store().keys()) == parameters


@pytest.mark.slow
@pytest.mark.parametrize("link", ["linear", "neural"])
def test_either_link_finds_features_without_covariates(link: str) -> None:
    rows = np.arange(200)
    items = Items.from_frame(pd.DataFrame({"size": rows % 10, "y": 3.0 * (rows % 10 >= 5) + np.sin(rows)}), target="y")
    run = discover(items, link=link, cycles=1, add=1, cut=0)
    assert run.features["text"].tolist() == ["size is at least 5"]


def test_predicting_leaves_the_run_as_it_is(items: Items) -> None:
    run = discover(items, **QUICK)
    first = run.predict(items)
    pd.testing.assert_frame_equal(first, run.predict(items))
    assert list(first) == ["mean", "sd", "lower", "upper"]
    assert first.index.equals(items.index)
    narrow = run.predict(items, level=0.5)
    assert (narrow["lower"] > first["lower"]).all()
    assert (narrow["upper"] < first["upper"]).all()
    with pytest.raises(OptionError, match="level: expected a number between 0 and 1, got 0"):
        run.predict(items, level=0)


@pytest.mark.slow
def test_the_spread_of_predictions_is_that_of_the_errors(items: Items) -> None:
    run = discover(items, cycles=2, add=3, cut=1)
    assert items.targets is not None
    predicted = run.predict(items)
    spread = np.sqrt(np.mean((predicted["mean"].to_numpy() - items.targets[:, 0]) ** 2))
    assert predicted["sd"].mean() == pytest.approx(spread, rel=0.5)


def test_test_items_are_asked_about_kept_features_only(items: Items, recorder: Any) -> None:
    run = discover(items, recorder, **QUICK)
    test_ids = {items.ids[index] for index in items.split_indices(0, 0.2).test}
    kept = set(run.features["text"])
    wordings = set()
    about_test: list[str] = []
    for ids, features in recorder.asked:
        assert set(ids) <= test_ids or not set(ids) & test_ids
        if set(ids) <= test_ids:
            about_test += features
        else:
            wordings |= set(features)
    assert sorted(about_test) == sorted(kept)  # each once
    assert len(wordings) > len(kept)  # others were tried on the training items
    shown = {item.id for contrast, _ in recorder.contrasts for item in (*contrast.positive, *contrast.negative)}
    assert not shown & test_ids
    asked = sum(len(ids) * len(features) for ids, features in recorder.asked)
    assert run.curve["answers_asked"].iloc[-1] == asked


def test_a_model_never_sees_a_target_or_an_id(frame: pd.DataFrame, recorder: Any) -> None:
    frame["y"] += 1234.5
    frame["part"] = ["test" if row % 5 == 0 else "train" for row in range(len(frame))]
    discover(Items.from_frame(frame, id="key", target="y", split="part"), recorder, **QUICK)
    assert recorder.shown
    for item in recorder.shown:
        assert set(item.fields) == {"colour", "size", "note"}
        assert item.id not in item.text
        assert "123" not in item.text
        assert "train" not in item.text


@pytest.mark.slow
def test_the_test_targets_have_no_say(frame: pd.DataFrame) -> None:
    run = discover(Items.from_frame(frame, id="key", target="y"), **QUICK)
    test = Items.from_frame(frame, id="key", target="y").split_indices(0, 0.2).test
    changed = frame.copy()
    changed.loc[test, "y"] = np.linspace(-1e6, 1e6, len(test))
    other = discover(Items.from_frame(changed, id="key", target="y"), **QUICK)
    pd.testing.assert_frame_equal(run.features, other.features)
    pd.testing.assert_frame_equal(run.posterior, other.posterior)
    pd.testing.assert_series_equal(run.curve["bound"], other.curve["bound"])
    assert run.curve["test_error"].iloc[-1] != other.curve["test_error"].iloc[-1]


@pytest.mark.parametrize(("polarity", "asked_in_a_step"), [("both", 2), ("positive", 1), ("negative", 1)])
def test_polarity(items: Items, recorder: Any, polarity: str, asked_in_a_step: int) -> None:
    run = discover(items, recorder, polarity=polarity, cycles=1, add=1, cut=0, proposals=3, exemplars=7)
    assert len(recorder.contrasts) == asked_in_a_step
    assert run.curve["proposals_asked"].iloc[-1] == asked_in_a_step
    for contrast, n in recorder.contrasts:
        assert n == 3
        assert 1 <= len(contrast.positive) <= 7
        assert 1 <= len(contrast.negative) <= 7


def test_the_two_polarities_are_each_others_reverse(items: Items) -> None:
    contrasts = []
    for polarity in ("positive", "negative"):
        model = _Silent()
        discover(items, model, polarity=polarity, cycles=1, add=1, cut=0)
        contrasts.append(model.contrasts[0])
    assert contrasts[0].positive == contrasts[1].negative
    assert contrasts[0].negative == contrasts[1].positive


class _Silent(RulesModel):
    """A model without ideas."""

    def __init__(self) -> None:
        self.contrasts: list[Contrast] = []

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.contrasts.append(contrast)
        return []


def test_a_model_without_ideas_ends_the_run(items: Items) -> None:
    run = discover(items, _Silent(), cycles=10, add=2, cut=1)
    assert run.status == "done"
    assert run.features.empty
    assert run.posterior.shape == (48, 0)
    assert run.predict(items)["mean"].nunique() == 1


class _Fixed(RulesModel):
    """Always proposes the same wordings."""

    def __init__(self, *wordings: str) -> None:
        self.wordings = list(wordings)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return self.wordings


@pytest.mark.parametrize(("yes", "discarded"), [(0, True), (1, True), (2, False), (98, False), (99, True), (100, True)])
def test_the_rule_of_two_percent(yes: int, discarded: bool) -> None:
    rows = np.arange(150)
    # 100 training items, `yes` of them with a mark that the target depends on.
    frame = pd.DataFrame(
        {
            "mark": np.where(rows < yes, 1, 0),
            "y": 5.0 * (rows < yes) + np.sin(rows),
            "part": np.where(rows < 100, "train", "test"),
        }
    )
    items = Items.from_frame(frame, target="y", text=["mark"], split="part")
    run = discover(items, _Fixed("mark is 1"), cycles=1, add=1, cut=0, polarity="positive")
    events = run.curve[run.curve["feature"] == "mark is 1"]["event"].tolist()
    assert events[:1] == (["discard"] if discarded else ["add"])
    assert run.features.empty == discarded


def test_the_share_can_be_chosen(items: Items) -> None:
    run = discover(items, _Fixed("colour is red"), cycles=1, add=1, cut=0, smallest_share=0.45)
    assert run.curve["event"].tolist()[1] == "discard"


@pytest.mark.parametrize("most", [1, 2])
def test_the_most_features_at_a_time(items: Items, most: int) -> None:
    run = discover(items, cycles=2, add=3, cut=1, max_features=most)
    assert run.curve["n_features"].max() == most


def test_several_targets(frame: pd.DataFrame) -> None:
    frame["x"] = -frame["y"] + (frame["size"] >= 5)
    frame.loc[3, "x"] = np.nan
    items = Items.from_frame(frame, id="key", target=["y", "x"])
    run = discover(items, **QUICK)
    assert set(run.curve["metric"]) == {"cosine"}
    predicted = run.predict(items)
    assert list(predicted) == [f"{name}_{part}" for name in ("y", "x") for part in ("mean", "sd", "lower", "upper")]
    assert np.corrcoef(predicted["y_mean"], frame["y"])[0, 1] > 0.9
    assert not predicted.isna().any(axis=None)


def test_predict_asks_only_about_new_items(frame: pd.DataFrame, items: Items, recorder: Any) -> None:
    run = discover(items, recorder, **QUICK)
    active = tuple(run.posterior.columns)
    recorder.asked.clear()
    run.predict(items)
    assert recorder.asked == []
    new = pd.concat([frame[:5], frame[5:8].assign(key=["new1", "new2", "new3"], size=[77, 78, 79])])
    predicted = run.predict(
        Items.from_frame(new.drop(columns="y"), id="key", text=["colour", "size", "note"], require_target=False)
    )
    assert recorder.asked == [(("new1", "new2", "new3"), active)]
    assert len(predicted) == 8


def test_predict_needs_the_covariates(frame: pd.DataFrame) -> None:
    run = discover(Items.from_frame(frame, id="key", target="y", covariates="size"), **QUICK)
    with pytest.raises(InputError, match=r"expected the column 'size' \(covariate\) of the run, which is missing"):
        run.predict(Items.from_frame(frame, id="key", target="y"))


@pytest.mark.parametrize(
    ("model", "settings", "error", "expected"),
    [
        ("rules", {"cycels": 3}, OptionError, "cycels: no such setting; known are add, algorithm"),
        ("rules", {"link": "cubic"}, OptionError, "link: expected one of linear, interaction, neural, got 'cubic'"),
        ("nix", {}, OptionError, "unknown model 'nix'"),
        (object(), {}, OptionError, "object lacks answer"),
    ],
)
def test_wrong_settings(items: Items, model: Any, settings: dict[str, Any], error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        discover(items, model, **settings)


def test_items_without_a_target(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="has no target column"):
        discover(Items.from_frame(frame, text=["colour"], require_target=False))


class _Both(RulesModel):
    """Rules that are asked for both polarities at once. reply: what is said in place of what they find."""

    def __init__(self, reply: Any = None) -> None:
        self.asked, self.alone, self.reply = 0, 0, reply

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.alone += 1
        return super().propose(contrast, n)

    def propose_both(self, contrast: Contrast, n: int) -> Any:
        self.asked += 1
        found = RulesModel.propose(self, contrast, n), RulesModel.propose(self, contrast.reversed(), n)
        return found if self.reply is None else self.reply


def test_a_model_that_can_is_asked_for_both_polarities_at_once(items: Items) -> None:
    both = _Both()
    apart, at_once = discover(items, **QUICK), discover(items, both, **QUICK)
    assert at_once.features["text"].tolist() == apart.features["text"].tolist() != []
    assert both.alone == 0
    assert 2 * both.asked == 2 * at_once.curve["proposals_asked"].iloc[-1] == apart.curve["proposals_asked"].iloc[-1]
    discover(items, both, **QUICK, polarity="negative")
    assert both.alone > 0


class _Odd(RulesModel):
    """Replies with something that is no reply."""

    def __init__(self, answer: Any = None, proposal: Any = None) -> None:
        self._answer, self._proposal = answer, proposal

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        return super().answer(items, features) if self._answer is None else self._answer

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return super().propose(contrast, n) if self._proposal is None else self._proposal


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (_Odd(answer=np.zeros((1, 1))), r"answer\(\): expected an array of \(48, \d+\), got \(1, 1\)"),
        (_Odd(answer="yes"), r"answer\(\): expected an array"),
        (_Odd(proposal="colour is red"), r"propose\(\): expected a list of texts, got str"),
        (_Odd(proposal=[1]), r"propose\(\): expected a list of texts"),
        (_Both(["colour is red"]), r"propose_both\(\): expected two lists of texts, got list"),
        (_Both((["colour is red"], "size")), r"propose_both\(\): expected a list of texts, got str"),
        (_Odd(proposal=["is it nice?"]), "the foundation model failed: "),
    ],
)
def test_replies_that_are_none(items: Items, model: Any, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        discover(items, model, **QUICK)


@pytest.mark.slow
def test_answers_that_are_missing_are_no_noes(frame: pd.DataFrame) -> None:
    frame.loc[::3, "colour"] = None
    items = Items.from_frame(frame, id="key", target="y")
    run = discover(items, cycles=1, add=4, cut=0)
    red = run.posterior["colour is red"]
    unanswered = frame.loc[red.index, "colour"].isna().to_numpy()
    assert unanswered.any()
    assert red[unanswered].between(0.02, 0.98).any() or red[unanswered].nunique() > 1  # y alone decides, not "no"


def test_a_store_is_refused_for_a_model_that_needs_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="store: only for models behind a server"):
        discover(open_source("binary"), store=tmp_path / "answers.sqlite", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_papers_algorithms(items: Items, recorder: Any) -> None:
    run = discover(items, recorder, cycles=1, add=2, cut=0, paper=True)
    settings = run.settings
    assert (settings["proposals"], settings["polarity"], settings["reconsider"]) == (1, "positive", False)
    assert len(run.features) == 2  # taken as they come
    assert int(run.curve["proposals_asked"].iloc[-1]) == 2
    given = discover(items, recorder, cycles=1, add=1, cut=0, paper=True, polarity="both")
    assert given.settings["polarity"] == "both"  # what is given counts


def test_only_served_models_are_screened_by_default() -> None:
    assert make_settings("rules", {}).screen == 0
    assert make_settings("openai:some", {}).screen == 80
    assert make_settings("openai:some", {"screen": 0}).screen == 0
