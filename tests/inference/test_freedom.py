"""The freedom of coefficients with a prior, against regression by another hand and against the gains of noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.freedom import freedoms
from genz_ppl.inference.worth.prune import least_useful
from genz_ppl.models.interaction import INTERACTION_SPREAD


def problem(seed: int, n_items: int, rare: int, n_targets: int = 1) -> Data:
    """Two features, the second true of `rare` items and without effect, and two covariates."""
    random = np.random.default_rng(seed)
    answers = np.stack([np.arange(n_items) % 2, np.arange(n_items) < rare], axis=1).astype(np.float64)
    targets = random.normal(size=(n_items, n_targets)) + 0.5 * answers[:, :1]
    values = (answers, random.normal(size=(n_items, 2)), targets)
    return Data(*(torch.from_numpy(value) for value in values))


def fitted(data: Data, likelihood: str = "gaussian", link: str = "interaction") -> tuple[State, float]:
    """A model to which answers are facts, and its log likelihood with the penalty."""
    sizes = (data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1])
    state = start_state(build_model(*sizes, link, likelihood), data)
    state.posterior = data.answers.clone()
    method = closed_form_for(state.model, data)
    for _ in range(8):
        method.maximise(state)
    return state, method.observation(state) + state.model.link.penalty().item()


@pytest.mark.parametrize("rare", [3, 20, 90])
def test_freedoms_are_those_of_a_ridge_regression(rare: int) -> None:
    data = problem(0, 200, rare, n_targets=2)
    with isolated(0):
        state, _ = fitted(data)
        found = freedoms(state, data)
        noise = 1 / state.model.likelihood.precision(data.targets[:1]).detach().numpy()
    assert found is not None
    assert np.shape(found) == (2, 6)
    x, h = data.covariates.numpy(), data.answers.numpy()
    blocks = [np.concatenate([h[:, [k]], h[:, [k]] * x], axis=1) for k in range(2)]
    prior = np.diag([0.0, *[INTERACTION_SPREAD**-2] * 2])
    for k in range(2):
        rest = np.concatenate([blocks[1 - k], np.ones((200, 1)), x], axis=1)
        ridge = np.zeros((6, 6))
        ridge[:3, :3] = prior
        expected = []
        for variance in noise.ravel():
            cross = rest.T @ blocks[k] / variance
            known = blocks[k].T @ blocks[k] / variance - cross.T @ np.linalg.solve(rest.T @ rest / variance + ridge, cross)
            expected.append(np.sort(np.linalg.eigvals(np.linalg.solve(known + prior, known)).real))
        np.testing.assert_allclose(np.sort(np.reshape(found[k], (2, 3)), axis=1), expected, atol=1e-6)


@pytest.mark.slow
def test_noise_gains_half_the_sum_of_freedoms() -> None:
    gains, sums = [], []
    for seed in range(60):
        data = problem(seed, 300, 12)
        with isolated(seed):
            state, bound = fitted(data)
            _, without = fitted(data.with_answers(data.answers[:, :1]))
            shares = freedoms(state, data)
        assert shares is not None
        gains.append(bound - without)
        sums.append(shares[1])
    mean = np.mean(sums, axis=0)
    assert 1.1 < float(mean.sum()) < 2.0  # three parameters, of which two hardly count
    error = (0.5 * float((mean**2).sum()) / len(gains)) ** 0.5
    assert np.mean(gains) == pytest.approx(0.5 * float(mean.sum()), abs=3 * error)


def test_without_a_prior_all_are_whole() -> None:
    data = problem(0, 50, 10)
    with isolated(0):
        assert freedoms(fitted(data, link="linear")[0], data) is None
        nothing = data.with_answers(data.answers[:, :0])
        assert freedoms(fitted(nothing)[0], nothing) == []


def test_the_feature_that_saves_more_than_it_is_worth_goes_first() -> None:
    data = problem(0, 200, 40)
    with isolated(0):
        state, _ = fitted(data)
        assert least_useful(state, data, 5).feature == 1  # the one without effect
        for saved, expected in ((0.0, 1), (5.0, 1), (100.0, 0)):
            removal = least_useful(state, data, 5, prices=torch.tensor([saved, 0.0], dtype=torch.float64))
            assert removal.feature == expected
