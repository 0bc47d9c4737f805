"""Varying effects: intercepts and slopes of groups, drawn towards what all items have in common (partial pooling).

y = f(z, x) + u_g + x v_g for an item of group g, with u_g ~ N(0, s_0^2) and v_gp ~ N(0, s_p^2): a small group keeps close to
all items, a large one goes its own way. The model knows them as covariates of their own, an indicator of each group and its
products with the covariates, whose weights have these priors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genz_ppl.errors import InputError

# The normal equations of so many effects are still solved in a moment.
MOST_EFFECTS = 600
# Where a spread starts, where it counts as none, and when it has stopped moving.
START_SPREAD, SMALLEST_SPREAD = 0.3, 1e-3
STEPS, TOLERANCE = 500, 1e-4
# Precision of the prior of what is not pooled: none to speak of.
FLAT = 1e-8


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


@torch.no_grad()
def effect_spread(covariates: Tensor, groups: Tensor, targets: Tensor) -> Tensor:
    """Standard deviations of the intercepts and slopes of groups, (1 + P,), that make y most probable without features.

    covariates: (T, P), groups: (T, G), targets: (T, D), NaN where missing; standardised, and so is the result. By EM for the
    mixed model with normal noise of one size for all targets; the effects of all targets have the same spreads.
    """
    n_covariates, n_groups = covariates.shape[1], groups.shape[1]
    ones = torch.ones(len(covariates), 1).to(covariates)
    design = torch.cat([ones, with_effects(covariates, groups)], dim=1)
    parts = [_sums(design, columns) for columns in _alike(targets)]
    spread = torch.full((1 + n_covariates,), START_SPREAD).to(covariates)
    noise = 1.0
    n_entries, n_targets = int((~torch.isnan(targets)).sum()), targets.shape[1]
    for _ in range(STEPS):
        precision = torch.cat([torch.zeros(1).to(spread), pooling_of(spread, n_groups)]).clamp(min=FLAT)
        second, error = torch.zeros(len(design.T)).to(spread), 0.0
        for normal, right, squares in parts:
            covariance = torch.linalg.inv(normal / noise + torch.diag(precision))
            mean = covariance @ right / noise
            second += (mean**2).sum(1) + right.shape[1] * covariance.diagonal()
            error += float(squares - 2 * (mean * right).sum() + (mean * (normal @ mean)).sum())
            error += right.shape[1] * float((covariance * normal).sum())
        effects = second[1 + n_covariates :] / n_targets
        slopes = effects[n_groups:].view(n_groups, n_covariates).mean(0)
        before, spread = spread, torch.cat([effects[:n_groups].mean().unsqueeze(0), slopes]).sqrt().clamp(min=SMALLEST_SPREAD)
        noise = max(error / n_entries, 1e-10)
        if bool(((spread - before).abs() < TOLERANCE).all()):
            break
    return spread


def _alike(targets: Tensor) -> list[Tensor]:
    """The targets in parts that miss the same entries."""
    if not bool(torch.isnan(targets).any()):
        return [targets]
    return [targets[:, d : d + 1] for d in range(targets.shape[1])]


def _sums(design: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    there = ~torch.isnan(targets).any(1)
    rows, y = design[there], targets[there]
    return rows.T @ rows, rows.T @ y, (y**2).sum()
