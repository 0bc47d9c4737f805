"""What ranks wordings where the link is a network: nats of the targets' own likelihood, never more than there is to know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from genz_ppl.inference import fit, isolated
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
