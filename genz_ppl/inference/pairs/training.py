"""SVI of the embeddings on minibatches of pairs, given what the features say (eqs. 33 and 34)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.models.cooccurrence import CoOccurrence, EmbeddingPrior, PairBatch

# The learning rate falls to this share of its start.
LAST_SHARE = 0.02


@dataclass(frozen=True)
class PairTensors:
    """Observed pairs, R of them: rows, columns (R,) int64; values (R, 1); the sizes of both sides."""

    rows: Tensor
    columns: Tensor
    values: Tensor
    n_rows: int
    n_columns: int

    def __len__(self) -> int:
        return len(self.rows)

    def n_batches(self, size: int) -> int:
        """How many batches of about that size there are."""
        return max(1, round(len(self) / size))

    def batches(self, size: int) -> Iterator[PairBatch]:
        """All pairs once, in random order, in batches of about `size`, all of the same size or one less."""
        order = torch.randperm(len(self))
        for chosen in order.tensor_split(self.n_batches(size)):
            yield PairBatch(self.rows[chosen], self.columns[chosen], self.values[chosen], len(self))


class EmbeddingGuide(PyroModule):  # type: ignore[misc]
    """q(y) of both sides: independent normals, or points."""

    def __init__(self, rows: Embedding, columns: Embedding, name: str) -> None:
        super().__init__()
        self.normal = name == "normal"
        self.row_mean, self.row_log = nn.Parameter(rows.mean.clone()), nn.Parameter(rows.sd.log())
        self.column_mean, self.column_log = nn.Parameter(columns.mean.clone()), nn.Parameter(columns.sd.log())

    def forward(self, rows: EmbeddingPrior, columns: EmbeddingPrior, pairs: PairBatch) -> None:
        """Samples "row_embedding" and "column_embedding"."""
        for name, mean, log_sd in (("row", self.row_mean, self.row_log), ("column", self.column_mean, self.column_log)):
            with pyro.plate(f"{name}_items", len(mean), dim=-1):
                q = dist.Normal(mean, log_sd.exp()) if self.normal else dist.Delta(mean)
                pyro.sample(f"{name}_embedding", q.to_event(1))


class EmbeddingTraining:
    """Trains q(y), offset and likelihood on minibatches of pairs. Make and run it inside `isolated`.

    steps: how many gradient steps there will be: over them the learning rate falls to a fiftieth.
    """

    def __init__(
        self, model: CoOccurrence, start: tuple[Embedding, Embedding], guide: str, learning_rate: float, steps: int
    ) -> None:
        self.model, self.guide = model, EmbeddingGuide(*start, guide)
        self.elbo = TraceMeanField_ELBO() if self.guide.normal else Trace_ELBO()
        parameters = [*self.guide.parameters(), *model.likelihood.parameters(), model.offset]
        self.optimiser = torch.optim.Adam(parameters, lr=learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, LAST_SHARE ** (1 / max(1, steps)))

    def step(self, rows: EmbeddingPrior, columns: EmbeddingPrior, batch: PairBatch) -> float:
        """One gradient step; returns the estimated bound, given the features, of all pairs."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.elbo.differentiable_loss(self.model.given_features, self.guide, rows, columns, batch)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return -float(loss.detach())

    def embeddings(self) -> tuple[Embedding, Embedding]:
        """q(y) of rows and columns as it stands. Points have the spread they had at the start."""
        guide = self.guide
        return (
            Embedding(guide.row_mean.detach().clone(), guide.row_log.detach().exp()),
            Embedding(guide.column_mean.detach().clone(), guide.column_log.detach().exp()),
        )
