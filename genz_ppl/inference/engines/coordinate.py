"""The `coordinate` strategy: eq. 11 as a fixed point, with closed-form or gradient M-steps in between."""

from __future__ import annotations

from collections.abc import Sequence

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.side_by_side import fitted_together
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
    return refit_all([state], [data], steps, expectation, combinations)[0]


def refit_all(
    states: Sequence[State], data: Sequence[Data], steps: int, expectation: str = "auto", combinations: float = 0.0
) -> list[Bound]:
    """`refit` of several states, each to its own data; small ones that differ in answers alone take their steps together."""
    exact = expectation in ("auto", "exact") and not combinations
    together = exact and len(states) > 0 and fitted_together(states, data, steps)
    found = []
    for state, one in zip(states, data, strict=True):
        engine = engine_for(state.model, one, expectation, first=False, combinations=combinations)
        with one_thread(engine.short):
            if not together:
                engine.maximise(state)
                for _ in range(steps):
                    em_step(state, engine)
            found.append(measured(state, engine))
    return found


def measured(state: State, engine: Engine) -> Bound:
    """The bound where a state stands."""
    return bound_of(state, engine.data, engine.observation(state), engine.marginal(state), engine.entropy(state))


def em_step(state: State, engine: Engine) -> None:
    """One E-step and one M-step, in place."""
    engine.sweep(state)
    engine.maximise(state)
    engine.error_rates(state)
