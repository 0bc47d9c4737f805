"""What a feature must be worth, against the chi-square distribution by another hand."""

from __future__ import annotations

import pytest
from scipy.stats import chi2

from genz_ppl.discovery.worth import chance_gain


@pytest.mark.parametrize(("wordings", "parameters"), [(1, 1), (40, 1), (300, 4), (20, 64)])
@pytest.mark.parametrize(("first", "share"), [(True, 0.01), (False, 0.05)])
def test_the_best_of_many_wordings_gains_more_in_so_many_data_sets(
    wordings: int, parameters: int, first: bool, share: float
) -> None:
    expected = chi2.isf(share / wordings, parameters) / 2
    assert chance_gain(wordings, parameters, first) == pytest.approx(expected, abs=1e-6)


def test_nothing_tried_costs_nothing() -> None:
    assert chance_gain(0, 1) == chance_gain(5, 0) == chance_gain(0, 1, first=True) == 0.0
