"""Two sets of items and what happens between them: z1 -> y1, z2 -> y2, and x ~ p(x | y1'y2 + biases) (Appendix C)."""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.autoname import scope
from pyro.nn import PyroModule
from torch import Tensor, nn

from genz_ppl.models.genz import GenZ
from genz_ppl.models.likelihoods import Likelihood


@dataclass(frozen=True)
class PairBatch:
    """Some of the observed pairs. rows, columns: (B,) positions; values: (B, 1); total: R, how many pairs there are in all."""

    rows: Tensor
    columns: Tensor
    values: Tensor | None
    total: int


@dataclass(frozen=True)
class EmbeddingPrior:
    """N(location, scale^2) over the embeddings of a side: location (N, E), scale (E,)."""

    location: Tensor
    scale: Tensor


@dataclass(frozen=True)
class SideInputs:
    """What is known of a side's items: answers (N, K) of 1, 0, NaN; covariates (N, P), standardised."""

    answers: Tensor
    covariates: Tensor


class CoOccurrence(PyroModule):  # type: ignore[misc]
    """z_a ~ p(z | answers), y_a ~ N(f_a(z_a), Sigma_a) on both sides, x_ij ~ likelihood(offset + b_i + c_j + y_i'y_j).

    rows, columns: the model of each side; its E = D + 1 targets are the item's bias and its D coordinates. An undescribed side
    is one without features: all its items have the same prior. likelihood: of one target. units: (centre, spread), (E,) each, a
    side: its model is of standardised embeddings, (y - centre) / spread.

    Sites of the program: "rows/p_e", "rows/z", "rows/y" (standardised), the same of "columns", and "x" in the plate "pairs".
    Build it inside `genz_ppl.inference.isolated`.
    """

    def __init__(
        self,
        rows: GenZ,
        columns: GenZ,
        likelihood: Likelihood,
        row_units: tuple[Tensor, Tensor] | None = None,
        column_units: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.likelihood = rows, columns, likelihood
        self.offset = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.row_units = row_units or _no_units(rows)
        self.column_units = column_units or _no_units(columns)

    def forward(self, rows: SideInputs, columns: SideInputs, pairs: PairBatch) -> Tensor:
        """The whole generative model (eq. 33); returns x, (B, 1), sampled where `pairs.values` is None."""
        embeddings = []
        for name, side, inputs, (centre, spread) in (
            ("rows", self.rows, rows, self.row_units),
            ("columns", self.columns, columns, self.column_units),
        ):
            with scope(prefix=name):
                embeddings.append(centre + spread * side(inputs.answers, inputs.covariates))
        return self.observe(embeddings[0], embeddings[1], pairs)

    def given_features(self, rows: EmbeddingPrior, columns: EmbeddingPrior, pairs: PairBatch) -> Tensor:
        """The model once the features are known: y_a ~ N(location_a, scale_a^2), sites "row_embedding", "column_embedding"."""
        embeddings = []
        for name, prior in (("row", rows), ("column", columns)):
            with pyro.plate(f"{name}_items", len(prior.location), dim=-1):
                embeddings.append(pyro.sample(f"{name}_embedding", dist.Normal(prior.location, prior.scale).to_event(1)))
        return self.observe(embeddings[0], embeddings[1], pairs)

    def observe(self, row_embeddings: Tensor, column_embeddings: Tensor, pairs: PairBatch) -> Tensor:
        """The site "x" for a batch, its density scaled up to all pairs."""
        location = self.location(row_embeddings[pairs.rows], column_embeddings[pairs.columns])
        n_pairs = len(pairs.rows)
        with pyro.plate("pairs", n_pairs, dim=-1), pyro.poutine.scale(scale=pairs.total / max(1, n_pairs)):
            x: Tensor = pyro.sample("x", self.likelihood.distribution(location), obs=pairs.values)
        return x

    def location(self, row_embeddings: Tensor, column_embeddings: Tensor) -> Tensor:
        """offset + b + c + y'y, (..., 1), of embeddings (..., E) whose first entry is the bias."""
        product = (row_embeddings[..., 1:] * column_embeddings[..., 1:]).sum(-1)
        location: Tensor = (self.offset + row_embeddings[..., 0] + column_embeddings[..., 0] + product).unsqueeze(-1)
        return location


def _no_units(side: GenZ) -> tuple[Tensor, Tensor]:
    centre = torch.zeros(side.likelihood.n_targets, dtype=torch.float64)
    return centre, centre + 1
