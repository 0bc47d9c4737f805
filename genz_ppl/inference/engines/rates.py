"""Error rates at a posterior: eq. 14 with its prior, of all answers together or of yes and no apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genz_ppl.inference.state import Data, State
from genz_ppl.models.features import most_probable_error_rate


def update_error_rates(state: State, data: Data) -> None:
    """Eq. 14 under the Beta prior, over the items that have an answer; without any answer a rate stays as it is.

    Of answers yes and no apart it is the same with each of them; then what rates have in common is learned.
    """
    state.error_rates = probable_rates(state, data, *data.counts(state.error_rates, state.posterior))
    state.model.features.learn_common(state.error_rates)


def probable_rates(state: State, data: Data, wrong: Tensor, answered: Tensor) -> Tensor:
    """The rates that are most probable at these `Data.counts`; of a feature without any answer as they are."""
    rates = state.error_rates
    updated = most_probable_error_rate(wrong, answered, state.model.features.prior)
    there = answered if data.answered.dim() == rates.dim() else data.answered.view(-1, 1)
    return torch.where(there > 0, updated, rates)


def clearly_better(together: float, apart: float, state: State, data: Data) -> bool:
    """Whether the bound of rates apart is higher than that of the same rates by more than the freedom that it takes.

    Half log T nats for the second rate of every feature, as by Schwarz's criterion, by the share that rates have in the bound.
    state: with rates apart.
    """
    price = 0.5 * len(state.error_rates) * math.log(max(1, len(data.targets)))
    return apart - together > state.model.share * price
