"""The linear link with products of features and covariates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genz_ppl.models.links import InUnits, LinearLink, add_link
from genz_ppl.models.priors import Prior

# Standard deviation of the prior of products of features and covariates.
INTERACTION_SPREAD = 0.1


@add_link
class InteractionLink(LinearLink):
    """Linear plus products: y = z W + b + x C + sum over k, p of z_k x_p V_kp. interactions, V: (K, P, D).

    An upgraded kitchen is worth more in a larger house. The other parameters are those of `LinearLink`. Products have a prior,
    N(0, 0.1^2) for standardised targets and covariates, in point fits too: without it every feature brings P more numbers
    to fit, and a run with many features follows the noise. There are no products with effects of groups.
    """

    name = "interaction"

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        shape = (self.n_features, self.columns.n_own, self.n_targets)
        self.interactions = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K); covariates: (..., P). Returns (..., D)."""
        total = super().forward(z, covariates)
        for p in range(self.columns.n_own):
            total = total + covariates[..., p, None] * (z @ self.interactions[:, p])
        return total

    def priors(self) -> dict[str, Prior]:
        """See `LinearLink.priors`; and "interactions", (K, P, D)."""
        return {
            **super().priors(),
            "interactions": Prior(self.interactions, self.interactions.new_tensor(INTERACTION_SPREAD**-2)),
        }

    def parameters_in_units(self, location: InUnits, spread: Tensor, centre: Tensor, width: Tensor) -> dict[str, Tensor]:
        """See `LinearLink.parameters_in_units`; and "interactions", (K, P, D)."""
        found = super().parameters_in_units(location, spread, centre, width)
        products = self.interactions.detach() * spread
        found["weights"] = found["weights"] - torch.einsum("p,kpd->kd", centre / width, products)
        return {"interactions": products / width[:, None]} | found

    def ridge(self) -> Tensor:
        """See `LinearLink.ridge`."""
        ridge = self.interactions.new_full((self.n_features, 1 + self.columns.n_own), INTERACTION_SPREAD**-2)
        ridge[:, 0] = 0.0 if self.weight_precision is None else self.weight_precision
        return ridge

    def modifiers(self, covariates: Tensor) -> Tensor:
        """[1, x], (T, 1 + P)."""
        return torch.cat([super().modifiers(covariates), covariates[:, : self.columns.n_own]], dim=1)

    def coefficients(self) -> Tensor:
        """[W, V], (K, 1 + P, D)."""
        return torch.cat([self.weights.unsqueeze(1), self.interactions], dim=1)

    @torch.no_grad()
    def set_solution(self, coefficients: Tensor, intercept: Tensor, covariate_weights: Tensor) -> None:
        """See `LinearLink.set_solution`."""
        super().set_solution(coefficients, intercept, covariate_weights)
        self.interactions.copy_(coefficients[:, 1:])
