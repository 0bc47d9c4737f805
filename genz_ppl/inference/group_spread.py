"""By how much groups differ before anything else is known: the spreads of their effects, from the targets alone."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.models.effects import SMALLEST_SPREAD, pooling_of, with_effects

# Where a spread starts, and when it has stopped moving.
START_SPREAD = 0.3
STEPS, TOLERANCE = 500, 1e-4
# Precision of the prior of what is not pooled: none to speak of.
FLAT = 1e-8


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
