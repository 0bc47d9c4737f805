"""Worlds and sums by brute force, for posteriors that are near exact."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genz_ppl.inference.engines.exact import bit_table
from genz_ppl.inference.engines.joint import Part
from genz_ppl.inference.engines.moves import without_diagonal
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS


def started(answers: Any, targets: Any, likelihood: str = "gaussian", **options: Any) -> tuple[State, Data]:
    h, y = torch.from_numpy(answers), torch.from_numpy(targets)
    x = torch.zeros(len(h), 0, dtype=torch.float64)
    data = Scaling.of(y, x, LIKELIHOODS[likelihood]).data(h, x, y)
    return start_state(build_model(h.shape[1], y.shape[1], 0, likelihood=likelihood, **options), data), data


def summed(field: Tensor, gram: Tensor) -> Tensor:
    """log p(z | y, h), (2^K, B), one feature product after the other."""
    bits = bit_table(len(field))
    others = without_diagonal(gram)
    met = (bits @ others * bits).sum(1, keepdim=True) if gram.dim() == 2 else torch.einsum("ri,ijb,rj->rb", bits, others, bits)
    return (bits @ field - 0.5 * met).log_softmax(0)


def density_of(parts: list[Part], q: Tensor) -> Tensor:
    """log q(z) of every assignment, (2^K, B)."""
    bits, certain = bit_table(len(q)), q.clamp(1e-300, 1 - 1e-15)
    found = bits @ certain.log() + (1 - bits) @ torch.log1p(-certain)
    for part in parts:
        n_bits = part.bits
        for place, item in enumerate(part.items.tolist()):
            features = part.features[:, place].tolist()
            rest = [k for k in range(len(q)) if k not in features]
            row = (bits[:, features[:n_bits]] * 2.0 ** torch.arange(n_bits)).sum(1).long()
            value = part.table[row, place].clamp(min=1e-300).log()
            for j, feature in enumerate(features[n_bits:]):
                yes = part.beside[row, j, place].clamp(1e-300, 1 - 1e-15)
                value = value + torch.where(bits[:, feature] > 0.5, yes.log(), torch.log1p(-yes))
            value = value + bits[:, rest] @ certain[rest, item].log() + (1 - bits[:, rest]) @ torch.log1p(-certain[rest, item])
            found[:, item] = value
    return found
