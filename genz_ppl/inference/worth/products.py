"""Which products of answers, "this and that", "this and not that", would tell most of what a model misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.inference.worth.judge import missed

# Products that are tried with one factor more.
LONGER = 12
# A column of which the model leaves less than this share explains nothing of its own.
NEARLY_NOTHING = 1e-6


Factors = tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class Product:
    """factors: columns, each with whether it is its opposite that counts. gain: nats, by least squares."""

    factors: Factors
    gain: float


@torch.no_grad()
def best_products(
    state: State,
    data: Data,
    answers: Tensor,
    most: int,
    length: int,
    smallest_share: float,
    searched: Sequence[float] | None = None,
) -> list[Product]:
    """The products of up to `length` of these columns, (T, N), or their opposites, that explain most: so many, best first.

    Each is held against what the model misses as `quick_gains` does; all pairs at once, by one product of matrices for every
    column of the model and target. What a product adds to its factors side by side must be more than the best of all pairs would
    add by chance. smallest_share: of the items that must and must not have it. searched: how many questions each column was
    chosen from, (N,); a set of values that was picked from thousands fits by chance beside much else.
    """
    if length < 2 or answers.shape[1] < 2:
        return []
    filled = torch.where(torch.isnan(answers), torch.nanmean(answers, dim=0), answers)
    literals = torch.cat([filled, 1 - filled], dim=1)
    field = _Field.of(state, data)
    alone = field.gains(literals.new_ones(len(literals), 1), literals)[0]
    factors: list[Factors] = [((column % answers.shape[1], column >= answers.shape[1]),) for column in range(literals.shape[1])]
    found: list[Product] = []
    columns, before, names = literals, alone, factors
    pairs, n_values = literals.shape[1] ** 2 / 2, field.residual.shape[1]
    margin = chance_gain(pairs, n_values)
    for _ in range(length - 1):
        gains = field.gains(columns, literals, smallest_share)
        gains = torch.where(gains > torch.maximum(before.unsqueeze(1), alone.unsqueeze(0)) + margin, gains, 0.0)
        best = _distinct(gains, names, factors, LONGER)
        for product in best:
            choices = 1.0 if searched is None else prod(searched[column] for column, _ in product.factors)
            beside = field.gain_together(_factors(product, literals))
            if product.gain > beside + chance_gain(pairs * choices, n_values):
                found.append(product)
        if not best:
            break
        columns = torch.stack([_factors(product, literals).prod(1) for product in best], dim=1)
        before, names = gains.new_tensor([product.gain for product in best]), [product.factors for product in best]
    return sorted(found, key=lambda product: (-round(product.gain, 6), len(product.factors)))[:most]


@dataclass(frozen=True)
class _Field:
    """basis: (T, B), orthonormal, of what the model has already; residual: (T, L), what is missed, without its part in there;
    size: (L,), the squares of all that is missed."""

    residual: Tensor
    size: Tensor
    basis: Tensor

    @classmethod
    def of(cls, state: State, data: Data) -> _Field:
        # By the answers alone: posteriors have moved towards y, so that what tells them from the answers seems to explain it, and
        # a rule of two parts that are in use would never be more than they are side by side.
        features = state.prior(data.answers)
        residual = torch.nan_to_num(missed(state, data, features))
        ones = torch.ones(len(residual), 1).to(residual)
        basis = torch.linalg.qr(torch.cat([ones, features, data.covariates], dim=1)).Q
        return cls(residual - basis @ (basis.T @ residual), residual.square().sum(0), basis)

    def gains(self, first: Tensor, second: Tensor, smallest_share: float = 0.0) -> Tensor:
        """Nats that each product of a column of `first`, (T, M), and one of `second`, (T, N), adds, (M, N)."""
        n_items = len(first)
        size = first.square().T @ second.square()
        left = size.clone()
        for column in self.basis.T:
            left -= ((first * column.unsqueeze(1)).T @ second).square()
        gains = torch.zeros_like(left)
        for column, whole in zip(self.residual.T, self.size, strict=True):
            along = ((first * column.unsqueeze(1)).T @ second).square()
            share = along / (left * whole).clamp(min=1e-300)
            gains -= 0.5 * n_items * torch.log1p(-share.clamp(max=1 - 1e-12))
        share = (first.T @ second) / n_items
        fit = (left > NEARLY_NOTHING * n_items) & (share >= smallest_share) & (share <= 1 - smallest_share)
        return torch.where(fit, gains, 0.0)

    def gain_together(self, columns: Tensor) -> float:
        """Nats that these columns, (T, N), add side by side, each with an effect of its own."""
        beside = columns - self.basis @ (self.basis.T @ columns)
        left = torch.linalg.qr(beside[:, beside.square().sum(0) > NEARLY_NOTHING * len(columns)]).Q
        share = ((left.T @ self.residual).square().sum(0) / self.size.clamp(min=1e-300)).clamp(max=1 - 1e-12)
        return -0.5 * len(columns) * float(torch.log1p(-share).sum())


def _distinct(gains: Tensor, first: list[Factors], second: list[Factors], most: int) -> list[Product]:
    """The best products of different columns, each once."""
    chosen: dict[frozenset[tuple[int, bool]], Product] = {}
    flat = gains.flatten()
    for place in torch.argsort(-flat.round(decimals=6), stable=True).tolist():
        gain = float(flat[place])
        if gain <= 0 or len(chosen) == most:
            break
        factors = (*first[place // gains.shape[1]], *second[place % gains.shape[1]])
        if len({column for column, _ in factors}) == len(factors):
            chosen.setdefault(frozenset(factors), Product(tuple(sorted(factors)), gain))
    return list(chosen.values())


def _factors(product: Product, literals: Tensor) -> Tensor:
    half = literals.shape[1] // 2
    return torch.stack([literals[:, column + half * negated] for column, negated in product.factors], dim=1)
