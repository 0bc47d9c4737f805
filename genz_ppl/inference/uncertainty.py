"""A Gaussian posterior over the parameters of link and likelihood, around the values a model holds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.models import GenZ
from genz_ppl.models.bayesian import flattened, free_parameters, shaped

# Up to so many parameters their correlations are part of the posterior, too.
MOST_CORRELATED = 500


@dataclass(frozen=True)
class Uncertainty:
    """Covariance of the unconstrained parameters (a positive scale by its logarithm), in the order of `free_parameters`.

    root: (N, N) lower triangular, with root root' the covariance, or (N,) standard deviations where they are independent.
    draws: of a sampler, (chains, S, N + K), the parameters and then the error rates (K, or 2 K side by side); None where the
    posterior is a Gaussian.
    """

    root: Tensor
    draws: Tensor | None = None

    @classmethod
    def of_draws(cls, draws: Tensor, n_parameters: int) -> Uncertainty:
        """From the draws of a sampler; the values held must be their mean."""
        covariance = torch.cov(draws.flatten(0, 1)[:, :n_parameters].T).view(n_parameters, n_parameters)
        return cls(torch.linalg.cholesky(covariance + 1e-12 * torch.eye(n_parameters).double()), draws)

    def shifts(self, n: int, seed: int) -> Tensor:
        """n draws of the deviation from the values held, (n, N); the same for the same seed. A sampler's are in their order."""
        if self.draws is not None:
            drawn = self.draws.flatten(0, 1)[:, : len(self.root)]
            return drawn[torch.linspace(0, len(drawn) - 1, n).round().long()] - drawn.mean(0)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(n, len(self.root), generator=generator, dtype=self.root.dtype)
        return noise * self.root if self.root.dim() == 1 else noise @ self.root.T

    def standard_deviations(self) -> Tensor:
        """(N,)."""
        return self.root if self.root.dim() == 1 else (self.root**2).sum(1).sqrt()


def drawn_models(model: GenZ, uncertainty: Uncertainty | None, n: int, seed: int) -> Iterator[GenZ]:
    """The model with n draws of its parameters, one after the other in one object; without uncertainty the model, once."""
    if uncertainty is None:
        yield model
        return
    drawn, centre = copy.deepcopy(model), flattened(model)
    for shift in uncertainty.shifts(n, seed):
        set_parameters(drawn, centre + shift)
        yield drawn


@torch.no_grad()
def set_parameters(model: GenZ, values: Tensor) -> None:
    """Give the model's unconstrained parameters these values, (N,)."""
    parameters = free_parameters(model)
    for name, value in shaped(model, values).items():
        parameters[name].copy_(value)
