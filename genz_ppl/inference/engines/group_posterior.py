"""The posterior of group effects: Gaussian, q(a_g) = N(m_g, S_g) for a_g = [u_g, v_g], beside points for all other parameters.

The means are the link's weights of the effects' columns, from the same normal equations as the other weights; this module adds
what is uncertain around them. In the bound, E_q log p(y | z, a) loses x' S_g x / 2 over the noise for each item, x = [1, x], and
there are the terms E_q log p(a) + entropy of q(a). Left out, small groups would pass for known and the noise for smaller than it
is, and questions would seem to gain what chance brings. The spreads of the prior maximise the same bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.models import LinearLink
from genz_ppl.models.effects import SMALLEST_SPREAD, pooling_of


@torch.no_grad()
def effect_covariance(link: LinearLink, covariates: Tensor, precision: Tensor) -> Tensor:
    """S_g = (R + sum over the group's items of precision x x')^-1 for each target, (G, D, 1 + P, 1 + P).

    covariates: (T, n_covariates) of the model; precision: of the noise, (T, D), 0 where y is missing; R: the prior's.
    """
    own, groups = link.columns.parts(covariates)
    squares = (own.unsqueeze(2) * own.unsqueeze(1)).flatten(1)
    sums = [groups.T @ (column.unsqueeze(1) * squares) for column in precision.T]
    information = torch.stack(sums, dim=1).view(groups.shape[1], len(sums), own.shape[1], own.shape[1])
    covariance: Tensor = torch.linalg.inv(information + torch.diag(link.group_precision))
    return covariance


@torch.no_grad()
def effect_variance(link: LinearLink, covariates: Tensor, covariance: Tensor | None) -> Tensor:
    """x' S_g x, what the effects of its group leave open of an item's location, (T, D); the prior's for an unknown group.

    covariance: S_g, or None where the effects of known groups are points.
    """
    own, groups = link.columns.parts(covariates)
    unknown = (groups.sum(1) == 0).to(own)
    open_prior = (unknown * (own**2 @ (1 / link.group_precision))).unsqueeze(1)
    if covariance is None:
        return open_prior.expand(len(own), link.n_targets)
    squares = (own.unsqueeze(2) * own.unsqueeze(1)).flatten(1)
    columns = [((groups @ covariance[:, d].flatten(1)) * squares).sum(1) for d in range(covariance.shape[1])]
    return torch.stack(columns, dim=1) + open_prior


@torch.no_grad()
def effect_terms(link: LinearLink, covariance: Tensor) -> float:
    """-KL(q(a) || p(a)), without the part that `link.penalty` has: (log det S R - tr S R + 1 + P) / 2, summed."""
    scaled = covariance.diagonal(dim1=2, dim2=3) * link.group_precision
    log_det = torch.logdet(covariance) + torch.log(link.group_precision).sum()
    return 0.5 * float((log_det - scaled.sum(2) + scaled.shape[2]).sum())


@torch.no_grad()
def learn_spread(link: LinearLink, covariance: Tensor) -> None:
    """Give the prior the spreads that raise the bound most: s^2 = mean of m^2 + S over groups and targets."""
    second = link.group_effects().square().mean((0, 2)) + covariance.diagonal(dim1=2, dim2=3).mean((0, 1))
    link.pooling = pooling_of(second.sqrt().clamp(min=SMALLEST_SPREAD), len(covariance))
