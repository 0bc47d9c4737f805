"""The `coordinate` strategy: eq. 11 as a fixed point, with closed-form or gradient M-steps in between."""

from __future__ import annotations

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Bound, Data, State, bound_of


def coordinate(
    state: State,
    data: Data,
    steps: int,
    expectation: str = "auto",
    first: bool = True,
    joint_moves: bool = True,
    combinations: float = 0.0,
) -> list[Bound]:
    """Fit `state` in place by alternating E- and M-steps; returns the bound after every step. combinations: see `engine_for`.

    With exact expectations no step lowers the bound's total.
    """
    bounds: list[Bound] = []
    engine = engine_for(state.model, data, expectation, first, joint_moves, combinations)
    with one_thread(engine.short):
        engine.maximise(state)
        for _ in range(steps):
            em_step(state, engine)
            bounds.append(measured(state, engine))
    return bounds


def refit(state: State, data: Data, steps: int, expectation: str = "auto", combinations: float = 0.0) -> Bound:
    """Fit `state` in place from where it stands and return the bound at the end only. combinations: see `engine_for`."""
    engine = engine_for(state.model, data, expectation, first=False, combinations=combinations)
    with one_thread(engine.short):
        engine.maximise(state)
        for _ in range(steps):
            em_step(state, engine)
        return measured(state, engine)


def measured(state: State, engine: Engine) -> Bound:
    """The bound where a state stands."""
    return bound_of(state, engine.data, engine.observation(state), engine.marginal(state), engine.entropy(state))


def em_step(state: State, engine: Engine) -> None:
    """One E-step and one M-step, in place."""
    engine.sweep(state)
    engine.maximise(state)
    engine.error_rates(state)
