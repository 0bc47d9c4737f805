"""Sums over items: the linear Gaussian steps, the bound's own terms and pruning by scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.inference import fit
from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.engines.in_turn import PANEL, update_in_turn
from genz_ppl.inference.engines.sums import LinearGaussian
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State, entropy_of, feature_terms
from genz_ppl.inference.worth.prune import FINALISTS, least_useful, removal_losses, removals
from genz_ppl.models import LIKELIHOODS

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


@given(n_items=st.integers(0, 300), largest=st.integers(1, 50))
def test_blocks_cover_the_items_once_and_are_nearly_equal(n_items: int, largest: int) -> None:
    blocks = blocks_of(n_items, largest)
    assert [t for block in blocks for t in range(n_items)[block]] == list(range(n_items))
    sizes = [block.stop - block.start for block in blocks]
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_features", [1, 7, PANEL, PANEL + 1, 3 * PANEL + 5])
def test_panels_do_not_change_the_turns(n_features: int) -> None:
    random = np.random.default_rng(n_features)
    q, field = (torch.from_numpy(random.random((n_features, 11))) for _ in range(2))
    others = torch.from_numpy(random.normal(size=(n_features, n_features)))
    others = (others + others.T).fill_diagonal_(0)
    expected = q.clone()
    for k in range(n_features):
        expected[k] = torch.sigmoid(field[k] - others[k] @ expected)
    update_in_turn(q, field, others)
    torch.testing.assert_close(q, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.sigmoid(field), q, rtol=0, atol=1e-15)


def test_entropy_is_that_of_coins_fair_bent_and_certain() -> None:
    q = torch.tensor([[0.5, 0.25], [0.0, 1.0], [1e-200, 1 - 1e-12]], dtype=torch.float64).repeat(2000, 1)
    expected = -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum()
    assert entropy_of(q) == pytest.approx(float(expected), rel=1e-12)
    assert entropy_of(q[:, :0]) == 0
    wide = torch.full((2, 5000), 0.5, dtype=torch.float64)
    assert entropy_of(wide) == pytest.approx(10_000 * np.log(2), rel=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_feature_terms_are_expected_log_priors(missing: float, random_problem: Any) -> None:
    state, data = random_problem(0, n_items=40, n_features=5, missing_answers=missing)
    prior, q = state.prior(data.answers), state.posterior
    expected = (q * prior.log() + (1 - q) * (1 - prior).log()).sum(0)
    torch.testing.assert_close(feature_terms(state, data), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), n_features=st.integers(0, 5), n_covariates=st.integers(0, 2))
def test_squared_errors_from_sums_are_those_of_the_items(
    seed: int, n_features: int, n_covariates: int, random_problem: Any
) -> None:
    state, data = random_problem(seed, n_features=n_features, n_covariates=n_covariates)
    method = LinearGaussian(data)
    expected = method.squared_error(state).mean(0, keepdim=True)
    torch.testing.assert_close(method.mean_squared_error(state), expected, rtol=1e-9, atol=1e-12)


def test_errors_far_below_the_targets_are_summed_item_by_item(random_problem: Any) -> None:
    state, data = random_problem(0, n_items=50, n_features=2, n_targets=1, n_covariates=0)
    state.posterior = state.posterior.round()
    link = state.model.link
    noise = 1e-9 * torch.from_numpy(np.random.default_rng(0).normal(size=(50, 1)))
    data = data.with_targets((state.posterior @ link.weights + link.intercept).detach() + noise)
    method = LinearGaussian(data)
    solution = torch.cat([link.weights, link.intercept[None], link.covariate_weights]).detach()
    assert method.sums(state.posterior).squared_error(solution) is None
    found = method.mean_squared_error(state)[0]
    torch.testing.assert_close(found, noise.square().mean(0), rtol=1e-5, atol=0)


def test_sums_follow_a_posterior_that_is_changed_in_place(random_problem: Any) -> None:
    state, data = random_problem(0)
    method = LinearGaussian(data)
    before = method.observation(state)
    state.posterior[0] = 1 - state.posterior[0]
    assert method.observation(state) != pytest.approx(before)
    assert method.observation(state) == pytest.approx(LinearGaussian(data).observation(state), rel=1e-12)


def test_rows_and_columns_in_memory_give_the_same_fit(random_problem: Any) -> None:
    state, data = random_problem(0, n_items=60)
    other = state.copy()
    other.posterior = other.posterior.T.contiguous().T
    for one in (state, other):
        with isolated(0):
            coordinate(one, data, 5)
    torch.testing.assert_close(state.posterior, other.posterior, rtol=0, atol=1e-9)  # products round by their layout


def correlated(seed: int, likelihood: str, missing_targets: float) -> tuple[State, Data]:
    """A fit to features of which some go together and some have little or no effect. Call inside `isolated`."""
    random = np.random.default_rng(seed)
    n_features, n_items, n_targets = int(random.integers(FINALISTS + 2, 12)), 250, 3
    common = random.normal(size=(n_items, 2)) @ random.normal(size=(2, n_features))
    truth = common + random.normal(size=(n_items, n_features)) > 0
    weights = random.normal(size=(n_features, n_targets)) * random.choice([0.0, 0.1, 0.3, 1.0], size=(n_features, 1))
    targets = truth @ weights + 0.5 * random.normal(size=(n_items, n_targets))
    targets[random.random(targets.shape) < missing_targets] = np.nan
    answers = (truth ^ (random.random(truth.shape) < 0.08)).astype(np.float64)
    answers[random.random(answers.shape) < 0.1] = np.nan
    h, y, x = torch.from_numpy(answers), torch.from_numpy(targets), torch.zeros(n_items, 0, dtype=torch.float64)
    data = Scaling.of(y, x, LIKELIHOODS[likelihood]).data(h, x, y)
    state = start_state(build_model(n_features, n_targets, 0, likelihood=likelihood), data)
    coordinate(state, data, 20)
    return state, data


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic", "student_t"])
def test_pruning_by_scores_chooses_as_refitting_all_does(likelihood: str) -> None:
    # 97 to 99 of 100 in benchmarks/prune.py.
    same = 0
    for seed in range(8):
        with isolated(seed):
            state, data = correlated(seed, likelihood, missing_targets=0.1 * (seed % 2))
            chosen = least_useful(state, data, 5)
            best = least_useful(state, data, 5, exhaustive=True)
        assert chosen.bound <= best.bound
        same += chosen.feature == best.feature
    assert same >= 7


def test_a_score_is_the_loss_where_nothing_else_moves(simulate: Any) -> None:
    """With answers that are never wrong, posteriors stay at them and only weights and noise adapt."""
    world = simulate(0, n_items=400, n_features=7, n_targets=2, wrong=0.0, noise=1.0)
    h, y, x = (torch.from_numpy(part) for part in (world.answers, world.targets, world.covariates))
    with isolated(0):
        data = Scaling.of(y, x, LIKELIHOODS["gaussian"]).data(h, x, y)
        state = start_state(build_model(7, 2, 0, error_rate_prior=(1.0, 1e9)), data)
        bound = coordinate(state, data, 3)[-1].total
        lost = bound - np.array([removal.bound for removal in removals(state, data, 3)])
    found = removal_losses(state, data)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), lost, rtol=1e-4)


def test_only_finalists_are_refitted_unless_all_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    refitted: list[int] = []

    def counted(state: State, data: Data, steps: int, expectation: str, features: Any) -> Any:
        refitted.append(data.answers.shape[1] if features is None else len(features))
        return removals(state, data, 1, expectation, features)

    monkeypatch.setattr("genz_ppl.inference.worth.prune.removals", counted)
    with isolated(0):
        state, data = correlated(0, "gaussian", 0.0)
        least_useful(state, data, 1)
        least_useful(state, data, 1, exhaustive=True)
        least_useful(state, data, 1, "mode", exhaustive=True)
    n_features = data.answers.shape[1]
    assert refitted == [FINALISTS, n_features, n_features]


@pytest.mark.parametrize("name", ["tpu", "nonsense", 3.5])
def test_unknown_device_is_refused(name: Any) -> None:
    with pytest.raises(OptionError, match="device: expected 'cpu' or 'cuda'"):
        fit([[1.0], [0.0]], [[1.0], [0.0]], device=name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="device: torch finds no 'cuda' on this machine; use 'cpu'"):
        fit([[1.0], [0.0]], [[1.0], [0.0]], device="cuda")


@CUDA
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic", "student_t"])
def test_a_fit_on_cuda_is_the_fit_on_the_cpu(likelihood: str, missing: float, simulate: Any) -> None:
    world = simulate(0, n_items=300, n_covariates=1, missing_targets=missing, missing_answers=0.1)
    here, there = (
        fit(world.answers, world.targets, world.covariates, likelihood=likelihood, steps=8, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.posterior, here.posterior, atol=1e-7)
    np.testing.assert_allclose(there.bounds, here.bounds, rtol=1e-9)
    np.testing.assert_allclose(there.predict(world.answers, world.covariates), here.predict(world.answers, world.covariates))
