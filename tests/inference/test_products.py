"""Products of answers: all pairs at once are what each would be alone, and rules of several conditions are found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.candidates import quick_gains
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.inference.worth.judge import missed
from genz_ppl.inference.worth.products import best_products


def problem(n_items: int = 200, n_columns: int = 6, seed: int = 0) -> tuple[State, Data, torch.Tensor]:
    """A model of one feature and a covariate, and the answers to six other questions."""
    generator = torch.Generator().manual_seed(seed)
    answers = (torch.rand(n_items, n_columns, generator=generator, dtype=torch.float64) < 0.4).double()
    used = (torch.rand(n_items, 1, generator=generator, dtype=torch.float64) < 0.5).double()
    x = torch.randn(n_items, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_items, 2, generator=generator, dtype=torch.float64)
    wanted = answers[:, 1] * (1 - answers[:, 3])
    y = torch.stack([2 * wanted, -wanted], dim=1) + used + x + 0.5 * noise
    data = Data(used, x, (y - y.mean(0)) / y.std(0))
    with isolated(0):
        state = start_state(build_model(1, 2, 1), data)
    state.posterior = used.clone()  # no doubt, which least squares would have counted
    return state, data, answers


def test_all_pairs_at_once_are_what_each_would_be_alone() -> None:
    state, data, answers = problem()
    literals = [(column, negated) for column in range(6) for negated in (False, True)]
    pairs = [pair for pair in itertools.combinations(literals, 2) if pair[0][0] != pair[1][0]]
    values = {literal: 1 - answers[:, literal[0]] if literal[1] else answers[:, literal[0]] for literal in literals}
    products = np.stack([(values[one] * values[other]).numpy() for one, other in pairs], axis=1)
    gains = quick_gains(state, data, products)
    alone = dict(zip(literals, quick_gains(state, data, np.stack([values[one].numpy() for one in literals], 1)), strict=True))
    margin = chance_gain(12**2 / 2, 2)
    together = {pair: side_by_side(state, data, [values[one] for one in pair]) for pair in pairs}
    better = {
        pair: gain
        for pair, gain in zip(pairs, gains, strict=True)
        if gain > max(alone[pair[0]], alone[pair[1]], together[pair]) + margin
    }
    found = best_products(state, data, answers, 100, 2, 0.02)
    assert {product.factors: pytest.approx(product.gain, rel=1e-6) for product in found} == better
    assert found[0].factors == ((1, False), (3, True))


def side_by_side(state: State, data: Data, columns: list[torch.Tensor]) -> float:
    """Nats that columns add to a fit on the feature and the covariate, by least squares of what is missed."""
    design = np.column_stack([np.ones(len(columns[0])), state.posterior.numpy(), data.covariates.numpy()])
    residual = missed(state, data).detach().numpy()
    more = np.column_stack([design, *(column.numpy() for column in columns)])
    left = [residual - matrix @ np.linalg.lstsq(matrix, residual, rcond=None)[0] for matrix in (design, more)]
    explained = ((left[0] ** 2).sum(0) - (left[1] ** 2).sum(0)) / (residual**2).sum(0)
    return float(-0.5 * len(residual) * np.log1p(-explained).sum())


def test_effects_that_add_up_are_no_product() -> None:
    state, data, answers = problem()
    y = (answers[:, 0] + answers[:, 2]).unsqueeze(1) + 0.2 * data.targets
    assert best_products(state, data.with_targets((y - y.mean(0)) / y.std(0)), answers, 5, 3, 0.02) == []


def test_three_conditions_are_found() -> None:
    state, data, answers = problem(600)
    wanted = answers[:, 0] * answers[:, 2] * (1 - answers[:, 5])
    y = 3 * wanted.unsqueeze(1) + 0.3 * data.targets
    found = best_products(state, data.with_targets((y - y.mean(0)) / y.std(0)), answers, 3, 3, 0.02)
    assert found[0].factors == ((0, False), (2, False), (5, True))


def test_rare_products_and_single_columns_are_none() -> None:
    state, data, answers = problem()
    assert best_products(state, data, answers, 5, 2, 0.5) == []
    assert best_products(state, data, answers, 5, 1, 0.02) == []
    assert best_products(state, data, answers[:, :1], 5, 3, 0.02) == []


def test_a_rule_of_two_questions_in_use_is_found_where_the_targets_have_moved_their_posteriors() -> None:
    """What tells a posterior from its answers comes from the targets: beside it no rule of the two would look worth anything."""
    random = np.random.default_rng(3)
    answers = torch.from_numpy((random.random((400, 2)) < 0.4).astype(np.float64))
    y = torch.from_numpy(2.0 * answers.prod(1, keepdim=True).numpy() + 0.7 * random.normal(size=(400, 1)))
    data = Data(answers, torch.zeros(400, 0, dtype=torch.float64), (y - y.mean()) / y.std())
    with isolated(0):
        state = start_state(build_model(2, 1, 0), data)
        refit(state, data, 20)
    assert not torch.equal(state.posterior, state.prior(answers))
    assert ((0, False), (1, False)) in [product.factors for product in best_products(state, data, answers, 4, 2, 0.02)]
