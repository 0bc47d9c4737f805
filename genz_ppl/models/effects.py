"""Effects of groups: intercepts and slopes that vary, drawn towards what all items have in common (partial pooling).

y = f(z, x) + u_g + x v_g for an item of group g. The Pyro program has a_g = [u_g, v_g] as the rows of one site "group_effects",
(G, 1 + P, D), with u_g ~ N(0, s_0^2) and v_gp ~ N(0, s_p^2): a small group keeps close to all items, a large one goes its own
way. A link holds them as weights of covariates of their own, an indicator of each group and its products with the covariates,
so that they are found together with its other weights. How these columns lie is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.errors import InputError

# The normal equations of so many effects are still solved in a moment.
MOST_EFFECTS = 600
# Where a spread counts as none.
SMALLEST_SPREAD = 1e-3


def levels_of(labels: Sequence[str], n_covariates: int, what: str = "varying") -> tuple[str, ...]:
    """The groups among the labels, sorted. what: names the labels.

    Raises InputError for one group alone, for groups of one item each, which cannot be told from noise, and for too many.
    """
    levels = tuple(sorted(set(labels)))
    n_effects = len(levels) * (1 + n_covariates)
    if len(levels) < 2:
        raise InputError(f"{what}: all training items have the value {levels[0]!r}; nothing can vary by it, leave it out")
    if len(levels) == len(labels):
        raise InputError(
            f"{what}: the {len(labels)} training items have as many different values, so that groups cannot be told from noise; "
            "name a column whose values repeat, or leave it out"
        )
    if n_effects > MOST_EFFECTS:
        plural = "" if n_covariates == 1 else "s"
        slopes = f", each with an intercept and {n_covariates} slope{plural}," if n_covariates else ""
        raise InputError(
            f"{what}: {len(levels)} different values{slopes} make {n_effects} effects, more than {MOST_EFFECTS}: "
            "merge the rare values into one"
        )
    return levels


def indicators(labels: Sequence[str], levels: Sequence[str]) -> Tensor:
    """(T, G): 1 where the item is of the group. An item of a group not among the levels has none: it is like all items."""
    place = {level: position for position, level in enumerate(levels)}
    values = torch.zeros(len(labels), len(levels), dtype=torch.float64)
    for row, label in enumerate(labels):
        if label in place:
            values[row, place[label]] = 1.0
    return values


def with_effects(covariates: Tensor, groups: Tensor) -> Tensor:
    """Columns [x, indicators, products of each group's indicator with x], (T, P + G + G P), of (T, P) and (T, G)."""
    products = groups.unsqueeze(2) * covariates.unsqueeze(1)
    return torch.cat([covariates, groups, products.flatten(1)], dim=1)


def pooling_of(spread: Tensor, n_groups: int) -> Tensor:
    """Prior precision of the weights of `with_effects`' columns, (P + G + G P,), 0 for x itself. spread: (1 + P,), [s_0, s]."""
    precision = spread.clamp(min=SMALLEST_SPREAD) ** -2
    own = torch.zeros(len(spread) - 1).to(precision)
    return torch.cat([own, precision[:1].expand(n_groups), precision[1:].repeat(n_groups)])


@dataclass(frozen=True)
class Columns:
    """How the columns of `with_effects` lie. n_own: P, the covariates themselves; n_groups: G."""

    n_own: int
    n_groups: int

    @classmethod
    def of(cls, n_covariates: int, pooling: Tensor | None) -> Columns:
        """From `pooling_of`; None where nothing varies by group."""
        n_own = n_covariates if pooling is None else int((pooling == 0).sum())
        return cls(n_own, (n_covariates - n_own) // (1 + n_own))

    def effects(self, weights: Tensor) -> Tensor:
        """The rows a_g, (G, 1 + P, D), among the weights of all columns, (P + G + G P, D)."""
        start = self.n_own + self.n_groups
        slopes = weights[start:].view(self.n_groups, self.n_own, weights.shape[1])
        return torch.cat([weights[self.n_own : start].unsqueeze(1), slopes], dim=1)

    def weights(self, own: Tensor, effects: Tensor) -> Tensor:
        """The reverse, with the weights of the covariates themselves, (P, D)."""
        return torch.cat([own, effects[:, 0], effects[:, 1:].flatten(0, 1)])

    def precision(self, pooling: Tensor) -> Tensor:
        """The prior's precision of intercepts and slopes, (1 + P,), from `pooling_of`."""
        start = self.n_own + self.n_groups
        return torch.cat([pooling[self.n_own : self.n_own + 1], pooling[start : start + self.n_own]])

    def parts(self, covariates: Tensor) -> tuple[Tensor, Tensor]:
        """[1, x], (T, 1 + P), and the indicators of groups, (T, G), of the columns."""
        x = covariates[:, : self.n_own]
        groups = covariates[:, self.n_own : self.n_own + self.n_groups]
        return torch.cat([torch.ones(len(x), 1).to(x), x], dim=1), groups


def effects_in_units(effects: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """What is added to intercept and slopes in each group, (G, 1 + P, D), from the same for standardised covariates."""
    slopes = effects[:, 1:] / width[:, None]
    intercepts = effects[:, 0] - torch.einsum("p,gpd->gd", centre, slopes)
    return torch.cat([intercepts.unsqueeze(1), slopes], dim=1)
