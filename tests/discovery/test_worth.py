"""What a feature must be worth, against the chi-square distribution by another hand."""

from __future__ import annotations

import itertools

import pytest
from scipy.stats import chi2

from genz_ppl.discovery.worth import chance_gain


@pytest.mark.parametrize(("wordings", "parameters"), [(1, 1), (40, 1), (300, 4), (20, 64)])
def test_the_first_feature_is_found_by_chance_once_in_a_hundred_data_sets(wordings: int, parameters: int) -> None:
    assert chance_gain(wordings, parameters) == pytest.approx(chi2.isf(0.01 / wordings, parameters) / 2, abs=1e-6)


@pytest.mark.parametrize("number", [2, 3, 10, 25])
def test_later_features_follow_benjamini_and_hochberg(number: int) -> None:
    assert chance_gain(200, 4, number) == pytest.approx(chi2.isf(0.05 * number / 200, 4) / 2, abs=1e-6)


def test_each_is_worth_less_than_the_one_before_and_none_less_than_nothing() -> None:
    levels = [chance_gain(12, 1, number) for number in range(1, 400)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(levels))
    assert levels[-1] == pytest.approx(0.0, abs=1e-9)  # more features than wordings over the rate
    assert chance_gain(0, 1) == chance_gain(5, 0) == 0.0
