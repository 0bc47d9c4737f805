"""The `coordinate` strategy: eq. 11 as a fixed point, with closed-form or gradient M-steps in between."""

from __future__ import annotations

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.calibration import move_error_rates
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.closed_form import ClosedForm
from genz_ppl.inference.engines.rates import update_error_rates
from genz_ppl.inference.guided.through import ThroughProgram
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Bound, Data, State, bound_of


def coordinate(
    state: State,
    data: Data,
    steps: int,
    expectation: str = "auto",
    first: bool = True,
    joint_moves: bool = True,
) -> list[Bound]:
    """Fit `state` in place by alternating E- and M-steps; returns the bound after every step.

    With exact expectations no step lowers the bound's total.
    """
    bounds: list[Bound] = []
    engine = engine_for(state.model, data, expectation, first, joint_moves)
    with one_thread(engine.short):
        engine.maximise(state)
        for _ in range(steps):
            em_step(state, data, engine)
            bounds.append(measured(state, data, engine))
    return bounds


def refit(state: State, data: Data, steps: int, expectation: str = "auto") -> Bound:
    """Fit `state` in place from where it stands and return the bound at the end only."""
    engine = engine_for(state.model, data, expectation, first=False)
    with one_thread(engine.short):
        engine.maximise(state)
        for _ in range(steps):
            em_step(state, data, engine)
        return measured(state, data, engine)


def measured(state: State, data: Data, engine: Engine) -> Bound:
    """The bound where a state stands."""
    return bound_of(state, data, engine.observation(state), engine.marginal(state))


def em_step(state: State, data: Data, engine: Engine) -> None:
    """One E-step and one M-step, in place."""
    engine.sweep(state)
    engine.maximise(state)
    if not state.model.shortcuts:
        ThroughProgram(data).error_rates(state)
    elif isinstance(engine, ClosedForm) and state.model.calibration > 0:
        move_error_rates(state, data, engine)
    else:
        update_error_rates(state, data)
