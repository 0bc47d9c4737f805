"""What a model is given besides answers: the covariates of items, and the groups that their effects vary by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genz_ppl.data import Items
from genz_ppl.errors import InputError
from genz_ppl.models.effects import indicators


def covariates_of(items: Items, levels: Sequence[str]) -> Tensor:
    """Covariates in the user's units, (T, P), and with levels the indicators of those groups, (T, P + G).

    Raises InputError where levels are given and the items have no labels to vary by.
    """
    covariates = torch.tensor(items.covariates)
    if not levels:
        return covariates
    if items.varying_labels is None:
        raise InputError(f"{items.name}: expected the column that effects vary by, as in the run; name it with varying=")
    return torch.cat([covariates, indicators(items.varying_labels, levels)], dim=1)
