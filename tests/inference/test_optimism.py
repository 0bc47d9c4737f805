"""The noise of new items from the choice made again without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.optimism import optimism
from genz_ppl.models import LIKELIHOODS
from genz_ppl.types import FloatArray

N_ITEMS, N_WORDINGS, N_CHOSEN, N_NEW = 200, 150, 8, 2000
Parts = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def _world(likelihood: str, n_targets: int, seed: int, real: float) -> Parts:
    """Answers and targets of items and of new ones; `real` is the size of the effects of the first three wordings."""
    random = np.random.default_rng(seed)
    answers = (random.random((N_ITEMS + N_NEW, N_WORDINGS)) < 0.5).astype(float)
    shape = len(answers), n_targets
    noise = random.standard_t(4, shape) if likelihood == "student_t" else random.normal(size=shape)
    targets = real * answers[:, :3].sum(axis=1, keepdims=True) + noise
    return answers[:N_ITEMS], targets[:N_ITEMS], answers[N_ITEMS:], targets[N_ITEMS:]


def _greedy(answers: FloatArray, targets: FloatArray) -> list[int]:
    chosen: list[int] = []
    for _ in range(N_CHOSEN):
        design = np.concatenate([np.ones((len(answers), 1)), answers[:, chosen]], axis=1)
        left = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
        columns = answers - design @ np.linalg.lstsq(design, answers, rcond=None)[0]
        chosen.append(int(np.argmax(((columns.T @ left) ** 2).sum(axis=1) / np.maximum((columns**2).sum(axis=0), 1e-6))))
    return chosen


def _data(scaling: Scaling, answers: FloatArray, targets: FloatArray) -> Data:
    return scaling.data(torch.tensor(answers), torch.zeros(len(targets), 0, dtype=torch.float64), torch.tensor(targets))


def _fitted(likelihood: str, answers: FloatArray, targets: FloatArray) -> tuple[State, Data, Scaling]:
    nothing = torch.zeros(len(targets), 0, dtype=torch.float64)
    scaling = Scaling.of(torch.tensor(targets), nothing, LIKELIHOODS[likelihood])
    data = _data(scaling, answers, targets)
    with isolated(0):
        state = first_state(data, scaling, "linear", likelihood, (1.0, 1e6))
        coordinate(state, data, 30)
    return state, data, scaling


def _left_over(state: State, part: Data) -> float:
    with torch.no_grad():
        errors = part.targets - state.model.link(state.prior(part.answers), part.covariates)
    return float(errors.abs().mean())


@pytest.mark.parametrize(("likelihood", "n_targets"), [("gaussian", 1), ("student_t", 1), ("laplace", 1), ("isotropic", 5)])
@pytest.mark.parametrize("real", [0.0, 1.0])
def test_noise_of_new_items_is_met(likelihood: str, n_targets: int, real: float) -> None:
    """Eight of 150 wordings: what new items leave over beside what these do, in the mean of five worlds."""
    said, true = [], []
    for seed in range(5):
        answers, targets, new_answers, new_targets = _world(likelihood, n_targets, seed, real)
        chosen = _greedy(answers, targets)
        state, data, scaling = _fitted(likelihood, answers[:, chosen], targets)
        new = _data(scaling, new_answers[:, chosen], new_targets)
        said.append(optimism(state, data, answers, seed))
        true.append(_left_over(state, new) / _left_over(state, data))
    apart = np.subtract(said, true)
    assert abs(apart.mean()) < 3 * apart.std(ddof=1) / len(apart) ** 0.5 + 0.03
    assert 0.4 < (np.mean(said) - 1) / (np.mean(true) - 1) < 2.5


def test_nothing_to_choose_from_leaves_only_the_fit() -> None:
    """With three wordings, all kept, the ratio is that of a regression with four coefficients: about 1 + 4 / T."""
    answers, targets, _, _ = _world("gaussian", 1, 0, 1.0)
    state, data, _ = _fitted("gaussian", answers[:, :3], targets)
    assert 1.0 <= optimism(state, data, answers[:, :3], 0) < 1.06


def test_the_same_for_the_same_seed_and_never_below_one() -> None:
    answers, targets, _, _ = _world("gaussian", 1, 1, 1.0)
    state, data, _ = _fitted("gaussian", answers[:, :3], targets)
    answers[::3, 5:] = np.nan
    ratios = [optimism(state, data, answers, 3) for _ in range(2)]
    assert ratios[0] == ratios[1] >= 1.0


def test_likelihoods_without_a_scale_have_nothing_to_widen() -> None:
    random = np.random.default_rng(0)
    answers = (random.random((60, 4)) < 0.5).astype(float)
    state, data, _ = _fitted("poisson", answers, random.poisson(2.0, (60, 1)).astype(float))
    likelihood, one = state.model.likelihood, torch.ones(1, dtype=torch.float64)
    before = likelihood.parameters_in_units(one)
    assert optimism(state, data, answers, 0) == 1.0
    likelihood.widen(2.0)
    assert likelihood.parameters_in_units(one).keys() == before.keys()
