"""Near-exact posteriors of any number of features: each item's uncertain ones enumerated, the others beside them.

Where log p(z, y | h) = field'z - z'gram z / 2 (its diagonal in the field), most features of an item are certain given the
others. The uncertain ones are those that a flip of a few features of the mode costs less than `CERTAIN` nats. Up to `MOST` of an
item are enumerated, the most coupled first; what is uncertain beyond has, given each of their combinations, a factorised
posterior of its own; the rest stays where eq. 11 has it. So q(z) = q(enumerated) prod q(beyond | enumerated) prod q(rest), and
the bound is that of this q. With `MOST` or fewer uncertain features it is the exact posterior but for e^-CERTAIN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from genz_ppl.inference.engines.moves import candidate_pairs, coupled, without_diagonal

# Nats: a feature that no flip of one or two brings closer to the mode is certain.
CERTAIN = 6.0
# Features of an item that are enumerated at most, and at least where not all are; that are factorised beside their
# combinations at most; the last two where so many can be enumerated.
MOST, LEAST, BESIDE, ROOMY = 14, 4, 6, 8
# The most flips that are looked at together, numbers in an array of theirs, and such arrays that are worth their time.
DEEPEST, CHAINS, MOST_BLOCKS = 5, 2**18, 4
# Numbers in one working array (8 MB), and passes over the features beside a combination.
CHUNK, PASSES = 2**20, 3
# Items whose pairs of flips are looked at together.
ITEMS = 256


@dataclass(frozen=True)
class Size:
    """How many combinations of its features an item may have on average."""

    rows: float

    @classmethod
    def of(cls, n_items: int, combinations: float) -> Size:
        """Of so many items together."""
        return cls(combinations / max(1, n_items))

    def least(self, n_features: int) -> int:
        """Features that every item has enumerated, also those that are certain, as flips of many are not looked at."""
        return n_features if 2.0**n_features <= self.rows and n_features <= MOST else LEAST * self.roomy

    @property
    def roomy(self) -> bool:
        """Whether every item could have `ROOMY` features enumerated."""
        return self.rows >= 2.0**ROOMY

    def most(self, counts: Tensor) -> int:
        """Features that an item has enumerated at most, where so many are uncertain, (B,)."""
        fits = [m for m in range(MOST + 1) if float((2.0 ** counts.clamp(max=m)).mean()) <= self.rows]
        return max(fits, default=0)


@dataclass(frozen=True)
class Part:
    """Items of a block that have as many uncertain features, (n,) positions, and what is known of these.

    features: (E + R, n), the enumerated ones first. table: (2^E, n), probabilities; row r has the digits of r, the first feature
    the least. beside: (2^E, R, n), P(z = 1 | row). entropy: of the features together, (n,).
    """

    items: Tensor
    features: Tensor
    table: Tensor
    beside: Tensor
    entropy: Tensor

    @property
    def bits(self) -> int:
        """E, how many features are enumerated."""
        return len(self.table).bit_length() - 1

    @cached_property
    def pairwise(self) -> Tensor:
        """P(z_i = z_j = 1), (E + R, E + R, n); P(z_i = 1) on the diagonal."""
        _, n_beside, n_items = self.beside.shape
        n_bits = self.bits
        found = self.table.new_zeros(n_bits + n_beside, n_bits + n_beside, n_items)
        joint, table = self.table.unsqueeze(1) * self.beside, self.table
        if n_beside:
            crossed = binary_digits(n_bits).to(table).T @ joint.flatten(1)
            found[:n_bits, n_bits:] = crossed.view(n_bits, n_beside, n_items)
            found[n_bits:, :n_bits] = found[:n_bits, n_bits:].transpose(0, 1)
            found[n_bits:, n_bits:] = torch.einsum("rin,rjn->ijn", joint, self.beside)
            found[n_bits:, n_bits:].diagonal(dim1=0, dim2=1).copy_(joint.sum(0).T)
        for j in reversed(range(n_bits)):  # the last feature is summed out: half of the table is left
            without, with_it = table.chunk(2)
            found[j, j] = with_it.sum(0)
            if j:
                found[j, :j] = found[:j, j] = binary_digits(j).to(table).T @ with_it
            table = without + with_it
        return found.clamp_(max=1.0)

    @property
    def marginals(self) -> Tensor:
        """P(z = 1), (E + R, n)."""
        return self.pairwise.diagonal(dim1=0, dim2=1).T

    @property
    def covariance(self) -> Tensor:
        """Of the features, (E + R, E + R, n)."""
        return self.pairwise - self.marginals.unsqueeze(0) * self.marginals.unsqueeze(1)


@dataclass(frozen=True)
class Together:
    """What the features of items share: covariance of each with each, summed over items, (K, K), 0 on the diagonal, or of every
    item, (B, K, K); entropy: of the joint posterior less that of its marginals, in nats, summed, never above 0."""

    covariance: Tensor
    entropy: Tensor

    @classmethod
    def of(cls, parts: Iterable[Part], n_features: int, like: Tensor, n_items: int | None = None) -> Together:
        """n_items: of the block, for the covariance of every item."""
        covariance, entropy = like.new_zeros((n_items or 1) * n_features**2), like.new_zeros(())
        for part in parts:
            features = part.features
            places = n_features * features.unsqueeze(1) + features
            if n_items is not None:
                places = places + n_features**2 * part.items
            found = part.covariance
            found.diagonal(dim1=0, dim2=1).zero_()
            covariance.scatter_add_(0, places.flatten(), found.flatten())
            q = part.marginals
            entropy += part.entropy.sum() - (torch.special.entr(q) + torch.special.entr(1 - q)).sum()
        shape = (n_features, n_features) if n_items is None else (n_items, n_features, n_features)
        return cls(covariance.view(shape), entropy)


@cache
def binary_digits(n_features: int) -> Tensor:
    """(2^E, E) of 0 and 1, the digits of the row's number, the least first."""
    return (torch.arange(2**n_features)[:, None] >> torch.arange(n_features) & 1).to(torch.float64)


