"""Sides whose answers yes and answers no are wrong at rates of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from two_sides import make_world

from genz_ppl.inference.pairs import fit_cooccurrence


@pytest.mark.slow
def test_answers_no_that_hide_a_yes_are_found() -> None:
    """A fifth of the yeses of the rows are taken back: answers yes are right, answers no are not."""
    world = make_world(0, sizes=(120, 100), density=0.7)
    rows = world.answers[0].copy()
    rows[(rows == 1) & (np.random.default_rng(0).random(rows.shape) < 0.2)] = 0
    options: dict[str, Any] = {"fit": "decoupled", "dimensions": 4, "epochs": 60}
    found = fit_cooccurrence(world.pairs(), rows, world.answers[1], error_rates="asymmetric", **options)
    rates = found.state.rows.state.error_rates.numpy()
    assert rates.shape == (rows.shape[1], 2)
    assert rates[:, 1].min() > 0.03
    assert rates[:, 0].max() < 0.01
    assert found.rows.error_rates.shape == (rows.shape[1],)
    together = fit_cooccurrence(world.pairs(), rows, world.answers[1], **options)
    assert together.state.rows.state.error_rates.shape == (rows.shape[1],)
