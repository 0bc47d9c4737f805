"""Moves of two features at once, for items where eq. 11 is stuck.

Coordinate updates stop at the first assignment that no single feature improves. When two features pull y the same way,
"the first but not the second" and "the second but not the first" are both such stops, and the update keeps whichever it
met first. Here every item tries to flip one or two features of its mode for as long as the joint density rises, then
eq. 11 settles from there; an item takes the result only if its own bound is higher, so the total never falls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.in_turn import update_in_turn

# Up to this many features all pairs are tried; beyond, each feature with its most entangled partners.
ALL_PAIRS = 16
PARTNERS = 6
ROUNDS = 12


def candidate_pairs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (i < j) of features worth flipping together, by how strongly their effects on y overlap.

    gram: (K, K), W Sigma^-1 W', or (K, K, B). Returns two (N,) index tensors.
    """
    n_features = len(gram)
    if gram.dim() == 3:
        gram = gram.mean(2)
    if n_features <= ALL_PAIRS:
        rows, columns = torch.triu_indices(n_features, n_features, offset=1, device=gram.device)
        return rows, columns
    size = gram.diagonal().clamp(min=1e-300).sqrt()
    overlap = (gram / size[:, None] / size).abs()
    overlap.fill_diagonal_(0)
    partners = overlap.topk(PARTNERS, dim=1).indices
    chosen = torch.zeros_like(gram, dtype=torch.bool)
    chosen.scatter_(1, partners, True)
    rows, columns = torch.nonzero(torch.triu(chosen | chosen.T, diagonal=1), as_tuple=True)
    return rows, columns


def climb(z: Tensor, field: Tensor, gram: Tensor) -> Tensor:
    """Flip one or two features of every item, best first, while log p(z, y | h) rises.

    z: (K, B) of 0 and 1; field: (K, B), the linear part of the log density, less half the diagonal of gram;
    gram: (K, K), or (K, K, B) where it is each item's own. Returns the climbed z, (K, B).
    """
    z = z.clone()
    rows, columns = candidate_pairs(gram)
    active = torch.arange(z.shape[1], device=z.device)
    others = without_diagonal(gram)
    coupling = gram[rows, columns].unsqueeze(1) if gram.dim() == 2 else gram[rows, columns]
    reach = _reach(rows, columns, coupling, len(z)) if gram.dim() == 2 else coupling
    for _ in range(ROUNDS):
        part = z[:, active]
        sign = 1 - 2 * part
        single = sign * (field[:, active] - coupled(others, part))
        if gram.dim() == 2:
            hopeful = _can_rise(single, reach)
            active, sign, single = active[hopeful], sign[:, hopeful], single[:, hopeful]
            if len(active) == 0:
                break
        best, first = single.max(0)
        second = first
        if len(rows):
            pair = single[rows] + single[columns] - sign[rows] * sign[columns] * coupling
            pair_best, index = pair.max(0)
            better = pair_best > best
            best = torch.where(better, pair_best, best)
            first = torch.where(better, rows[index], first)
            second = torch.where(better, columns[index], second)
        moving = best > 1e-9
        if not bool(moving.any()):
            break
        if gram.dim() == 3:
            others, coupling = others[:, :, moving], coupling[:, moving]
        active, first, second = active[moving], first[moving], second[moving]
        z[first, active] = 1 - z[first, active]
        two = first != second
        z[second[two], active[two]] = 1 - z[second[two], active[two]]
    return z


def _reach(rows: Tensor, columns: Tensor, coupling: Tensor, n_features: int) -> Tensor:
    """Half of the strongest coupling of each feature, (K, 1); coupling: (N, 1), of the pairs."""
    strongest = coupling.new_zeros(n_features)
    for side in (rows, columns):
        strongest.scatter_reduce_(0, side, coupling[:, 0].abs(), "amax")
    return 0.5 * strongest.unsqueeze(1)


def _can_rise(single: Tensor, reach: Tensor) -> Tensor:
    """Items, (B,) bool, that a flip of one feature raises or one of two might: most do not need all pairs looked at.

    single: (K, B), what one flip gains. Two flips gain the sum of theirs and at most the sum of their `reach`.
    """
    best = (single + reach).topk(min(2, len(single)), dim=0).values.sum(0)
    return (best > 0) | (single > 0).any(0)


def item_bound(q: Tensor, field: Tensor, gram: Tensor) -> Tensor:
    """The part of each item's bound that depends on q, (B,). q, field: (K, B); gram: (K, K) or (K, K, B)."""
    entropy = -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum(0)
    return (q * field).sum(0) - 0.5 * (q * coupled(without_diagonal(gram), q)).sum(0) + entropy


def without_diagonal(gram: Tensor) -> Tensor:
    """A copy of gram, (K, K) or (K, K, B), with zeros on its diagonal."""
    others = gram.clone()
    others.diagonal(dim1=0, dim2=1).zero_()
    return others


def coupled(others: Tensor, q: Tensor) -> Tensor:
    """What the other features add to each one's field, (K, B); others: (K, K) or (K, K, B); q: (K, B)."""
    return others @ q if others.dim() == 2 else (others * q).sum(1)


def settle(q: Tensor, field: Tensor, gram: Tensor, sweeps: int) -> Tensor:
    """Eq. 27, one feature after the other, for all items of a block; (K, B) in and out."""
    others = without_diagonal(gram)
    q = q.clone()
    for _ in range(sweeps):
        if gram.dim() == 2:
            update_in_turn(q, field.clone(), others)
            continue
        for k in range(len(q)):
            q[k] = torch.sigmoid(field[k] - (others[k] * q).sum(0))
    return q


def escape(q: Tensor, field: Tensor, gram: Tensor) -> Tensor:
    """Better posteriors where a joint move finds one; q and field: (K, B), gram: (K, K) or (K, K, B)."""
    if len(q) < 2:
        return q
    start = (q > 0.5).to(q)
    goal = climb(start, field, gram)
    moved = torch.nonzero((goal != start).any(0))[:, 0]
    if len(moved) == 0:
        return q
    field = field[:, moved]
    gram = gram if gram.dim() == 2 else gram[:, :, moved]
    proposed = settle(goal[:, moved], field, gram, sweeps=2)
    better = item_bound(proposed, field, gram) > item_bound(q[:, moved], field, gram)
    q = q.clone()
    q[:, moved[better]] = proposed[:, better]
    return q
