"""The trained strategies: where they end, what a hook sees, and what stays when features change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from plain import PLAIN
from torch import Tensor, nn

from genz_ppl.errors import OptionError
from genz_ppl.inference import fit, isolated
from genz_ppl.inference.guided.guides import Guide, MeanFieldGuide, StructuredGuide
from genz_ppl.inference.guided.optimiser import GuideOptimiser, known_to_svi, natural_step
from genz_ppl.inference.guided.svi import Training, TrainingOptions, default_epochs, train_guide
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data, State

Array = NDArray[np.float64]


@pytest.mark.parametrize("link", ["linear", pytest.param("interaction", marks=pytest.mark.slow)])
def test_same_fixed_point_as_coordinate(simulate: Callable[..., Any], link: str) -> None:
    world = simulate(1, n_items=200, n_features=3, n_targets=6, n_covariates=1)
    given = (world.answers, world.targets, world.covariates)
    coordinate = fit(*given, link=link, inference="coordinate", steps=600, joint_moves=False, **PLAIN)
    trained = fit(*given, link=link, inference="svi", steps=500)
    assert np.abs(coordinate.posterior - trained.posterior).max() < 1e-3
    assert np.abs(coordinate.error_rates - trained.error_rates).max() < 1e-3
    assert trained.bound == pytest.approx(coordinate.bound, rel=1e-3)
    assert trained.bounds[-2] == pytest.approx(trained.bound, rel=1e-6)  # the losses on the way are on the same scale


def test_minibatches_find_the_weights(simulate: Callable[..., Any]) -> None:
    world = simulate(2, n_items=600, n_features=3, n_targets=4)
    found = fit(world.answers, world.targets, inference="svi", batch_size=100, steps=30)
    np.testing.assert_allclose(found.parameters["weights"], world.weights, atol=0.25)
    assert np.mean((found.posterior > 0.5) != world.truth) < 0.5 * np.mean(world.answers != world.truth)


def test_default_epochs_make_about_as_many_steps_whatever_the_batch() -> None:
    assert default_epochs(500, None) == default_epochs(500, 500) == 1000
    assert default_epochs(1000, 100) == 200
    assert default_epochs(200_000, 2000) == 20


@pytest.mark.slow
def test_bayesian_fit_is_wider_with_fewer_items(simulate: Callable[..., Any]) -> None:
    world = simulate(3, n_items=400, n_features=3, n_targets=1, n_covariates=1)

    def spread(n: int) -> Array:
        part = (world.answers[:n], world.targets[:n], world.covariates[:n])
        found = fit(*part, inference="svi", bayesian=True, steps=150)
        assert found.state.uncertainty is not None
        return found.state.uncertainty.standard_deviations()[:3].numpy()

    few, many = spread(100), spread(400)
    np.testing.assert_allclose(few / many, 2.0, rtol=0.5)  # one over the root of the number of items


@pytest.mark.slow
def test_uncertain_weights_widen_the_intervals(simulate: Callable[..., Any]) -> None:
    world = simulate(4, n_items=20, n_features=3, n_targets=1, wrong=0.0)
    bayesian = fit(world.answers, world.targets, inference="svi", bayesian=True, steps=150)
    points = replace(bayesian, state=replace(bayesian.state, uncertainty=None))
    ratio = bayesian.predict_interval(world.answers).sd / points.predict_interval(world.answers).sd
    # Four uncertain parameters from twenty items add about a fifth to the variance of the noise.
    assert 1.03 < ratio.mean() < 1.4


@pytest.mark.parametrize("sparse", [False, True])
def test_natural_step_of_length_one_is_the_target(sparse: bool) -> None:
    target = torch.tensor([[0.5, -1.0], [2.0, 0.3], [0.1, 0.2]], dtype=torch.float64)
    logits = nn.Parameter(torch.tensor([[0.0, 0.5], [1.5, 0.0], [1.0, 1.0]], dtype=torch.float64))
    start = logits.detach().clone()
    q = torch.sigmoid(start)
    gradient = -q * (1 - q) * (target - start)
    if sparse:
        rows = torch.tensor([[0, 2]])
        logits.grad = torch.sparse_coo_tensor(rows, 4 * gradient[[0, 2]], (3, 2), check_invariants=True)
        natural_step(logits, 1.0, batches=4)
        target[1] = start[1]
    else:
        logits.grad = gradient
        natural_step(logits, 1.0, batches=1)
    torch.testing.assert_close(logits.detach(), target)


class Recorder:
    """A hook that writes down the epochs it saw, and how sure the guide was, and stops after a while."""

    def __init__(self, last: int) -> None:
        self.last, self.epochs, self.posteriors = last, [], []  # type: tuple[int, list[int], list[Tensor]]

    def __call__(self, guide: Guide, epoch: int) -> bool:
        self.epochs.append(epoch)
        assert isinstance(guide, MeanFieldGuide)
        self.posteriors.append(guide.posterior)
        return epoch == self.last


def problem(random: Callable[..., Any]) -> tuple[State, Data]:
    world = random(5, n_items=60, n_features=3, n_targets=2)
    data = Data(
        torch.from_numpy(world.answers),
        torch.zeros(60, 0, dtype=torch.float64),
        torch.from_numpy(world.targets - world.targets.mean(0)),
    )
    return start_state(build_model(3, 2, 0), data), data


def test_hook_is_called_after_every_epoch_and_can_stop(simulate: Callable[..., Any]) -> None:
    with isolated(0):
        state, data = problem(simulate)
        hook = Recorder(5)
        losses = Training(state, data, TrainingOptions()).run(None, hook)
    assert hook.epochs == [1, 2, 3, 4, 5]
    assert len(losses) == 5
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(hook.posteriors))


def test_training_in_two_parts_is_the_same_as_in_one(simulate: Callable[..., Any]) -> None:
    def parts(*epochs: int) -> State:
        with isolated(0):
            state, data = problem(simulate)
            for n in epochs:
                state = Training(state, data, TrainingOptions()).state if n == 0 else trained(state, data, n)
        return state

    def trained(state: State, data: Data, epochs: int) -> State:
        training = Training(state, data, TrainingOptions())
        training.run(epochs)
        return training.write_back()

    once, twice = parts(20), parts(10, 10)
    torch.testing.assert_close(once.posterior, twice.posterior, rtol=0, atol=1e-9)
    torch.testing.assert_close(once.model.link.weights, twice.model.link.weights, rtol=0, atol=1e-9)


def test_replaced_feature_starts_afresh_and_the_others_keep_what_they_learned(simulate: Callable[..., Any]) -> None:
    with isolated(0):
        state, data = problem(simulate)
        training = Training(state, data, TrainingOptions())
        training.run(10)
        before = training.write_back()
        new = torch.full((60, 1), 0.5, dtype=torch.float64)
        after = before.with_columns([0, 2], new)
        training.go_on_with(after, data)
        held = training.write_back()
    assert before.moments is not None
    assert held.moments is not None
    for old, now in ((before.moments.first, held.moments.first), (before.moments.second, held.moments.second)):
        torch.testing.assert_close(now["link.weights"][:2], old["link.weights"][[0, 2]])
        assert float(now["link.weights"][2].abs().max()) == 0
        rates = "guide.error_rates_unconstrained"
        torch.testing.assert_close(now[rates][:2], old[rates][[0, 2]])
        assert float(now[rates][2]) == 0
        assert torch.equal(now["likelihood.scale_unconstrained"], old["likelihood.scale_unconstrained"])
    assert float(held.model.link.weights.detach()[2].abs().max()) == 0
    torch.testing.assert_close(held.posterior[:, :2], before.posterior[:, [0, 2]], rtol=0, atol=1e-12)


def explaining_away(n_features: int = 2) -> tuple[State, Data]:
    """Either of the first two features explains y = 2 as well as the other; both or neither would miss it."""
    with isolated(0):
        model = build_model(n_features, 1, 0)
        with torch.no_grad():
            model.link.weights.copy_(torch.tensor([[2.0], [2.0], [0.7], [-0.5]], dtype=torch.float64)[:n_features])
        model.likelihood.scale = torch.full((1,), 0.5, dtype=torch.float64)
    answers = torch.full((40, n_features), float("nan"), dtype=torch.float64)
    targets = torch.linspace(1.0, 3.0, 40, dtype=torch.float64)[:, None]
    rates = torch.full((n_features,), 0.1, dtype=torch.float64)
    posterior = torch.full((40, n_features), 0.5, dtype=torch.float64)
    posterior[:, 0] = 0.6
    return State(model, rates, posterior), Data(answers, torch.zeros(40, 0, dtype=torch.float64), targets)


def exact_table(state: State, data: Data) -> Tensor:
    """p(z | y, h) of every item over all z, summed by hand; (T, 2^K)."""
    weights, scale = state.model.link.weights.detach()[:, 0], float(state.model.likelihood.scale.detach())
    logs = []
    for row in itertools.product([0.0, 1.0], repeat=len(weights)):
        location = (torch.tensor(row, dtype=torch.float64) * weights).sum()
        logs.append(-0.5 * (data.targets[:, 0] - location) ** 2 / scale**2)
    return torch.softmax(torch.stack(logs, dim=1), dim=1)


def divergence(table: Tensor, exact: Tensor) -> float:
    return float((torch.xlogy(table, table) - torch.xlogy(table, exact)).sum(1).mean())


def guide_table(guide: MeanFieldGuide | StructuredGuide, data: Data, n_features: int) -> Tensor:
    q = guide.distribution(None, (data.answers, data.covariates, data.targets), guide.error_rates)
    rows = [torch.tensor(row, dtype=torch.float64) for row in itertools.product([0.0, 1.0], repeat=n_features)]
    return torch.stack([q.log_prob(row.expand(len(data.targets), -1)) for row in rows], dim=1).exp().detach()


@pytest.mark.parametrize("n_features", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_structured_posterior_follows_features_that_explain_each_other_away(n_features: int) -> None:
    divergences = {}
    for structured in (False, True):
        with isolated(1):
            state, data = explaining_away(n_features)
            exact = exact_table(state, data)
            training = Training(state, data, TrainingOptions(structured=structured, epochs=150))
            if structured:
                training.local = StructuredGuide(state.error_rates, state.posterior, feature=1, model=state.model)
                training.optimiser = GuideOptimiser(training.parameters(), 0.0)
                known_to_svi(training.local)
            for group in training.optimiser.adam.param_groups:
                group["first"] = 0.0  # the model is given: only q is trained
            training.run(150)
            divergences[structured] = divergence(guide_table(training.local, data, n_features), exact)
    assert divergences[False] > 0.3
    assert divergences[True] <= 0.5 * divergences[False]
    if n_features == 2:  # one logit and one exact conditional are all there is
        assert divergences[True] < 1e-3


def test_batch_larger_than_the_data_is_refused() -> None:
    answers, targets = np.eye(4), np.arange(4.0)
    with pytest.raises(OptionError, match=r"^batch_size: expected at most the 4 items there are to fit, got 9; choose a smaller"):
        fit(answers, targets, inference="svi", batch_size=9)


def test_same_seed_same_numbers(simulate: Callable[..., Any]) -> None:
    world = simulate(7, n_items=60, n_features=3, n_targets=2)
    with isolated(0):
        state, data = problem(simulate)
        bounds = [train_guide(state.copy(), data, TrainingOptions(batch_size=20, epochs=5))[-1].total for _ in range(2)]
    assert bounds[0] != bounds[1]  # they go on with the random numbers of the context
    again = [fit(world.answers, world.targets, inference="svi", batch_size=20, steps=5, seed=3).bound for _ in range(2)]
    assert again[0] == again[1]
