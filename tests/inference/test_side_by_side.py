"""Refits of several states at once find what each finds alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from genz_ppl.inference.engines import coordinate, side_by_side
from genz_ppl.inference.engines.coordinate import refit_all
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS

STEPS = 7


def problem(likelihood: str = "gaussian", missing_target: bool = False, **options: Any) -> tuple[State, Data]:
    """150 items, 6 questions with wrong and missing answers, 5 targets, 2 covariates; fresh."""
    random = np.random.default_rng(3)
    z = (random.random((150, 6)) < 0.4).astype(float)
    answers = np.where(random.random(z.shape) < 0.08, 1 - z, z)
    answers[random.random(z.shape) < 0.05] = np.nan
    covariates = random.normal(size=(150, 2))
    targets = z @ random.normal(size=(6, 5)) + covariates @ random.normal(size=(2, 5)) + random.normal(size=(150, 5))
    if missing_target:
        targets[3, 1] = np.nan
    h, x, y = (torch.from_numpy(part) for part in (answers, covariates, targets))
    scaling = Scaling.of(y, x, LIKELIHOODS[likelihood])
    data = scaling.data(h, x, y)
    return first_state(data, scaling, "linear", likelihood, (1.0, 9.0), **options), data


def reduced(state: State, data: Data) -> tuple[list[State], list[Data]]:
    """The state and its data without each of three features."""
    kept = [[k for k in range(6) if k != out] for out in range(3)]
    return [state.with_columns(one) for one in kept], [data.with_answers(data.answers[:, one]) for one in kept]


def alone(monkeypatch: pytest.MonkeyPatch, states: list[State], data: list[Data]) -> list[float]:
    """The bounds of refits by the engines."""
    with monkeypatch.context() as patch:
        patch.setattr(coordinate, "fitted_together", lambda *_: False)
        return [bound.total for bound in refit_all(states, data, STEPS)]


@pytest.mark.parametrize(("calibration", "shrinkage"), [(5.0, True), (0.0, True), (5.0, False), (0.0, False)])
def test_lanes_find_what_each_state_finds_alone(calibration: float, shrinkage: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with isolated(0):
        states, data = reduced(*problem(calibration=calibration, shrinkage=shrinkage))
        others = [state.copy() for state in states]
        assert side_by_side.fitted_together([state.copy() for state in states], data, 1)
        bounds = [bound.total for bound in refit_all(states, data, STEPS)]
        assert bounds == pytest.approx(alone(monkeypatch, others, data), abs=1e-8)
        assert len({round(bound, 3) for bound in bounds}) == 3
        for one, other in zip(states, others, strict=True):
            torch.testing.assert_close(one.posterior, other.posterior, rtol=0, atol=1e-9)
            torch.testing.assert_close(one.error_rates, other.error_rates, rtol=0, atol=1e-9)
            parameters = dict(other.model.state_dict())
            for name, value in one.model.state_dict().items():
                torch.testing.assert_close(value, parameters[name], rtol=1e-9, atol=1e-9)
            if shrinkage:
                torch.testing.assert_close(one.coefficient_covariance, other.coefficient_covariance, rtol=1e-9, atol=1e-12)


def test_what_lanes_do_not_hold_for_is_left_as_it_is() -> None:
    with isolated(0):
        for state, data in (
            problem("student_t"),
            problem("isotropic"),
            problem(missing_target=True),
            problem(asymmetric=True, calibration=5.0),
        ):
            before = state.posterior.clone()
            assert not side_by_side.fitted_together([state], [data], 2)
            assert torch.equal(state.posterior, before)
        (state, data), (other, elsewhere) = problem(), problem()
        assert not side_by_side.fitted_together([state, other], [data, elsewhere], 2), "targets of their own"


def test_where_sums_lose_their_digits_the_engine_goes_item_by_item() -> None:
    with isolated(0):
        state, data = problem()
        far = data.with_targets(data.targets + 1000.0)
        before = state.posterior.clone()
        assert not side_by_side.fitted_together([state], [far], 2)
        assert torch.equal(state.posterior, before)
