"""Links compared on held-out folds: the linear one where effects add up, another one where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.links import link_scores
from genz_ppl.types import FloatArray


def problem(product: float, both: float, seed: int, rows: int = 300) -> tuple[State, Data, FloatArray]:
    """Three questions of twenty matter; product: how much one of them more per covariate, both: two of them together."""
    random = np.random.default_rng(seed)
    wordings = (random.random((rows, 20)) < 0.5).astype(np.float64)
    x = random.normal(size=(rows, 1))
    y = wordings[:, :3].sum(1) + x[:, 0] + product * wordings[:, 0] * x[:, 0] + 0.7 * random.normal(size=rows)
    y = y + both * (wordings[:, 0] - 0.5) * (wordings[:, 1] - 0.5)
    data = Data(*(torch.from_numpy(part) for part in (wordings[:, :3], x, ((y - y.mean()) / y.std())[:, None])))
    with isolated(0):
        state = start_state(build_model(3, 1, 1), data)
        refit(state, data, 10)
    return state, data, wordings


def test_products_with_a_covariate_are_seen_on_folds() -> None:
    scores = link_scores(*problem(1.0, 0.0, 0), 0)
    assert scores["interaction"].is_clear
    assert scores["interaction"].gain > 20


def test_what_two_questions_do_together_is_seen_by_a_network() -> None:
    scores = link_scores(*problem(0.0, 4.0, 1), 0)
    assert scores["neural"].is_clear
    assert not scores["interaction"].is_clear


def test_where_effects_add_up_no_other_link_is_clearly_better() -> None:
    """Two standard errors: one in forty by chance for either link; networks are not even trained."""
    clear = [score.is_clear for seed in range(20) for score in link_scores(*problem(0.0, 0.0, seed), seed).values()]
    assert len(clear) == 40
    assert sum(clear) <= 2


@pytest.mark.parametrize(("worse", "trained"), [(True, 2), (False, 5)])
def test_a_network_that_is_no_better_is_not_trained_on_all_folds(
    monkeypatch: pytest.MonkeyPatch, worse: bool, trained: int
) -> None:
    calls = []

    def network(self: Any, answers: FloatArray, rows: Any, fold: Any) -> FloatArray:
        calls.append(len(fold))
        predicted: FloatArray = np.zeros((len(fold), 1)) if worse else self.targets[fold] * 0.9
        return predicted

    monkeypatch.setattr("genz_ppl.inference.worth.links._Folds.network", network)
    score = link_scores(*problem(0.0, 4.0, 1), 0)["neural"]
    assert len(calls) == trained
    assert score.is_clear is not worse


def test_same_seed_same_scores() -> None:
    state, data, wordings = problem(0.0, 4.0, 2)
    before = torch.random.get_rng_state()
    assert link_scores(state, data, wordings, 3) == link_scores(state, data, wordings, 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("rows", [10])
def test_few_items_tell_nothing(rows: int) -> None:
    assert link_scores(*problem(1.0, 0.0, 0, rows), 0) == {}
