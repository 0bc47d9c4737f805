"""Least squares of targets on uncertain features, their products with covariates, and the covariates (eq. 29)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# From so many unknowns a Cholesky decomposition is tried first, and taken if no pivot of the matrix, its diagonal scaled to 1, is
# smaller than this: with 200 unknowns eigenvalues take ten times as long.
MANY, SMALLEST_PIVOT = 100, 1e-5


def least_squares(
    posterior: Tensor,
    modifiers: Tensor,
    covariates: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    covariance: Tensor | None = None,
    ridge: Tensor | None = None,
    pooling: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What minimises the expected weighted squared error of targets under independent z ~ Bernoulli(posterior).

    posterior: (T, K); modifiers: (T, M), feature k enters as z_k times each of them; covariates: (T, P); targets: (T, D),
    any number where missing; weights: (T, D), 0 where missing, or None for all equal; covariance: (T, K, K), of features
    that are not independent (or the variance of others, (T, K)); ridge: (K, M), what the square of each coefficient costs, on
    the scale of the weights, so with weights only; pooling: (P,), what the square of each covariate weight costs, on the scale of
    the weights, which are 1 if there are none.
    Returns coefficients (K, M, D), intercept (D,) and covariate weights (P, D).
    """
    pairs = normal_equations(posterior, modifiers, covariates, targets, weights, covariance, ridge, pooling)
    solution = torch.cat([solve_normal(normal, right) for normal, right in pairs], dim=1)
    n_features, n_modifiers = posterior.shape[1], modifiers.shape[1]
    size = n_features * n_modifiers
    return solution[:size].view(n_features, n_modifiers, targets.shape[1]), solution[size], solution[size + 1 :]


def normal_equations(
    posterior: Tensor,
    modifiers: Tensor,
    covariates: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    covariance: Tensor | None = None,
    ridge: Tensor | None = None,
    pooling: Tensor | None = None,
    certain: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sides of the normal equations of `least_squares`: (N, N) and (N, D), with N = K M + 1 + P.

    One pair for all targets, or with weights one for each. certain: the features are numbers and not probabilities.
    """
    products = (posterior.unsqueeze(2) * modifiers.unsqueeze(1)).flatten(1)
    ones = torch.ones(len(posterior), 1, dtype=posterior.dtype, device=posterior.device)
    design = torch.cat([products, ones, covariates], dim=1)
    variance = posterior * (0 if certain else 1 - posterior) if covariance is None else covariance
    if weights is None:
        yield _normal(design, variance, modifiers, None, pooling), design.T @ targets
        return
    for target, column in enumerate(weights.T):
        there = column > 0
        root = column[there].sqrt().unsqueeze(1)
        left, right = design[there] * root, targets[there, target : target + 1] * root
        yield _normal(left, variance[there], modifiers[there] * root, ridge, pooling), left.T @ right


def solve_normal(normal: Tensor, right: Tensor) -> Tensor:
    """The shortest solution of normal @ solution = right; (N, N) positive semi-definite, (N, D). 0 where a diagonal entry is."""
    if len(normal) >= MANY:
        size = _sizes(normal)
        lower, failed = torch.linalg.cholesky_ex(normal / size[:, None] / size)
        if not bool(failed) and float(lower.diagonal().min()) > SMALLEST_PIVOT:
            return torch.cholesky_solve(right / size[:, None], lower) / size[:, None]
    root = root_of_inverse(normal)
    solution: Tensor = root @ (root.T @ right)
    return solution


def solve_each(normals: Tensor, rights: Tensor) -> Tensor:
    """`solve_normal` of every target's own equations: normals (D, N, N), rights (D, N). Returns (N, D)."""
    size = normals.diagonal(dim1=1, dim2=2).sqrt()
    size = torch.where(size > 0, size, 1.0)
    lower, failed = torch.linalg.cholesky_ex(normals / size.unsqueeze(1) / size.unsqueeze(2))
    safe = (failed == 0) & (lower.diagonal(dim1=1, dim2=2).amin(1) > SMALLEST_PIVOT)
    if bool(safe.all()):
        solved: Tensor = torch.cholesky_solve((rights / size).unsqueeze(2), lower).squeeze(2) / size
        return solved.T
    columns = [solve_normal(normal, right.unsqueeze(1)) for normal, right in zip(normals, rights, strict=True)]
    return torch.cat(columns, dim=1)


def root_of_inverse(normal: Tensor) -> Tensor:
    """R, (N, N), with R R' the pseudo-inverse of a positive semi-definite matrix."""
    # Scaling to a unit diagonal makes the tolerance of the pseudo-inverse mean the same for every column.
    size = _sizes(normal)
    values, vectors = torch.linalg.eigh(normal / size[:, None] / size)
    inverse = torch.where(values > 1e-11 * values[-1], 1 / values, torch.zeros_like(values))
    root: Tensor = vectors * inverse.sqrt() / size[:, None]
    return root


def _sizes(normal: Tensor) -> Tensor:
    size = normal.diagonal().sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))  # a feature that no item has: its coefficient becomes 0


def _normal(design: Tensor, variance: Tensor, modifiers: Tensor, ridge: Tensor | None, pooling: Tensor | None) -> Tensor:
    """Left side of the normal equations, (K M + 1 + P,) * 2, of uncertain features."""
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
        normal.diagonal()[: n_features * n_modifiers] += ridge.flatten()
    if pooling is not None:
        normal.diagonal()[n_features * n_modifiers + 1 :] += pooling
    return normal
