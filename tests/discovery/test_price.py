"""A feature is charged for what its coefficients are free to do, and runs that follow this can be stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genz_ppl import Items, discover, resume
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.price import chance, cost, least_gain, limits_of_cuts, price, prices
from genz_ppl.discovery.run.progress import FeatureRecord, Progress, Snapshot
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data
from genz_ppl.inference.worth.candidates import Candidate
from genz_ppl.inference.worth.chance import chance_gain, shrunk_chance_gain
from genz_ppl.settings import DiscoverSettings

RARE, FREE = (1.0, 0.1), (1.0, 0.9)


def progress_of(link: str, n_active: int, likelihood: str = "gaussian") -> Progress:
    """A run on one target and one covariate that has tried 30 wordings."""
    data = Data(torch.zeros(9, n_active), torch.randn(9, 1).double(), (torch.randn(9, 1) > 0).double())
    with isolated(0):
        state = start_state(build_model(n_active, 1, 1, link, likelihood), data)
    records = [FeatureRecord(f"f{k}", f"wording {k}", "mined", 1.0, k) for k in range(n_active)]
    return Progress(state, 0.0, 3, records, pool={f"wording {k}": np.zeros(9, dtype=np.int8) for k in range(30)})


def candidate(gain: float, freedoms: tuple[float, ...] | None) -> Candidate:
    return Candidate(f"gains {gain}", np.zeros(9), gain, progress_of("linear", 0).state, freedoms)


def test_each_feature_has_its_own_price() -> None:
    progress, settings = progress_of("interaction", 2), DiscoverSettings()
    rare, free = (shrunk_chance_gain(30, own) for own in (RARE, FREE))
    assert chance_gain(30, 1) < rare < free < chance_gain(30, 2) == chance(progress, 2)
    assert prices(settings, progress, [list(RARE), list(FREE)]) == [rare, free]
    assert least_gain(settings, progress, candidate(1.0, RARE)) == rare
    model = Snapshot(1, ["f0", "f1"], progress.state, 0.0, 0.0, [list(RARE), list(FREE)])
    assert cost(settings, progress, model) == shrunk_chance_gain(30, RARE, first=True) + free
    fixed = DiscoverSettings(smallest_worth=2.0, smallest_gain=1.5)
    assert prices(fixed, progress, [list(RARE), list(FREE)]) == [2.0, 2.0]
    assert cost(fixed, progress, model) == 4.0
    assert least_gain(fixed, progress, candidate(1.0, RARE)) == 1.5


def test_as_the_only_one_a_question_pays_for_all_that_were_like_it() -> None:
    progress, settings = progress_of("linear", 2), DiscoverSettings()
    progress.features[0].searched_alone = 25.0
    assert prices(settings, progress, None) == [chance_gain(30, 1)] * 2
    costs = chance_gain(30 * 25, 1, first=True) + chance_gain(30, 1)
    assert cost(settings, progress, Snapshot(1, ["f0", "f1"], progress.state, 0.0, 0.0)) == pytest.approx(costs)
    nothing = progress_of("linear", 0)
    assert least_gain(settings, nothing, replace(candidate(1.0, None), searched_alone=25.0)) == chance_gain(750, 1, first=True)


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_of_classes_and_counts_one_in_twenty_features_may_be_chance(likelihood: str) -> None:
    progress, settings = progress_of("linear", 3, likelihood), DiscoverSettings()
    assert prices(settings, progress, None) == [chance_gain(30 / 3, 1)] * 3
    assert least_gain(settings, progress, candidate(1.0, None)) == chance_gain(30 / 4, 1)
    steps = chance_gain(30, 1, first=True) + chance_gain(30 / 2, 1) + chance_gain(30 / 3, 1)
    assert cost(settings, progress, Snapshot(1, ["f0", "f1", "f2"], progress.state, 0.0, 0.0)) == pytest.approx(steps)
    alone = progress_of("linear", 1, likelihood)
    assert prices(settings, alone, None) == [chance_gain(30, 1, first=True)]


def test_without_priors_a_feature_is_charged_whole_parameters() -> None:
    progress, settings = progress_of("linear", 2), DiscoverSettings()
    later, first = chance_gain(30, 1), chance_gain(30, 1, first=True)
    assert prices(settings, progress, None) == [later, later]
    assert prices(settings, progress_of("linear", 1), None) == [first]
    assert cost(settings, progress, Snapshot(1, ["f0", "f1"], progress.state, 0.0, 0.0)) == first + later
    assert price(settings, progress, 2, None, progress.active[0]) == later
    assert least_gain(settings, progress, candidate(1.0, None)) == later


def test_a_wording_pays_for_those_it_was_chosen_from() -> None:
    progress, settings = progress_of("linear", 2), DiscoverSettings()
    progress.features[1].searched = 1000.0
    plain, searched = chance_gain(30, 1), chance_gain(30_000, 1)
    assert prices(settings, progress, None) == [plain, searched]
    assert cost(settings, progress, Snapshot(1, ["f1"], progress.state, 0.0, 0.0)) == chance_gain(30_000, 1, first=True)
    assert least_gain(settings, progress, replace(candidate(1.0, None), searched=1000.0)) == searched
    assert least_gain(settings, progress, replace(candidate(1.0, RARE), searched=1000.0)) == shrunk_chance_gain(30_000, RARE)


@pytest.mark.parametrize(("gains", "chosen"), [((7.5, 7.0), 1), ((9.0, 7.0), 0), ((5.5, 4.5), None)])
def test_what_counts_is_the_gain_above_the_price(
    gains: tuple[float, float], chosen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = [candidate(gains[0], FREE), candidate(gains[1], RARE)]
    progress = progress_of("interaction", 1)
    progress.pool["any"] = np.ones(9, dtype=np.int8)
    cycle = Cycle.__new__(Cycle)
    cycle.settings = DiscoverSettings(combine=1)
    monkeypatch.setattr(cycle, "usable", lambda progress, texts: list(texts))
    monkeypatch.setattr(cycle, "ranked", lambda *_: ranked)
    best = cycle.best_candidate(progress, Data(torch.zeros(9, 1), torch.zeros(9, 1), torch.zeros(9, 1)), ["any"])
    assert best is (None if chosen is None else ranked[chosen])


@pytest.fixture
def sized(frame: pd.DataFrame) -> Items:
    frame["area"] = np.random.default_rng(1).normal(size=len(frame))
    frame["y"] += 0.2 * frame["area"] * (frame["colour"] == "red")
    return Items.from_frame(frame, id="key", target="y", covariates=["area"])


@pytest.mark.slow
def test_a_stopped_run_remembers_its_prices(sized: Items, tmp_path: Path, assert_same_run: Any) -> None:
    settings: dict[str, Any] = {"link": "interaction", "cycles": 2, "add": 2, "cut": 1, "seed": 3}
    discover(sized, out=tmp_path / "whole", **settings)

    def stop(*_: Any) -> None:
        stop.steps += 1  # type: ignore[attr-defined]
        if stop.steps == 5:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    stop.steps = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        discover(sized, out=tmp_path / "run", on_step=stop, **settings)
    run = resume(tmp_path / "run", sized)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert "colour is red" in set(run.features[run.features["active"]]["text"])


def test_what_came_back_is_not_cut_again() -> None:
    """As published there is no such rule."""
    records = [FeatureRecord(f"f{k}", text, "mined", 1.0, k) for k, text in enumerate(("first", "second"))]
    gone = FeatureRecord("f9", "first", "mined", 1.0, 0, removed_at=4)
    state: Any = None
    progress = Progress(state, 0.0, 0, features=[gone, *records])
    infinity = float("inf")
    assert limits_of_cuts(DiscoverSettings(), progress) == [-infinity, infinity]
    assert limits_of_cuts(DiscoverSettings(paper=True), progress) == [infinity] * 2
