"""Repeated draws: the majority, and the error rates that their contradictions tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genz_ppl.llm.served.draws import draw_error, majority, majority_error

NAN = float("nan")


def test_the_majority_of_valid_draws_counts() -> None:
    drawn = np.array([[[1, 1, 0], [0, 0, 0], [NAN, 1, 0], [NAN, NAN, 1], [NAN, NAN, NAN]]], dtype=np.float64)
    np.testing.assert_array_equal(majority(drawn), [[1.0, 0.0, NAN, 1.0, NAN]])


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_error_rates_are_recovered_from_contradictions(rate: float) -> None:
    random = np.random.default_rng(0)
    truth = random.random((20_000, 1, 1)) < 0.3
    drawn = np.where(random.random((20_000, 1, 3)) < rate, ~truth, truth).astype(np.float64)
    found = draw_error(drawn)[0]
    # Three pairs of draws an item; the derivative of p with respect to the share of differing pairs is 1 / (2 (1 - 2 p)).
    share = 2 * rate * (1 - rate)
    error = math.sqrt(share * (1 - share) / 20_000) / (2 * (1 - 2 * rate))
    assert abs(found - rate) < 5 * error
    wrong = float((majority(drawn)[:, 0] != truth[:, 0, 0]).mean())
    expected = float(majority_error(np.array([rate]), 3)[0])
    assert abs(wrong - expected) < 5 * math.sqrt(expected / 20_000)


def test_nothing_repeated_tells_nothing() -> None:
    assert np.isnan(draw_error(np.ones((4, 2, 1)))).all()
    np.testing.assert_allclose(majority_error(np.array([0.1]), 1), [0.1])
