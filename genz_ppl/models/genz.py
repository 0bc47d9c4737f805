"""The whole model s -> z -> y: features, link and likelihood composed into one Pyro program."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.models.features import FeatureLayer
from genz_ppl.models.likelihoods import Likelihood
from genz_ppl.models.links import Link


class GenZ(PyroModule):  # type: ignore[misc]
    """p_e ~ Beta, z ~ Bernoulli given the answers, y ~ likelihood(link(z, x)).

    Sites: "p_e" (K,) in the plate "features"; "z" with event shape (K,) and "y" with event shape (D,) in the plate
    "items". Every inference strategy conditions this one program. Build it inside `genz_ppl.inference.isolated`.
    """

    def __init__(self, features: FeatureLayer, link: Link, likelihood: Likelihood) -> None:
        super().__init__()
        self.features, self.link, self.likelihood = features, link, likelihood

    def forward(self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None) -> Tensor:
        """answers: (T, K) of 1, 0, NaN; covariates: (T, P); targets: (T, D), NaN where missing, or None to sample them."""
        prior = self.features(answers)
        with pyro.plate("items", answers.shape[0], dim=-1):
            z = pyro.sample("z", dist.Bernoulli(prior).to_event(1))
            observation, observed = self.observation(z, covariates, targets)
            y: Tensor = pyro.sample("y", observation, obs=observed)
            return y

    def observation(self, z: Tensor, covariates: Tensor, targets: Tensor | None) -> tuple[dist.Distribution, Tensor | None]:
        """p(y | z, x) with missing entries masked out, and the targets with those entries filled in.

        z: (..., T, K). Returns a distribution with batch shape (..., T) and event shape (D,), and (T, D) or None.
        """
        return _masked(self.likelihood(self.link(z, covariates)), targets)

    def loss(self, location: Tensor, targets: Tensor) -> Tensor:
        """Mean over items of -log p(y | f) at the link's value f, (T, D): what gradient M-steps lower."""
        distribution, observed = _masked(self.likelihood(location), targets)
        mean: Tensor = -distribution.log_prob(observed).mean()
        return mean


def _masked(distribution: dist.Distribution, targets: Tensor | None) -> tuple[dist.Distribution, Tensor | None]:
    if targets is None:
        return distribution.to_event(1), None
    missing = torch.isnan(targets)
    if bool(missing.any()):
        return distribution.mask(~missing).to_event(1), torch.where(missing, torch.zeros_like(targets), targets)
    return distribution.to_event(1), targets
