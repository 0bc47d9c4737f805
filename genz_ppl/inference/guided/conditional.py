"""A distribution over K yes/no values of which one depends on the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn import functional

# Up to so many other values a marginal is summed over all of theirs; beyond, over so many draws.
MOST_SUMMED, DRAWS = 10, 256
# Entries of the largest tensor of assignments held at once.
CHUNK = 4_000_000


class ConditionalBernoulli(TorchDistribution):  # type: ignore[misc]
    """K yes/no values of which one, z_k, depends on the others: prod over j != k of q(z_j), times q(z_k | z_-k).

    logits: (..., K), those of the others; entry k is not used. conditional_logit: takes z, (..., K), to the log-odds of
    z_k = 1 given its other entries, (...); it must ignore z_k and accept further batch dimensions on the left.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}  # noqa: RUF012 - as torch declares it
    support = constraints.independent(constraints.boolean, 1)

    def __init__(
        self, logits: Tensor, feature: int, conditional_logit: Callable[[Tensor], Tensor], validate_args: bool | None = None
    ) -> None:
        self.logits, self.feature, self.conditional_logit = logits, feature % logits.shape[-1], conditional_logit
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        """(..., K): q(z_j = 1); entry k means nothing."""
        return torch.sigmoid(self.logits)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> ConditionalBernoulli:
        """The same for a larger batch shape."""
        logits = self.logits.expand(torch.Size(batch_shape) + self.event_shape)
        return ConditionalBernoulli(logits, self.feature, self.conditional_logit, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The others first, then z_k given them; sample_shape + (..., K)."""
        z = torch.bernoulli(self.probs.expand(tuple(sample_shape) + tuple(self.logits.shape)))
        return with_value(z, self.feature, torch.bernoulli(torch.sigmoid(self.conditional_logit(z))))

    def log_prob(self, value: Tensor) -> Tensor:
        """value: (..., K) of 0 and 1."""
        if self._validate_args:
            self._validate_sample(value)
        logits = with_value(self.logits.expand(value.shape), self.feature, self.conditional_logit(value))
        return -functional.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def with_value(z: Tensor, feature: int, value: Tensor | float) -> Tensor:
    """z, (..., K), with one feature's entries replaced by value, (...)."""
    changed = z.clone()
    changed[..., feature] = value
    return changed


def assignments(q: Tensor, feature: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Values of the features but one under prod q(z_j), q: (T, K), and their weights: pairs (N, T, K), (N, T), in chunks.

    All values if they are at most 2^10, else draws that are the same at every call.
    """
    n_items, n_features = q.shape
    others = [j for j in range(n_features) if j != feature]
    size = max(1, CHUNK // max(1, q.numel()))
    if len(others) <= MOST_SUMMED:
        codes = torch.arange(2 ** len(others), device=q.device)
        for chunk in codes.chunk(-(-len(codes) // size)):
            bits = (chunk.unsqueeze(1) >> torch.arange(len(others), device=q.device)) & 1
            z = torch.zeros(len(chunk), n_items, n_features, dtype=q.dtype, device=q.device)
            z[..., others] = bits.to(q).unsqueeze(1)
            yield z, torch.where(z > 0.5, q, 1 - q)[..., others].prod(-1)
        return
    generator = torch.Generator().manual_seed(0)
    for start in range(0, DRAWS, size):
        n = min(size, DRAWS - start)
        uniform = torch.rand(n, n_items, n_features, generator=generator, dtype=q.dtype).to(q.device)
        yield (uniform < q).to(q), torch.full((n, n_items), 1 / DRAWS).to(q)
