"""The posterior of the features' coefficients under a normal prior whose spreads are learned, one a feature.

W_kd ~ N(0, s_k^2) for all targets d, and s_k^2 scaled inverse chi-square around a spread s_0^2 that all features have in common,
as strong as four coefficients: with one target a single coefficient says little of its spread. q(W_d) = N(w_d, S_d), beside
points for what an item has halfway between yes and no (an intercept) and for covariate weights, so that a question and its
opposite are the same feature. In the bound, E_q log p(y | z, W) loses u' S_d u / 2 over the noise, u = z - 1/2, and there are
the terms E_q log p(W) + entropy of q(W) and the log prior of the spreads. All of it is closed form; no step lowers the bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.models import LinearLink

# The strength of the prior of spreads, in coefficients, and the smallest spread.
STRENGTH, SMALLEST_SPREAD = 4.0, 1e-4


@torch.no_grad()
def coefficient_covariance(link: LinearLink, normals: Tensor) -> Tensor:
    """S_d, the inverse of the block of u = z - 1/2 of each target's normal equations, (D, N, N): (D, K M, K M)."""
    block = centred(normals, *link.coefficients().shape[:2])
    scale = block.diagonal(dim1=1, dim2=2).rsqrt()
    lower = torch.linalg.cholesky(block * scale.unsqueeze(1) * scale.unsqueeze(2))
    covariance: Tensor = torch.cholesky_inverse(lower) * scale.unsqueeze(1) * scale.unsqueeze(2)
    return covariance


def centred(normal: Tensor, n_features: int, n_modifiers: int = 1) -> Tensor:
    """The block of u = z - 1/2, (..., K M, K M), of sums of squares and products of [z and its products, 1, x], (..., N, N)."""
    size = n_features * n_modifiers
    if size == 0:
        return normal[..., :0, :0]
    crossed, known = (
        normal[..., :size, size : size + n_modifiers],
        normal[..., size : size + n_modifiers, size : size + n_modifiers],
    )
    if n_modifiers > 1:  # one column goes with all features
        crossed = torch.cat([crossed] * n_features, dim=-1)
        known = torch.cat([torch.cat([known] * n_features, dim=-1)] * n_features, dim=-2)
    return normal[..., :size, :size] - 0.5 * (crossed + crossed.mT) + 0.25 * known


@torch.no_grad()
def coefficient_terms(link: LinearLink, covariance: Tensor) -> float:
    """-KL(q(W) || p(W)), without the part that `link.penalty` has, and the log prior of the spreads relative to its mode."""
    prior = link.ridge()
    assert prior is not None
    assert link.shrinkage is not None
    root = prior.flatten().sqrt()
    scaled = covariance * root.unsqueeze(1) * root
    log_det = 2 * torch.linalg.cholesky_ex(scaled).L.diagonal(dim1=1, dim2=2).log().sum(1)
    terms = 0.5 * float((log_det - scaled.diagonal(dim1=1, dim2=2).sum(1) + len(root)).sum())
    ratio = link.shrinkage / common_precision(link)
    return terms + 0.5 * STRENGTH * float((torch.log(ratio) + 1 - ratio).sum())


@torch.no_grad()
def learn_shrinkage(link: LinearLink, covariance: Tensor) -> None:
    """Give the prior the spreads that raise the bound most: the common one, then s^2 = mean of w^2 + S, drawn towards it."""
    assert link.shrinkage is not None
    common = 1 / common_precision(link)
    weights = link.coefficients()[:, 0]
    variance = covariance.diagonal(dim1=1, dim2=2).view(len(covariance), *link.coefficients().shape[:2])[:, :, 0]
    total = weights.square().sum(1) + variance.sum(0) + STRENGTH * common
    link.shrinkage = ((STRENGTH + weights.shape[1]) / total).clamp(max=SMALLEST_SPREAD**-2)


def common_precision(link: LinearLink) -> Tensor:
    """1 / s_0^2, at which the log prior of the spreads is highest: the mean of the features' precisions."""
    assert link.shrinkage is not None
    return link.shrinkage.mean() if len(link.shrinkage) else torch.ones((), dtype=torch.float64)


def spread_of_location(means: Tensor, variance: Tensor | None, modifiers: Tensor, covariance: Tensor) -> Tensor:
    """E u' S_d u of every item, u = z - 1/2, (T, D): what uncertain coefficients add to squared errors.

    means: (T, K), E z; variance: (T, K), of independent z, (T, K, K) of others, or None for none; modifiers: (T, M); covariance:
    (D, K M, K M).
    """
    n_modifiers = modifiers.shape[1]
    design = ((means - 0.5).unsqueeze(2) * modifiers.unsqueeze(1)).flatten(1)
    columns = []
    for one in covariance:
        spread = ((design @ one) * design).sum(1)
        if variance is not None and variance.dim() == 3:
            full = one.view(means.shape[1], n_modifiers, means.shape[1], n_modifiers)
            spread = spread + torch.einsum("tm,imjn,tn,tij->t", modifiers, full, modifiers, variance)
        elif variance is not None:
            blocks = one.view(means.shape[1], n_modifiers, means.shape[1], n_modifiers).diagonal(dim1=0, dim2=2)
            own = torch.einsum("tm,mnk,tn->tk", modifiers, blocks, modifiers)
            spread = spread + (variance * own).sum(1)
        columns.append(spread)
    return torch.stack(columns, dim=1)


def gram_of_coefficients(precision: Tensor, modifiers: Tensor, covariance: Tensor) -> Tensor:
    """Sum over targets of precision S_d, as features of an item see it, (B, K, K); precision: (B, D), modifiers: (B, M)."""
    n_targets, n_modifiers = len(covariance), modifiers.shape[1]
    size = covariance.shape[1] // n_modifiers
    blocks = covariance.view(n_targets, size, n_modifiers, size, n_modifiers)
    total = precision.new_zeros(len(precision), size * size)
    for m, one in enumerate(modifiers.T):
        for n, other in enumerate(modifiers.T):
            total.addmm_(precision * (one * other).unsqueeze(1), blocks[:, :, m, :, n].reshape(n_targets, -1))
    return total.view(len(total), size, size)
