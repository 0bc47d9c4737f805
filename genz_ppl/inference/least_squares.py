"""Least squares of targets on uncertain features, their products with covariates, and the covariates (eq. 29)."""

from __future__ import annotations

import torch
from torch import Tensor


def least_squares(
    posterior: Tensor,
    modifiers: Tensor,
    covariates: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    covariance: Tensor | None = None,
    ridge: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What minimises the expected weighted squared error of targets under independent z ~ Bernoulli(posterior).

    posterior: (T, K); modifiers: (T, M), feature k enters as z_k times each of them; covariates: (T, P); targets: (T, D),
    any number where missing; weights: (T, D), 0 where missing, or None for all equal; covariance: (T, K, K), of features
    that are not independent; ridge: (M,), what the square of each coefficient costs, on the scale of the weights, so with
    weights only.
    Returns coefficients (K, M, D), intercept (D,) and covariate weights (P, D).
    """
    n_features, n_modifiers = posterior.shape[1], modifiers.shape[1]
    products = (posterior.unsqueeze(2) * modifiers.unsqueeze(1)).flatten(1)
    ones = torch.ones(len(posterior), 1, dtype=posterior.dtype, device=posterior.device)
    design = torch.cat([products, ones, covariates], dim=1)
    variance = posterior * (1 - posterior) if covariance is None else covariance
    if weights is None:
        solution = _solve(design, variance, modifiers, targets)
    else:
        columns = []
        for target, column in enumerate(weights.T):
            there = column > 0
            root = column[there].sqrt().unsqueeze(1)
            weighted = targets[there, target : target + 1] * root
            columns.append(_solve(design[there] * root, variance[there], modifiers[there] * root, weighted, ridge))
        solution = torch.cat(columns, dim=1)
    size = n_features * n_modifiers
    return solution[:size].view(n_features, n_modifiers, targets.shape[1]), solution[size], solution[size + 1 :]


def _solve(design: Tensor, variance: Tensor, modifiers: Tensor, targets: Tensor, ridge: Tensor | None = None) -> Tensor:
    normal = design.T @ design
    n_features, n_modifiers = variance.shape[1], modifiers.shape[1]
    if variance.dim() == 3:
        wide = n_features * n_modifiers
        products = torch.einsum("tm,tn->tmn", modifiers, modifiers).flatten(1)
        blocks = (variance.flatten(1).T @ products).view(n_features, n_features, n_modifiers, n_modifiers)
        normal[:wide, :wide] += blocks.transpose(1, 2).reshape(wide, wide)
    elif n_modifiers == 1:
        normal.diagonal()[:n_features] += variance.T @ modifiers[:, 0] ** 2
    else:
        # The variance of z_k counts in the whole block of products of z_k.
        blocks = torch.einsum("tk,tm,tn->kmn", variance, modifiers, modifiers)
        for k, block in enumerate(blocks):
            rows = slice(k * n_modifiers, (k + 1) * n_modifiers)
            normal[rows, rows] += block
    if ridge is not None:
        normal.diagonal()[: n_features * n_modifiers] += ridge.repeat(n_features)
    # Scaling to a unit diagonal makes the tolerance of the pseudo-inverse mean the same for every column.
    size = normal.diagonal().sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))  # a feature that no item has: its coefficient becomes 0
    scaled = normal / size[:, None] / size
    values, vectors = torch.linalg.eigh(scaled)
    inverse = torch.where(values > 1e-11 * values[-1], 1 / values, torch.zeros_like(values))
    solution: Tensor = (vectors * inverse) @ (vectors.T @ (design.T @ targets / size[:, None])) / size[:, None]
    return solution
