"""`--likelihood auto`: what a column is taken for, and noise whose tails decide, on the way of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.discovery.plan import plan
from genz_ppl.discovery.run.likelihood_choice import MOST_COUNTS, likelihood_for, looks_like_counts
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.state_file import PROGRESS
from genz_ppl.discovery.run.states import load_progress
from genz_ppl.discovery.steps import step_line
from genz_ppl.errors import RunDirectoryError
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.tails import heavier_tails, lighter_tails
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.models import LIKELIHOODS
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

N = 480
RANDOM = np.random.default_rng(0)
PRICES = np.round(np.exp(RANDOM.normal(4, 1, N)))
COLUMNS: dict[str, tuple[Any, str]] = {
    "visits": (RANDOM.poisson(3, N), "poisson"),
    "rare visits": (RANDOM.poisson(0.3, N), "poisson"),
    "sales": (RANDOM.poisson(3 * RANDOM.gamma(3, 1 / 3, N)), "negative_binomial"),
    "views": (RANDOM.poisson(20 * RANDOM.gamma(1, 1, N)), "negative_binomial"),
    "one to five stars": (RANDOM.integers(1, 6, N), "gaussian"),
    "none to five stars, mostly none": (RANDOM.choice(6, N, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04]), "gaussian"),
    "grades": (np.clip(np.round(RANDOM.normal(6, 2, N)), 0, 10), "gaussian"),
    "years": (RANDOM.integers(1950, 2025, N), "gaussian"),
    "row numbers": (np.arange(N), "gaussian"),
    "ids": (RANDOM.permutation(600)[:N], "gaussian"),
    "prices": (PRICES, "gaussian"),
    "prices, some of them nothing": (PRICES * (RANDOM.random(N) > 0.1), "gaussian"),
    "percent": (RANDOM.integers(0, 101, 2000), "gaussian"),
    "ages": (np.clip(np.round(RANDOM.normal(38, 20, N)), 0, 95), "gaussian"),
    "bedrooms": (RANDOM.choice([1, 2, 3, 4, 5, 6], N, p=[0.1, 0.2, 0.4, 0.2, 0.07, 0.03]), "gaussian"),
    "whole degrees": (np.round(RANDOM.normal(0, 2, N)), "gaussian"),
    "halves": (RANDOM.poisson(3, N) / 2, "gaussian"),
    "yes and no": (RANDOM.integers(0, 2, N), "bernoulli"),
}


def choice(*columns: Any, test: Any = (), **settings: Any) -> str:
    frame = pd.DataFrame({f"y{d}": np.r_[np.asarray(column, float), test] for d, column in enumerate(columns)})
    items = Items.from_frame(
        frame.assign(text=[f"item {row}" for row in range(len(frame))]), target=[str(name) for name in frame], text=["text"]
    )
    train = items.take(np.arange(len(columns[0])))
    return likelihood_for(items, train, DiscoverSettings(**settings)).likelihood


@pytest.mark.parametrize(("values", "expected"), COLUMNS.values(), ids=COLUMNS.keys())
def test_what_a_column_is_taken_for(values: FloatArray, expected: str) -> None:
    assert choice(values) == expected
    assert choice(values, likelihood="laplace") == "laplace"


def test_all_columns_must_be_counts_and_there_must_be_few() -> None:
    visits, prices = COLUMNS["visits"][0], COLUMNS["prices"][0]
    assert choice(visits, visits) == "poisson"
    assert choice(visits, prices) == "gaussian"
    assert choice(*[visits] * (MOST_COUNTS + 1)) == "gaussian"


def test_training_items_decide_and_all_must_suit() -> None:
    visits = COLUMNS["visits"][0]
    assert choice(visits, test=[0.5]) == "gaussian"  # refused by poisson, which must not be chosen
    assert choice(visits, test=[2000.0]) == "poisson"  # no test item has a say in whether counts vary more than their mean


def test_missing_counts() -> None:
    values = np.array(COLUMNS["visits"][0], float)
    values[::7] = np.nan
    assert choice(values) == "poisson"
    assert not looks_like_counts(np.full(10, np.nan))


def state_of(noise: FloatArray, wrong: float = 0.0, n_targets: int = 1) -> tuple[State, Data, float]:
    """A Gaussian fit of two features, some answers wrong, to their sum and noise, (T, D)."""
    random = np.random.default_rng(1)
    present = (random.random((len(noise), 2)) < 0.5).astype(float)
    targets = torch.tensor(present.sum(1, keepdims=True) * 2 + noise).expand(-1, n_targets)
    answers = torch.tensor(np.where(random.random(present.shape) < wrong, 1 - present, present))
    covariates = torch.zeros(len(noise), 0, dtype=torch.float64)
    scaling = Scaling.of(targets, covariates, LIKELIHOODS["gaussian"])
    data = scaling.data(answers, covariates, targets)
    options: dict[str, Any] = {"calibration": 5.0 if n_targets > 1 else 0.0, "shrinkage": n_targets > 1}
    state = first_state(data, scaling, "linear", "gaussian", (1.0, 9.0), **options)
    return state, data, coordinate(state, data, 30)[-1].total


@pytest.mark.parametrize("n_targets", [1, 3])
def test_heavy_tails_are_found_with_their_degrees_of_freedom(n_targets: int) -> None:
    with isolated(0):
        random = np.random.default_rng(2)
        found = heavier_tails(*state_of(0.5 * random.standard_t(3, (N, n_targets)), n_targets=n_targets), 10)
        assert found is not None
        state, bound = found
        likelihoods = [state.model.likelihood] + ([] if state.model.marginal is None else [state.model.marginal])
        assert len(likelihoods) == (1 if n_targets == 1 else 2)
        for likelihood in likelihoods:
            assert likelihood.name == "student_t"
            assert bool((likelihood.degrees_of_freedom > 2.05).all())
            assert bool((likelihood.degrees_of_freedom < 7).all())
        again = heavier_tails(*state_of(0.5 * random.standard_t(3, (N, n_targets)), n_targets=n_targets), 10)
        assert again is not None
        assert np.isfinite(bound)


def test_noise_goes_back_where_tails_have_gone() -> None:
    with isolated(0):
        state, data, bound = state_of(0.5 * np.random.default_rng(2).standard_t(3, (N, 1)))
        found = heavier_tails(state, data, bound, 10)
        assert found is not None
        assert lighter_tails(found[0], data, found[1], 10) is None
        calm, data, bound = state_of(0.4 * np.random.default_rng(3).normal(size=(N, 1)))
        robust = found[0].copy()
        calm.model.likelihood = robust.model.likelihood
        back = lighter_tails(calm, data, bound, 10)
        assert back is not None
        assert back[0].model.likelihood.name == "gaussian"
        assert back[1] == pytest.approx(bound, abs=0.5)


@pytest.mark.parametrize("wrong", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_neither_gaussian_noise_nor_wrong_answers_are_tails(wrong: float, seed: int) -> None:
    noise = 0.4 * np.random.default_rng(seed).normal(size=(N, 1))
    with isolated(0):
        assert heavier_tails(*state_of(noise, wrong), 10) is None


def tailed(frame: pd.DataFrame) -> Items:
    """The toy table with a few targets far off."""
    random = np.random.default_rng(5)
    whole = pd.concat([frame] * 4, ignore_index=True)
    whole["key"] = [f"k{row}" for row in range(len(whole))]
    whole["y"] += np.where(random.random(len(whole)) < 0.06, random.choice([-6.0, 6.0], len(whole)), 0.0)
    return Items.from_frame(whole, id="key", target="y")


QUICK: dict[str, Any] = {"cycles": 2, "add": 2, "cut": 1, "seed": 3}


@pytest.mark.slow
def test_a_run_turns_to_student_t_and_says_so(frame: pd.DataFrame, tmp_path: Path) -> None:
    items = tailed(frame)
    run = discover(items, out=tmp_path / "run", **QUICK)
    assert run.settings["likelihood"] == run.program.likelihood.name == "student_t"
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["settings"]["likelihood"] == "student_t"
    assert recorded["by_tails"] is True
    loaded = Discovery.load(tmp_path / "run")
    assert loaded.program.likelihood.name == "student_t"
    pd.testing.assert_frame_equal(loaded.predict(items), run.predict(items))
    kept = discover(items, likelihood="gaussian", **QUICK)
    assert kept.program.likelihood.name == kept.settings["likelihood"] == "gaussian"


@pytest.mark.slow
def test_a_run_that_turns_at_once_is_the_one_with_student_t_noise(frame: pd.DataFrame) -> None:
    items = tailed(frame)
    said: list[str] = []
    run = discover(items, on_step=lambda *step: said.append(step_line(*step)), **QUICK)
    given = discover(items, likelihood="student_t", **QUICK)
    asked = ["answers_asked", "proposals_asked", "calls", "seconds"]
    pd.testing.assert_frame_equal(run.features, given.features)
    pd.testing.assert_frame_equal(run.curve.drop(columns=asked), given.curve.drop(columns=asked))
    assert run.curve["answers_asked"].iloc[0] > given.curve["answers_asked"].iloc[0] == 0
    assert [line.endswith("; the noise has heavy tails: begun again with --likelihood student_t") for line in said].count(
        True
    ) == 1


@pytest.mark.slow
def test_a_plan_has_room_for_what_is_begun_again(frame: pd.DataFrame) -> None:
    few: dict[str, Any] = {"cycles": 1, "add": 1, "cut": 0, "proposals": 4, "seed": 3}
    items = tailed(frame)
    run = discover(items, **few)
    planned = plan(items, DiscoverSettings(**few))
    assert run.settings["likelihood"] == "student_t"
    assert planned.additions == 1 + 2 + 1  # once more with another link
    assert run.curve["answers_asked"].max() <= planned.answers


@pytest.mark.slow
def test_a_run_without_tails_is_that_of_gaussian_noise(items: Items) -> None:
    run, given = discover(items, **QUICK), discover(items, likelihood="gaussian", **QUICK)
    assert run.settings["likelihood"] == "gaussian"
    pd.testing.assert_frame_equal(run.features, given.features)


class Stopped(RulesModel):
    """Is interrupted at its n-th list of proposals."""

    def __init__(self, at: int) -> None:
        self.at = at

    def propose(self, contrast: Any, n: int) -> list[str]:
        self.at -= 1
        if self.at == 0:
            raise KeyboardInterrupt
        return super().propose(contrast, n)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3, 5])  # before the turn, at it and after it
def test_a_stopped_run_turns_where_it_would_have(frame: pd.DataFrame, tmp_path: Path, assert_same_run: Any, at: int) -> None:
    items = tailed(frame)
    discover(items, Stopped(0), out=tmp_path / "whole", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Stopped(at), out=tmp_path / "run", **QUICK)
    finished = resume(tmp_path / "run", items, model=Stopped(0))
    assert finished.settings["likelihood"] == "student_t"
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_stopped_before_its_first_step_is_still_open(items: Items) -> None:
    parts = items.split_indices(0, 0.2)
    record = Problem(items, parts, DiscoverSettings()).record(source=None)
    assert record.by_tails
    assert record.settings.likelihood == "gaussian"
    for settings in ({"likelihood": "gaussian"}, {"link": "neural"}, {"inference": "svi"}, {"shortcuts": False}):
        assert not Problem(items, parts, DiscoverSettings(**settings)).by_tails


def test_a_state_that_names_code_is_refused(items: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover(items, out=tmp_path / "run", cycles=1, add=1, cut=0)
    run = Discovery.load(tmp_path / "run")
    directory = run.directory
    assert directory is not None
    arrays, plain = directory.state(PROGRESS) or ({}, {})
    monkeypatch.setattr(type(directory), "state", lambda *_: (arrays, {**plain, "likelihood": "evil:code"}))
    with pytest.raises(RunDirectoryError, match="no run comes to the likelihood 'evil:code'"):
        load_progress(directory, run.record)
