"""The `coordinate` strategy: eq. 11 as a fixed point, with closed-form or gradient M-steps in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.closed_form import ClosedForm, has_closed_form
from genz_ppl.inference.engines.plug_in import PlugIn
from genz_ppl.inference.engines.sums import is_linear_gaussian
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Bound, Data, State, bound_of
from genz_ppl.models import GenZ
from genz_ppl.models.features import most_probable_error_rate
from genz_ppl.settings import EXPECTATION_NAMES, check_choice


class Expectation(Protocol):
    """How expectations under q are taken. All three change or read one `State` on the same data."""

    def sweep(self, state: State) -> None:
        """E-step: eq. 11 for every feature in turn."""

    def maximise(self, state: State) -> None:
        """M-step for link and likelihood."""

    def observation(self, state: State) -> float:
        """The observation term of the bound, summed over items."""


def expectation_for(model: GenZ, data: Data, name: str = "auto", first: bool = True, joint_moves: bool = True) -> Expectation:
    """The named way to take expectations: exact (see `closed_form`), mode, sample, or auto (exact if it can be).

    first: False when the model's parameters are already fitted, so that gradient M-steps may be short.
    joint_moves: see `ClosedForm`.
    """
    check_choice("expectation", name, EXPECTATION_NAMES)
    closed_form = has_closed_form(model)
    if name == "exact" and not closed_form:
        raise OptionError(
            "expectation: 'exact' needs the linear or interaction link with a gaussian, isotropic, student_t or laplace "
            "likelihood; use 'mode' or 'sample'"
        )
    if name == "exact" or (name == "auto" and closed_form):
        return ClosedForm(data, joint_moves)
    return PlugIn(data, mode=name != "sample", first=first)


def coordinate(
    state: State,
    data: Data,
    steps: int,
    expectation: str = "auto",
    first: bool = True,
    joint_moves: bool = True,
    on_step: Callable[[int, Bound], None] | None = None,
) -> list[Bound]:
    """Fit `state` in place by alternating E- and M-steps; returns the bound after every step.

    With exact expectations no step lowers the bound's total.
    """
    bounds: list[Bound] = []
    with one_thread(_is_short(state.model, data)):
        method = expectation_for(state.model, data, expectation, first, joint_moves)
        method.maximise(state)
        for step in range(steps):
            em_step(state, data, method)
            bounds.append(bound_of(state, data, method.observation(state)))
            if on_step is not None:
                on_step(step, bounds[-1])
    return bounds


def refit(state: State, data: Data, steps: int, expectation: str = "auto") -> Bound:
    """Fit `state` in place from where it stands and return the bound at the end only."""
    with one_thread(_is_short(state.model, data)):
        method = expectation_for(state.model, data, expectation, first=False)
        method.maximise(state)
        for _ in range(steps):
            em_step(state, data, method)
        return bound_of(state, data, method.observation(state))


def _is_short(model: GenZ, data: Data) -> bool:
    """Whether steps take milliseconds: torch's threads, which wait for each other, then cost more than they bring."""
    return has_closed_form(model) and is_linear_gaussian(model, data)


def em_step(state: State, data: Data, method: Expectation) -> None:
    """One E-step and one M-step, in place."""
    method.sweep(state)
    method.maximise(state)
    update_error_rates(state, data)


def update_error_rates(state: State, data: Data) -> None:
    """Eq. 14 under the Beta prior, over the items that have an answer; without any answer a rate stays as it is."""
    wrong = data.wrong_answers(state.posterior)
    updated = most_probable_error_rate(wrong, data.answered, state.model.features.concentration)
    state.error_rates = torch.where(data.answered > 0, updated, state.error_rates)
