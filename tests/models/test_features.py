"""p(z | h): eqs. 3-5, the error rates' MAP and their penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro import poutine

from genz_ppl.errors import OptionError
from genz_ppl.inference import isolated
from genz_ppl.models import FeatureLayer
from genz_ppl.models.features import SMALLEST_ERROR_RATE, most_probable_error_rate, prior_probability


def test_prior_is_equation_4() -> None:
    answers = torch.tensor([[1.0, 0.0, float("nan")], [0.0, 1.0, 1.0]], dtype=torch.float64)
    rates = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    expected = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.8, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(prior_probability(answers, rates), expected, rtol=0, atol=1e-15)


@given(
    errors=st.floats(0, 50),
    right=st.floats(0, 50),
    a=st.floats(0.2, 5),
    b=st.floats(0.2, 12),
)
def test_error_rate_maximises_likelihood_times_prior(errors: float, right: float, a: float, b: float) -> None:
    concentration = torch.tensor([a, b], dtype=torch.float64)
    found = float(most_probable_error_rate(torch.tensor(errors).double(), torch.tensor(errors + right).double(), concentration))
    assert SMALLEST_ERROR_RATE <= found <= 1 - SMALLEST_ERROR_RATE

    # A prior's kernel counts as far as it has an interior mode.
    def objective(rate: float) -> float:
        return float((errors + max(a - 1, 0)) * np.log(rate) + (right + max(b - 1, 0)) * np.log1p(-rate))

    grid = np.linspace(1e-6, 1 - 1e-6, 2001)
    assert objective(found) >= max(objective(rate) for rate in grid) - 1e-9


def test_no_evidence_and_a_flat_prior_leave_one_half() -> None:
    zero = torch.zeros((), dtype=torch.float64)
    assert float(most_probable_error_rate(zero, zero, torch.tensor([1.0, 1.0], dtype=torch.float64))) == 0.5


@pytest.mark.parametrize(("a", "b"), [(1.0, 9.0), (2.0, 5.0), (0.5, 0.5), (1.0, 1.0)])
def test_penalty_is_log_beta_density_relative_to_its_mode(a: float, b: float) -> None:
    layer = FeatureLayer(3, (a, b))
    rates = torch.tensor([0.05, 0.3, 0.7], dtype=torch.float64)
    extra_a, extra_b = max(a - 1, 0), max(b - 1, 0)
    mode = np.clip(extra_a / (extra_a + extra_b) if extra_a + extra_b else 0.5, 1e-6, 1 - 1e-6)
    by_hand = sum(
        extra_a * (np.log(rate) - np.log(mode)) + extra_b * (np.log1p(-rate) - np.log1p(-mode)) for rate in rates.tolist()
    )
    assert float(layer.penalty(rates)) == pytest.approx(by_hand, abs=1e-10)
    assert float(layer.penalty(rates)) <= 1e-12
    assert float(layer.penalty(torch.full((3,), float(mode), dtype=torch.float64))) == pytest.approx(0, abs=1e-12)


def test_prior_mean() -> None:
    assert FeatureLayer(2, (1.0, 9.0)).prior_mean == pytest.approx(0.1)


def test_error_rates_are_drawn_from_their_prior() -> None:
    with isolated(0):
        rates = FeatureLayer(4000, (1.0, 9.0))()
    assert rates.shape == (4000,)
    # Beta(1, 9): mean 0.1, variance 0.09 / 11; P(rate < x) = 1 - (1 - x)^9.
    assert float(rates.mean()) == pytest.approx(0.1, abs=4 * float(np.sqrt(0.09 / 11 / 4000)))
    below = 1 - 0.9**9
    assert float((rates < 0.1).double().mean()) == pytest.approx(below, abs=4 * float(np.sqrt(below * (1 - below) / 4000)))


def test_without_features_there_is_no_site() -> None:
    with isolated(0):
        trace = poutine.trace(FeatureLayer(0)).get_trace()
    assert trace.nodes["_RETURN"]["value"].shape == (0,)
    assert not [name for name, node in trace.nodes.items() if node["type"] == "sample"]


@pytest.mark.parametrize("prior", [(0.0, 1.0), (1.0, -1.0), (1.0, float("inf")), (float("nan"), 1.0), (1.0, 2.0, 3.0)])
def test_impossible_prior(prior: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match=r"^error_rate_prior: expected two positive numbers \(a, b\) of a Beta prior, got \("):
        FeatureLayer(2, prior)
