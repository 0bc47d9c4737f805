"""What a fit says of groups that intercept and covariate weights vary by, in the user's units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class GroupEffects:
    """By how much groups differ from all items: in the value that the link has at the covariates' means, and in slopes.

    level, level_sd: (G, L); slopes, slopes_sd: (G, P, L). sd: of their posterior, NaN where effects are points.
    """

    level: FloatArray
    level_sd: FloatArray
    slopes: FloatArray
    slopes_sd: FloatArray


def group_effects(state: State, scaling: Scaling, fitted: Callable[[], FittedItems | None]) -> GroupEffects | None:
    """The effects of a fitted state; None where nothing varies by group.

    fitted: gives the items, which are asked for where noise has tails: there the bound's covariance, which the state holds, is
    that of Gaussians of known precision and too small (see `Engine.information`). None: it is taken all the same.
    """
    link = state.model.link
    if link.pooling is None:
        return None
    spread = scaling.spread_of(link.n_targets)
    variance = torch.full((scaling.n_groups, link.n_targets, 1 + link.columns.n_own), float("nan"), dtype=torch.float64)
    covariance = state.group_covariance
    if covariance is not None and getattr(state.model.likelihood, "robust", False) and (train := fitted()) is not None:
        covariance = engine_for(train.state.model, train.data).group_covariance(train.state)
    if covariance is not None:
        variance = covariance.diagonal(dim1=2, dim2=3)
    sd = variance.sqrt().transpose(1, 2) * spread
    per_covariate = scaling.covariate_spread[:, None]
    return GroupEffects(
        level=(link.group_effects().detach()[:, 0] * spread).numpy(),
        level_sd=sd[:, 0].numpy(),
        slopes=np.asarray(user_parameters(state, scaling)["group_effects"][:, 1:]),
        slopes_sd=(sd[:, 1:] / per_covariate).numpy(),
    )
