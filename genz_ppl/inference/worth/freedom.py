"""How far the prior leaves a feature's coefficients to the data."""

from __future__ import annotations

import torch

from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.state import Data, State


@torch.no_grad()
def freedoms(state: State, data: Data) -> list[list[float]] | None:
    """Shares in [0, 1] in which data and not the prior decide the coefficients of each feature, (K, ...); their sum counts them.

    None if no coefficient has a prior, or where the engine has no information: then all are 1. state: fitted. With N the
    left side of a target's normal equations and R the prior precisions of the M coefficients of feature k, these are the
    eigenvalues of I - R^1/2 (N^-1)_kk R^1/2: of one minus posterior over prior variance, all other coefficients unknown, too.

    Where the spread of a feature's weights is learned, its weights have one freedom together, whatever the number of targets:
    without an effect the best spread is at its limit 0 in half of all data sets, and twice the gain is chi-square with one
    degree of freedom in the others (at most: with few targets less).
    """
    link, roots = state.model.link, engine_for(state.model, data).coefficient_roots(state)
    if roots is None or (ridge := link.ridge()) is None:
        return None
    n_features, n_modifiers = state.posterior.shape[1], ridge.shape[1]
    if n_features == 0:
        return []
    spreads = [] if link.shrinkage is None else [torch.ones(n_features, 1).to(ridge)]
    first = len(spreads)  # products beside weights whose spread is learned
    shares = list(spreads)
    for root in roots if n_modifiers > first else ():
        scaled = root[:, first:] * ridge[:, first:].sqrt().unsqueeze(2)
        taken = torch.linalg.eigvalsh(scaled @ scaled.mT)
        shares.append((1 - taken).clamp(0.0, 1.0))
    plain: list[list[float]] = torch.cat(shares, dim=1).tolist()
    return plain
