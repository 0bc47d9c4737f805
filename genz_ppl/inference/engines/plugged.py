"""Near-exact posteriors for any link and likelihood: an item's uncertain features enumerated, the others at their mode.

An item's `MOST` features whose flip costs its mode least are enumerated by the program's own density, with the others where the
mode has them; these keep their own posteriors by eq. 11. M-steps see every combination, and draws of the others.
"""

from __future__ import annotations

from typing import ClassVar

import pyro
import torch
from torch import Tensor

from genz_ppl.inference.engines.density import flipped_log_densities
from genz_ppl.inference.engines.descent import CONTINUED
from genz_ppl.inference.engines.exact import bit_table, chunks, width_of
from genz_ppl.inference.engines.pairs import SMALLEST, Pairs, train_at_pairs, update_at_pairs
from genz_ppl.inference.engines.plug_in import PlugIn
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State, entropy_of

# Features of an item that are enumerated.
MOST = 10


class Plugged(PlugIn):
    """E- and M-step of models of more features than can all be enumerated."""

    exact: ClassVar[bool] = False

    def __init__(self, data: Data, first: bool = True) -> None:
        super().__init__(data, first=first)
        self._pairs: Pairs | None = None
        self._together = 0.0

    @torch.no_grad()
    def sweep(self, state: State) -> None:
        """Eq. 11, then the combinations of the features that it leaves least certain; updates state.posterior."""
        super().sweep(state)
        z, logits = self.assignment(state.posterior), torch.logit(state.prior(self.data.answers))
        n_items, n_features = z.shape
        n_bits = min(MOST, n_features)
        bits, parts, together = bit_table(n_bits), list[Pairs](), 0.0
        with one_thread(), pyro.validation_enabled(False):
            density, flipped = flipped_log_densities(state.model, z, state.error_rates, self.data)
            costs = density.unsqueeze(1) - flipped.T + (2 * z - 1) * logits
            features = costs.topk(n_bits, dim=1, largest=False).indices
            for rows in chunks(n_items, max(width_of(state.model, len(bits)), len(bits) * n_features)):
                chosen, part = features[rows], self.data.items(rows)
                size = (len(bits), *chosen.shape)
                clamped = z[rows].expand(len(bits), -1, -1).scatter(2, chosen.expand(size), bits.unsqueeze(1).expand(size))
                joint = state.model.log_density(clamped, part.covariates, part.targets).T
                joint = joint + logits[rows].gather(1, chosen) @ bits.T
                table = joint.softmax(1)
                marginals = (table @ bits).clamp(max=1.0)
                state.posterior[rows] = state.posterior[rows].scatter(1, chosen, marginals)
                together += float(torch.special.entr(table).sum()) - entropy_of(marginals)
                parts.append(self._drawn(state.posterior[rows], chosen, table, rows.start, bits))
        self._pairs, self._together = Pairs.joined(parts, n_items), together

    @staticmethod
    def _drawn(q: Tensor, features: Tensor, table: Tensor, start: int, bits: Tensor) -> Pairs:
        """The combinations that are not too improbable, each with a draw of the other features."""
        kept = torch.where(table > SMALLEST, table, 0.0)
        kept /= kept.sum(1, keepdim=True)
        items, rows = kept.nonzero(as_tuple=True)
        z = torch.bernoulli(q[items]).scatter(1, features[items], bits[rows])
        return Pairs(start + items, z, kept[items, rows], len(q))

    def maximise(self, state: State) -> None:
        """Gradient M-step, and the likelihood's own, at the pairs of the last sweep; before it as `PlugIn`."""
        if self._pairs is None:
            super().maximise(state)
            return
        train_at_pairs(state.model, self.data, self._pairs, CONTINUED)
        update_at_pairs(state.model, self.data, self._pairs)

    def entropy(self, state: State) -> float:
        """See `Engine.entropy`."""
        return entropy_of(state.posterior) + self._together

    @torch.no_grad()
    def observation(self, state: State) -> float:
        """E_q log p(y | z) over the pairs, summed over items."""
        if self._pairs is None:
            return super().observation(state)
        state.model.eval()
        items, z, weights = self._pairs.items, self._pairs.z, self._pairs.weights
        density = state.model.log_density(z, self.data.covariates[items], self.data.targets[items])
        return float((density * weights).sum())
