"""Eq. 27 for one feature after the other, in place, for items that share W Sigma^-1 W'."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.blocks import blocks_of

# Features updated between two products with all of q: a panel of q stays in cache while its features take their turns.
PANEL = 20


def update_in_turn(q: Tensor, field: Tensor, others: Tensor) -> None:
    """One pass over all features of all items, the first feature first; both q and field change in place.

    q: (K, B), rows contiguous. field: (K, B), the linear part of log p(z, y | h), less half the diagonal of W Sigma^-1 W';
    it becomes the logits of q. others: (K, K), W Sigma^-1 W' with zeros on its diagonal. For each k
    logit q_k = field_k - sum over j of others_kj q_j.
    """
    for part in blocks_of(len(q), PANEL):
        start, end = part.start, part.stop
        logits, panel = field[part], q[part]
        if start > 0:
            logits.addmm_(others[start:end, :start], q[:start], alpha=-1)
        if end < len(q):
            logits.addmm_(others[start:end, end:], q[end:], alpha=-1)
        for logit, mean, coupling in zip(logits, panel, others[start:end, start:end], strict=True):
            logit.addmv_(panel.T, coupling, alpha=-1)
            torch.sigmoid(logit, out=mean)
