"""What ranks wordings where the link is a network: nats of the targets' own likelihood, never more than there is to know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from genz_ppl.inference import fit, isolated
from genz_ppl.inference.start import build_model, start_state
from genz_ppl.inference.state import Data
from genz_ppl.inference.worth.judge import judge_of
from genz_ppl.inference.worth.prune import removals


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "poisson"])
def test_beside_a_network_counts_and_classes_are_judged_by_their_own_likelihood(likelihood: str) -> None:
    """By least squares on indicators the first question would be worth thousands of nats for 120 items."""
    random = np.random.default_rng(0)
    answers = (random.random((120, 2)) < 0.5).astype(float)
    targets = (3.0 if likelihood == "poisson" else 1.0) * answers[:, 0]
    if likelihood == "categorical":
        targets += 2 * (random.random(120) < 0.3)
    result = fit(answers, targets, link="neural", likelihood=likelihood, steps=1)
    y, x = torch.from_numpy(targets)[:, None], torch.zeros(120, 0, dtype=torch.float64)
    data = result.scaling.data(torch.from_numpy(answers), x, y)
    with isolated(0):
        judge, judged = judge_of(result.state, data, 10)
        without_first, without_second = (removal.bound for removal in removals(judge, judged, 10))
        assert (judge.model.link.name, judge.model.likelihood.name) == ("linear", likelihood)
    known = 120 * np.log(2) if likelihood != "poisson" else -poisson.logpmf(targets, targets.mean()).sum()
    assert 0.4 * 120 * np.log(2) < without_second - without_first < known + 5


@pytest.mark.parametrize(
    ("link", "likelihood", "shortcuts", "expected"),
    [
        ("interaction", "student_t", True, None),
        ("linear", "poisson", True, None),
        ("interaction", "low_rank_gaussian", True, ("interaction", "gaussian")),
        ("linear", "low_rank_gaussian", False, None),
        ("neural", "low_rank_gaussian", True, ("linear", "gaussian")),
        ("neural", "laplace", True, ("linear", "laplace")),
        ("neural", "gaussian", False, None),
    ],
)
def test_the_judge_is_the_model_itself_where_refits_of_it_rank(
    link: str, likelihood: str, shortcuts: bool, expected: tuple[str, str] | None
) -> None:
    random = np.random.default_rng(0)
    answers = (random.random((30, 2)) < 0.5).astype(float)
    values = random.poisson(3.0, size=(30, 2)).astype(float)
    with isolated(0):
        model = build_model(2, 2, 0, link, likelihood, shortcuts=shortcuts)
        data = Data(torch.from_numpy(answers), torch.zeros(30, 0, dtype=torch.float64), torch.from_numpy(values))
        state = start_state(model, data)
        judge, judged = judge_of(state, data, 2)
    if expected is None:
        assert judge is state
        assert judged is data
    else:
        assert (judge.model.link.name, judge.model.likelihood.name) == expected
