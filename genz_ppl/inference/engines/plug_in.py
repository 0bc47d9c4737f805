"""Eq. 11 for any link and likelihood: the other features are plugged in at their mode or at a sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import ClassVar

import pyro
import torch
from torch import Tensor

from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.closed_form import ClosedForm
from genz_ppl.inference.engines.density import clamped_log_densities, flipped_log_densities, observation_log_density
from genz_ppl.inference.engines.descent import CONTINUED, raised
from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.guided.through import ThroughProgram
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State


class PlugIn(Engine):
    """E- and M-step that see q only through one assignment z of every item.

    mode: whether z is the mode of q (the paper's choice) or drawn from it. first: the first M-step of a fit trains for
    the link's own number of epochs; later ones go on from there for a twentieth of it.
    """

    exact: ClassVar[bool] = False
    short: ClassVar[bool] = False

    def __init__(self, data: Data, mode: bool = True, first: bool = True) -> None:
        self.data, self.mode, self.first = data, mode, first
        self._assignment: Tensor | None = None
        self._closed_form: ClosedForm | None = None

    @cached_property
    def doubled(self) -> Data:
        """All items twice over."""
        return self.data.repeated(2)

    def assignment(self, posterior: Tensor) -> Tensor:
        """z, (T, K) of 0 and 1: the mode of q, or one draw from it."""
        return (posterior > 0.5).to(posterior) if self.mode else torch.bernoulli(posterior)

    @torch.no_grad()
    def sweep(self, state: State) -> None:
        """One pass over the features; updates state.posterior in place."""
        state.model.eval()
        z, prior = self.assignment(state.posterior), torch.logit(state.prior(self.data.answers))
        with one_thread(), pyro.validation_enabled(False):
            logits = self._logits_of_modes(state, z)
            stale = torch.full((len(z),), not self.mode, device=z.device)
            for k in range(z.shape[1]):
                if bool(stale.any()):
                    logits[stale, k] = self._logit(state, z, k, stale)
                state.posterior[:, k] = torch.sigmoid(logits[:, k] + prior[:, k])
                updated = self.assignment(state.posterior[:, k])
                stale |= updated != z[:, k]
                z[:, k] = updated
        self._assignment = z

    def _logits_of_modes(self, state: State, z: Tensor) -> Tensor:
        """log p(y | z_k = 1) - log p(y | z_k = 0) of all features, (T, K), from all clamps at once.

        They hold for an item until one of its z changes, which modes seldom do; draws do, so that these are left open.
        """
        if not self.mode:
            return torch.empty_like(z)
        density, flipped = flipped_log_densities(state.model, z, state.error_rates, self.data)
        return (2 * z - 1) * (density.unsqueeze(1) - flipped.T)

    def _logit(self, state: State, z: Tensor, feature: int, some: Tensor) -> Tensor:
        """The same of one feature for some of the items, (T,) bool."""
        doubled = self.doubled if bool(some.all()) else self.data.items(some).repeated(2)
        yes, no = clamped_log_densities(state.model, z[some], feature, state.error_rates, doubled)
        return yes - no

    def maximise(self, state: State) -> None:
        """Eqs. 12 and 13 at z: closed form where there is one, gradient steps otherwise."""
        z = self.assignment(state.posterior) if self._assignment is None else self._assignment
        if state.model.has_closed_form:
            self._closed_form = self._closed_form or closed_form_for(state.model, self.data)
            at_z = State(state.model, state.error_rates, z)
            self._closed_form.maximise(at_z)
            state.group_covariance = at_z.group_covariance
            return
        train(state, z, self.data, 1.0 if self.first else CONTINUED)
        self.first = False
        with torch.no_grad():
            state.model.eval()
            likelihood = state.model.likelihood
            error = likelihood.comparable(self.data.targets) - likelihood.expected(state.model.link(z, self.data.covariates))
            likelihood.update(torch.nan_to_num(error) ** 2, self.data.observed)

    def error_rates(self, state: State) -> None:
        """See `Engine.error_rates`; without shortcuts through the program."""
        if state.model.shortcuts:
            super().error_rates(state)
        else:
            ThroughProgram(self.data).error_rates(state)

    @torch.no_grad()
    def observation(self, state: State) -> float:
        """log p(y | z) at z, summed over items."""
        z = self.assignment(state.posterior) if self._assignment is None else self._assignment
        self._assignment = None
        state.model.eval()
        return float(observation_log_density(state.model, z, state.error_rates, self.data).sum())


def train(state: State, z: Tensor, data: Data, share: float) -> None:
    """Gradient M-step, see `raised`: -log p(y | z, x) less the link's log prior falls."""
    model = state.model
    function = cache(model.link.function)  # made at the first call, when the link is in training

    def loss_of(chosen: Tensor) -> Callable[[], Tensor]:
        features, covariates, targets = z[chosen], data.covariates[chosen], data.targets[chosen]

        def loss() -> Tensor:
            return model.loss(function()(features, covariates), targets) - model.link.penalty() / data.targets.numel()

        return loss

    raised(model, len(z), loss_of, share, z.device)
