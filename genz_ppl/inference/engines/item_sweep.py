"""Eq. 27 for a block of items, whatever their effects and precisions are."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.moves import escape, settle

# Up to this many targets an item's own K x K matrix is cheap to make where its precisions are its own.
FEW_TARGETS = 4


def effects_of(coefficients: Tensor, modifiers: Tensor) -> Tensor:
    """Effect of each feature: (K, D) if it is the same for all items, else (B, K, D)."""
    if coefficients.shape[1] == 1:
        return coefficients[:, 0]
    return torch.einsum("bm,kmd->bkd", modifiers, coefficients)


def sweep_items(
    q: Tensor, prior: Tensor, residual: Tensor, effects: Tensor, precision: Tensor, moves: bool, uncertain: Tensor | None
) -> Tensor:
    """One pass over the features of a block; q, prior: (B, K); residual: (B, D); effects: (K, D) or (B, K, D).

    precision: (D,) or (B, D); uncertain: what coefficients that are not known add to W Sigma^-1 W', (K, K) or (B, K, K).
    Works on y W' Sigma^-1 and W Sigma^-1 W', so that no update touches the D target columns;
    where that matrix is an item's own and D is large, on the errors themselves.
    """
    shared = effects.dim() == 2 and precision.dim() == 1
    if not shared and residual.shape[1] > FEW_TARGETS:
        return _sweep_errors(q, prior, residual, effects, precision, uncertain)
    field, gram = quadratic(prior, residual, effects, precision, uncertain)
    columns = settle(q.T.contiguous(), field, gram, sweeps=1)
    return escape(columns, field, gram).T if moves else columns.T


def quadratic(
    prior: Tensor, residual: Tensor, effects: Tensor, precision: Tensor, uncertain: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Field, (K, B), and gram, (K, K) or (K, K, B), as `moves` has them."""
    shared = effects.dim() == 2 and precision.dim() == 1
    if shared:
        precise = effects * precision
        gram = precise @ effects.T
        pull = residual @ precise.T
        field = pull + prior - 0.5 * gram.diagonal()
    else:
        precise = effects * precision.unsqueeze(-2)
        gram = torch.einsum("bkd,jd->kjb" if effects.dim() == 2 else "bkd,bjd->kjb", precise, effects)
        pull = torch.einsum("bkd,bd->bk", precise, residual)
        field = pull + prior - 0.5 * gram.diagonal()
    if uncertain is not None:
        # Half of u' U u, u = z - 1/2: a feature pulls at the others only.
        field = field + 0.5 * (uncertain.sum(-1) - uncertain.diagonal(dim1=-2, dim2=-1))
        gram = gram + (uncertain if shared else uncertain.expand(len(prior), -1, -1).permute(1, 2, 0))
    return field.T.contiguous(), gram


def _sweep_errors(
    q: Tensor, prior: Tensor, residual: Tensor, effects: Tensor, precision: Tensor, uncertain: Tensor | None
) -> Tensor:
    q = q.clone()
    error = residual - (q @ effects if effects.dim() == 2 else torch.einsum("bk,bkd->bd", q, effects))
    precision = precision.expand_as(error)
    for k in range(q.shape[1]):
        effect = effects[..., k, :].expand_as(error)
        strength = (precision * effect**2).sum(1)
        pull = (error * precision * effect).sum(1) + q[:, k] * strength
        logit = prior[:, k] + pull - 0.5 * strength
        if uncertain is not None:
            own = uncertain[:, k]
            logit = logit - (own * (q - 0.5)).sum(1) + own[:, k] * (q[:, k] - 0.5)
        updated = torch.sigmoid(logit)
        error -= (updated - q[:, k])[:, None] * effect
        q[:, k] = updated
    return q
