"""What the sampler of `--posterior nuts` is given: the evidence and its gradient by hand, by autograd and by the Pyro program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genz_ppl.inference.engines.exact import bit_table, log_evidence, log_joint
from genz_ppl.inference.engines.potential import potential_by_hand, potential_of_program
from genz_ppl.inference.guided.nuts import add_draws
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.models.bayesian import flattened

Problem = Callable[..., tuple[State, Data]]


@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic", "student_t"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_evidence_and_its_gradient_are_those_of_the_table(random_problem: Problem, likelihood: str, missing: float) -> None:
    state, data = random_problem(3, likelihood=likelihood, missing_targets=missing)
    bits, model = bit_table(4), state.model
    places = [*model.link.parameters(), state.error_rates.requires_grad_(True)]
    by_item = torch.arange(1.0, len(data.targets) + 1, dtype=torch.float64)  # so that items do not stand for one another
    found, wanted = (
        log_evidence(model, bits, state.error_rates, data),
        log_joint(model, bits, state.error_rates, data).logsumexp(1),
    )
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad((by_item * value).sum(), places, retain_graph=True) for value in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_potential_by_hand_is_that_of_the_program(random_problem: Problem, missing: float) -> None:
    state, data = random_problem(4, missing_targets=missing)
    with isolated(0):
        potentials = [make(state.model, data) for make in (potential_by_hand, potential_of_program)]
        values: list[Tensor] = []
        gradients: list[Any] = []
        for potential in potentials:
            at = {"link_and_noise": flattened(state.model) + 0.1, "p_e": torch.logit(state.error_rates)}
            at = {name: value.requires_grad_(True) for name, value in at.items()}
            values.append(potential(at))
            gradients.append(torch.autograd.grad(values[-1], list(at.values())))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-8)


def test_draws_are_of_four_chains_the_same_for_a_seed_and_the_state_holds_their_mean(random_problem: Problem) -> None:
    state, data = random_problem(5, n_features=2, n_targets=1)
    again = state.copy()
    for one in (state, again):
        add_draws(one, data, seed=1, warm_up=5, samples=5)
    assert state.uncertainty is not None
    assert again.uncertainty is not None
    draws = state.uncertainty.draws
    assert draws is not None
    assert again.uncertainty.draws is not None
    size = len(flattened(state.model))
    assert draws.shape == (4, 5, size + 2)
    assert torch.equal(draws, again.uncertainty.draws)
    np.testing.assert_allclose(draws.flatten(0, 1).mean(0)[:size], flattened(state.model))
    np.testing.assert_allclose(draws.flatten(0, 1).mean(0)[size:], state.error_rates)
