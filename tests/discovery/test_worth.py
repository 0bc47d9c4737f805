"""What a feature must be worth, against the chi-square distribution by another hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from genz_ppl.inference.worth.chance import chance_gain, shrunk_chance_gain


@pytest.mark.parametrize(("wordings", "parameters"), [(1, 1), (40, 1), (300, 4), (20, 64)])
@pytest.mark.parametrize(("first", "share"), [(True, 0.01), (False, 0.05)])
def test_the_best_of_many_wordings_gains_more_in_so_many_data_sets(
    wordings: int, parameters: int, first: bool, share: float
) -> None:
    expected = chi2.isf(share / wordings, parameters) / 2
    assert chance_gain(wordings, parameters, first) == pytest.approx(expected, abs=1e-6)
    for freedom in (1.0, 0.3):
        assert shrunk_chance_gain(wordings, [freedom] * parameters, first) == pytest.approx(freedom * expected, abs=1e-6)


@pytest.mark.parametrize("freedoms", [(1.0, 0.5), (1.0, 0.999), (0.4, 0.03), (0.9, 0.9)])
@pytest.mark.parametrize("wordings", [1, 500])
def test_a_shrunk_parameter_counts_in_part(freedoms: tuple[float, float], wordings: int) -> None:
    gain, (whole, part) = shrunk_chance_gain(wordings, freedoms), freedoms
    # The first variable is the square of a standard normal, z^2; the second must bring what it lacks.
    exceeded, _ = quad(
        lambda z: np.exp(-(z**2) / 2) * (2 / np.pi) ** 0.5 * chi2.sf((2 * gain - whole * z**2) / part, 1),
        0,
        (2 * gain / whole) ** 0.5,
        epsabs=0,
        epsrel=1e-9,
        limit=500,
    )
    exceeded += chi2.sf(2 * gain / whole, 1)
    assert exceeded * wordings == pytest.approx(0.05, rel=1e-6)


def test_freedom_has_its_price() -> None:
    shares = np.linspace(0.0, 1.0, 6)
    gains = [shrunk_chance_gain(300, [1.0, share, share, share]) for share in shares]
    assert gains[0] == pytest.approx(chance_gain(300, 1), abs=1e-6)
    assert (np.diff(gains) > 0).all()
    assert gains[-1] == pytest.approx(chance_gain(300, 4), abs=1e-6)


def test_nothing_tried_costs_nothing() -> None:
    assert chance_gain(0, 1) == chance_gain(5, 0) == chance_gain(0, 1, first=True) == 0.0
    assert shrunk_chance_gain(0, [1.0]) == shrunk_chance_gain(5, []) == shrunk_chance_gain(5, [0.0, 0.0]) == 0.0
