"""q(y) of a side's items: independent normals, which points are the limit of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Directions with a smaller share of the largest singular value are rounding errors.
SMALLEST_SINGULAR = 1e-7


@dataclass(frozen=True)
class Embedding:
    """Posterior of the embeddings of N items: mean and sd, (N, E) each; the first entry is the item's bias."""

    mean: Tensor
    sd: Tensor

    def entropy(self) -> float:
        """Summed over items and entries."""
        return float((0.5 * math.log(2 * math.pi * math.e) + self.sd.log()).sum())

    def take(self, positions: Tensor) -> Embedding:
        """Those of some items."""
        return Embedding(self.mean[positions], self.sd[positions])

    def rotated(self, by: Tensor) -> Embedding:
        """Coordinates y -> y A, A (D, D); biases stay. Of the covariance the diagonal is kept.

        A column of zeros leaves a coordinate that says nothing: mean 0, with the spread that coordinates have on average.
        """
        mean = torch.cat([self.mean[:, :1], self.mean[:, 1:] @ by], 1)
        variance = self.sd[:, 1:] ** 2 @ by**2
        empty = (by == 0).all(0)
        if bool(empty.any()):
            variance[:, empty] = (self.sd[:, 1:] ** 2).mean(1, keepdim=True)
        return Embedding(mean, torch.cat([self.sd[:, :1], variance.sqrt()], 1))


def location_moments(rows: Embedding, columns: Embedding) -> tuple[Tensor, Tensor]:
    """Mean and variance of b + c + y1'y2 of pairs, (R,) each, for independent normals; rows and columns are aligned."""
    first, second = rows.mean[:, 1:], columns.mean[:, 1:]
    spread, other = rows.sd[:, 1:] ** 2, columns.sd[:, 1:] ** 2
    mean = rows.mean[:, 0] + columns.mean[:, 0] + (first * second).sum(1)
    variance = rows.sd[:, 0] ** 2 + columns.sd[:, 0] ** 2 + (first**2 * other + second**2 * spread + spread * other).sum(1)
    return mean, variance


def balanced(rows: Embedding, columns: Embedding, alpha: float = 0.5) -> tuple[Embedding, Embedding]:
    """The same products y1'y2, rotated and scaled as eq. 36: Y1 = U S^alpha, Y2 = V S^(1 - alpha), with X = U S V'.

    Signs as in `item_embeddings`: in each coordinate of the rows the entry of largest magnitude is positive.
    """
    left, right = rows.mean[:, 1:], columns.mean[:, 1:]
    dimensions = left.shape[1]
    if dimensions == 0 or not bool(left.any()) or not bool(right.any()):
        return rows, columns
    # X = Y1 Y2' = Q1 (R1 R2') Q2': a decomposition of D x D numbers.
    _, first = torch.linalg.qr(_tall(left))
    _, second = torch.linalg.qr(_tall(right))
    u, s, vh = torch.linalg.svd(first @ second.T)
    there = s > SMALLEST_SINGULAR * s[0]
    s = torch.where(there, s, torch.ones_like(s))
    # Y1 A = Q1 U S^alpha, so A = R1^-1 U S^alpha, which is R2' V S^(alpha - 1) and needs no inverse.
    by = second.T @ vh.T * s ** (alpha - 1) * there
    other = first.T @ u * s**-alpha * there
    turned = left @ by
    signs = torch.where(turned.gather(0, turned.abs().argmax(0, keepdim=True))[0] < 0, -1.0, 1.0).to(turned)
    return rows.rotated(by * signs), columns.rotated(other * signs)


def _tall(matrix: Tensor) -> Tensor:
    """At least as many rows as columns, with rows of zeros."""
    missing = max(0, matrix.shape[1] - len(matrix))
    return torch.cat([matrix, matrix.new_zeros(missing, matrix.shape[1])])
