"""Noise brings no question: not out of ids, rare names, words or dates. A staircase of steps is named."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Items, discover
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.errors import GenzWarning, OptionError
from genz_ppl.llm.annotators import AnnotatorsModel
from genz_ppl.llm.joined import JoinedModel
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, FloatArray, Item


class Plain:
    """Says no to everything, and does not tell what it searched."""

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        return np.zeros((len(items), len(features)))

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return []

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return []


def column(kind: str, random: np.random.Generator) -> list[object]:
    if kind == "ids":
        return [f"C-{number}" for number in random.permutation(360)[:120]]
    if kind == "rare names":
        return [f"v{number}" for number in random.integers(30, size=120)]
    if kind == "words":
        words = [first + last for first in "bcdfgklmnprst" for last in ("ara", "eto", "ilu", "ona")]
        return [" ".join(random.choice(words, size=3)) for _ in range(120)]
    return [dt.datetime(2018, 1, 1) + dt.timedelta(hours=int(hours)) for hours in random.integers(0, 24000, size=120)]


NOISE = [("ids", 0), ("ids", 6), ("rare names", 0), ("rare names", 9), ("words", 19), ("words", 48), ("dates", 4)]


# Before wordings paid for those they were chosen from, such data sets brought one.
@pytest.mark.parametrize(("kind", "seed"), NOISE)
def test_noise_brings_no_question(kind: str, seed: int) -> None:
    random = np.random.default_rng([seed, 7])
    y = random.normal(size=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GenzWarning)
        items = Items.from_frame(pd.DataFrame({"c": column(kind, random), "y": y}), target="y")
    assert not discover(items, seed=seed).features["active"].any()


@pytest.mark.slow
def test_names_that_matter_are_found_all_the_same() -> None:
    random = np.random.default_rng(0)
    place = random.integers(12, size=200)
    frame = pd.DataFrame(
        {"place": [f"v{number}" for number in place], "y": np.isin(place, [3, 5, 7]) + 0.3 * random.normal(size=200)}
    )
    run = discover(Items.from_frame(frame, target="y"), cycles=1)
    assert run.features.loc[run.features["active"].astype(bool), "text"].tolist() == ["place is one of v3, v5, v7"]
    assert run.progress.active[0].searched == 220  # sets of three of twelve


def test_how_many_there_were_to_choose_from() -> None:
    def fields(row: int) -> dict[str, Any]:
        return {"a": f"v{row // 2}", "b": f"u{row}", "c": "red fox" if row % 2 else "red dog", "n": row}

    items = [Item(str(row), "", fields(row)) for row in range(20)]
    texts = ["a is v1", "a is one of v1, v2", "b is u1", "c mentions 'red'", "n is at least 3", "a starts with v"]
    counts = [10, 45, 1, 3, 13.1, 1]  # of the twenty cuts of "n" the best fits noise as the best of thirteen statements
    assert RulesModel().searched(items, texts) == pytest.approx(counts, abs=0.1)
    joined = JoinedModel([RulesModel(), Plain()])
    assert joined.searched(items, texts) == pytest.approx(counts, abs=0.1)
    beside = [10, 45, 1, 3, 1, 1]  # where each cut that is proposed counts for itself
    assert RulesModel().searched_beside(items, texts).tolist() == joined.searched_beside(items, texts).tolist() == beside
    assert Oracle(joined, Counters()).searched(items, texts, beside=True).tolist() == beside


def test_wordings_of_one_kind_are_one_that_was_tried() -> None:
    def tried(model: object, *texts: str) -> int:
        return Oracle(model, Counters()).n_kinds(texts)  # type: ignore[arg-type]

    alike = ("n is at least 3", "n is less than 5", "n is 3", "n is 5", "a is one of v1, v2", "(a is v1) AND (n is at least 3)")
    assert tried(RulesModel(), *alike) == 4
    assert tried(JoinedModel([RulesModel(), Plain()]), *alike, "has a garden", "has a pool") == 6
    assert tried(AnnotatorsModel({"one": Plain()}, ("rules", RulesModel())), *alike) == 4
    assert tried(Plain(), *alike) == 0


class Marked(RulesModel):
    """Words statements in a way of its own."""

    def searched(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        return super().searched(items, [text.removeprefix("=") for text in features])


def test_a_subclass_with_texts_of_its_own_is_counted_by_what_it_says() -> None:
    items = [Item(str(row), "", {"n": row, "a": f"v{row // 2}"}) for row in range(20)]
    texts = ["=n is at least 3", "=a is v1", "n is at least 3"]
    assert Marked().searched_beside(items, texts) == pytest.approx([13.1, 10, 1], abs=0.1)
    assert Marked().kinds(texts)[:2] == texts[:2]
    with pytest.raises(OptionError, match="cannot read the feature '=a is v1'"):
        RulesModel().searched_beside(items, texts[1:])


def test_of_classes_kinds_are_counted_of_numbers_wordings() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"n": random.integers(0, 90, size=120), "y": random.normal(size=120)})
    frame["c"] = np.where(random.random(120) < 0.5, "yes", "no")
    numbers = discover(Items.from_frame(frame[["n", "y"]], target="y"), cycles=1).progress
    assert 0 < numbers.n_kinds < numbers.n_tried == len(numbers.pool)
    classes = discover(Items.from_frame(frame[["n", "c"]], target="c", classes="auto"), cycles=1).progress
    assert 0 < classes.n_tried == classes.n_kinds < len(classes.pool)


@pytest.mark.slow
def test_steps_of_one_number_suggest_a_covariate() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"area": random.integers(10, 500, size=200), "z": random.integers(2, size=200)})
    frame["y"] = frame["area"] / 100 + 0.4 * random.normal(size=200)
    with pytest.warns(GenzWarning, match=r"\d of \d questions are steps of the number 'area': with --covariate \(covariates=\)"):
        discover(Items.from_frame(frame, target="y"), cycles=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "steps of the number", GenzWarning)
        discover(Items.from_frame(frame, target="y", covariates="area"), cycles=1)