def flip_costs(z: Tensor, field: Tensor, gram: Tensor) -> Tensor:
    """What the log density of every item loses at least where a feature is flipped, alone or with others, (K, B).

    z: (K, B) of 0 and 1; gram: (K, K), or (K, K, B). Below 0 where it gains. Of several flips, up to `DEEPEST`, each is the one
    that then gains most, where `CHAINS` allows; else two are looked at, where they may cost less than `CERTAIN`.
    """
    others, sign = without_diagonal(gram), 1 - 2 * z
    single = sign * (field - coupled(others, z))
    costs = -single
    # Two flips cost what both do alone but for their coupling: one of the two must cost no more than half of it all.
    reach = 0.5 * others.abs().amax(1)
    near = torch.nonzero((single + (reach.unsqueeze(1) if gram.dim() == 2 else reach)).amax(0) > -0.5 * CERTAIN)[:, 0]
    if len(near) == 0:
        return costs
    few, per_block = _of_items(others, near), max(1, CHAINS // len(z) ** 2)
    if len(near) <= per_block * MOST_BLOCKS:
        parts = zip(torch.split(near, per_block), torch.split(torch.arange(len(near)), per_block), strict=True)
        for items, places in parts:
            costs[:, items] = _chained(sign[:, items], single[:, items], _of_items(few, places))
        return costs
    rows, columns = candidate_pairs(gram)
    coupling = few[rows, columns].unsqueeze(1) if gram.dim() == 2 else few[rows, columns]
    for places in torch.split(torch.arange(len(near)), ITEMS):  # what is made of so many stays in cache
        items = near[places]
        gain, its_sign, least = single[:, items], sign[:, items], costs[:, items]
        pair = (its_sign[rows] * its_sign[columns]).mul_(coupling if gram.dim() == 2 else coupling[:, places])
        pair.sub_(gain[rows]).sub_(gain[columns])
        for side in (rows, columns):
            least.scatter_reduce_(0, side.unsqueeze(1).expand_as(pair), pair, "amin")
        costs[:, items] = least
    return costs


def _chained(sign: Tensor, single: Tensor, others: Tensor) -> Tensor:
    """The costs, (K, n), by a chain of flips from each feature; sign, single: (K, n), of flips of one feature."""
    n_features, n_items = single.shape
    coupling = sign.unsqueeze(1) * sign * (others.unsqueeze(2) if others.dim() == 2 else others)
    gains = single - coupling  # of a second flip, (first, second, item)
    gains.diagonal(dim1=0, dim2=1).fill_(float("-inf"))
    total, costs = single.clone(), -single
    index = torch.arange(n_items, device=single.device).expand(n_features, -1)
    for _ in range(min(DEEPEST, n_features) - 1):
        gain, second = gains.max(1)
        total = total + gain
        torch.minimum(costs, -total, out=costs)
        costs.scatter_reduce_(0, second, -total, "amin")
        gains -= coupling[second, :, index].transpose(1, 2)
        gains.scatter_(1, second.unsqueeze(1), float("-inf"))
    return costs


@torch.no_grad()
def near_exact(q: Tensor, field: Tensor, gram: Tensor, size: Size) -> Iterator[Part]:
    """The posteriors of a block of items; q, (K, B), takes their marginals in place.

    q: where eq. 11 has them; field: (K, B), the linear part of the log density, less half the diagonal of gram; gram: (K, K), or
    (K, K, B). Items with one uncertain feature or none may be left out: eq. 11 is exact for it.
    """
    if len(q) < 2:
        return
    least, others = size.least(len(q)), without_diagonal(gram)
    all_of_them = least == len(q)
    costs = torch.zeros_like(q) if all_of_them else flip_costs((q > 0.5).to(q), field, gram)
    counts = (costs < CERTAIN).sum(0).clamp(min=least)
    most = size.most(counts)
    counts.clamp_(max=most + (BESIDE if size.roomy else 0))
    for count in torch.unique(counts[counts > 1]).tolist():
        items = torch.nonzero(counts == count)[:, 0]
        n_bits = min(count, most)
        for some in torch.split(items, max(1, CHUNK // (2**n_bits * (1 + count - n_bits)))):
            if count > most:
                features = _most_coupled(costs, others, some, count)
            else:
                features = costs[:, some].topk(count, dim=0, largest=False, sorted=False).indices
            part = _posterior(q[:, some], field[:, some], _of_items(others, some), features, some, n_bits)
            q[features, some] = part.marginals
            yield part


def _of_items(others: Tensor, items: Tensor) -> Tensor:
    return others if others.dim() == 2 else others[:, :, items]


def _among(others: Tensor, features: Tensor) -> Tensor:
    """others of the features of each item, (E, n), among themselves: (E, E, n)."""
    rows, columns = features.unsqueeze(1), features.unsqueeze(0)
    items = torch.arange(features.shape[1], device=features.device)
    return others[rows, columns] if others.dim() == 2 else others[rows, columns, items]


def _most_coupled(costs: Tensor, others: Tensor, items: Tensor, count: int) -> Tensor:
    """So many features of each item, (count, n), those first whose fields move most with the others."""
    chance = torch.sigmoid(-costs[:, items])
    variance = chance * (1 - chance)
    squared = _of_items(others, items) ** 2
    score = variance * (squared @ variance if others.dim() == 2 else torch.einsum("ijn,jn->in", squared, variance))
    return score.topk(count, dim=0).indices


def _posterior(q: Tensor, field: Tensor, others: Tensor, features: Tensor, items: Tensor, n_bits: int) -> Part:
    pull = (field - coupled(others, q.scatter(0, features, 0.0))).gather(0, features)
    coupling = _among(others, features)
    weights = pull.new_zeros(2**n_bits, len(items))
    for j in range(n_bits):
        half = 2**j
        torch.add(weights[:half], pull[j], out=weights[half : 2 * half])
        if j:
            weights[half : 2 * half] -= binary_digits(j).to(pull) @ coupling[:j, j]
    beside, inner = weights.new_zeros(len(weights), len(features) - n_bits, len(items)), 0.0
    if len(features) > n_bits:
        bits = binary_digits(n_bits).to(pull)
        crossed, among = coupling[:n_bits, n_bits:], coupling[n_bits:, n_bits:]
        logits = pull[n_bits:] - (bits @ crossed.flatten(1)).view_as(beside)
        beside = q.gather(0, features)[n_bits:].expand_as(beside).clone()
        for _ in range(PASSES):
            for j in range(beside.shape[1]):
                beside[:, j] = torch.sigmoid(logits[:, j] - (among[j] * beside).sum(1))
        met = 0.5 * torch.einsum("ijn,rjn->rin", among, beside)
        inner = (torch.special.entr(beside) + torch.special.entr(1 - beside)).sum(1)
        weights += (beside * (logits - met)).sum(1) + inner
    weights -= weights.amax(0)
    table = weights.exp()
    total = table.sum(0)
    table /= total
    entropy = total.log() - weights.sub_(inner).mul_(table).sum(0)
    return Part(items, features, table, beside, entropy)
