"""The whole model s -> z -> y: features, link and likelihood composed into one Pyro program."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.models.features import FeatureLayer, prior_probability
from genz_ppl.models.likelihoods import Likelihood
from genz_ppl.models.links import Link


class GenZ(PyroModule):  # type: ignore[misc]
    """p_e ~ Beta, z ~ Bernoulli given the answers, y ~ likelihood(link(z, x)).

    Sites: "p_e" (K,) in the plate "features"; "z" with event shape (K,) and "y" with event shape (D,) in the plate "items";
    a factor "link_prior" where the link has one. Every inference strategy conditions this one program. Build it inside
    `genz_ppl.inference.isolated`. shortcuts: whether steps derived by hand may stand for this program where they exist.
    """

    def __init__(self, features: FeatureLayer, link: Link, likelihood: Likelihood, shortcuts: bool = True) -> None:
        super().__init__()
        self.features, self.link, self.likelihood, self.shortcuts = features, link, likelihood, shortcuts

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """answers: (T, K) of 1, 0, NaN; covariates: (T, P); targets: (T, D), NaN where missing, or None to sample them.

        batch_size: draw so many items at random and scale their densities up to all T; None: all items.
        """
        error_rates = self.features()
        if self.link.penalised:
            pyro.factor("link_prior", self.link.penalty())
        with pyro.plate("items", answers.shape[0], subsample_size=batch_size, dim=-1):
            h, x = pyro.subsample(answers, event_dim=1), pyro.subsample(covariates, event_dim=1)
            z = pyro.sample("z", dist.Bernoulli(prior_probability(h, error_rates)).to_event(1))
            observed = None if targets is None else pyro.subsample(targets, event_dim=1)
            observation, observed = self.observation(z, x, observed)
            y: Tensor = pyro.sample("y", observation, obs=observed)
            return y

    def observation(self, z: Tensor, covariates: Tensor, targets: Tensor | None) -> tuple[dist.Distribution, Tensor | None]:
        """p(y | z, x) with missing entries integrated out, and the targets with those entries filled in.

        z: (..., T, K). Returns a distribution with batch shape (..., T) and event shape (D,), and (T, D) or None.
        """
        return self.observed_at(self.link(z, covariates), targets)

    def loss(self, location: Tensor, targets: Tensor) -> Tensor:
        """Mean over target entries of -log p(y | f) at the link's value f, (T, L): what gradient M-steps lower."""
        distribution, observed = self.observed_at(location, targets)
        mean: Tensor = -distribution.log_prob(observed).mean() / targets.shape[1]
        return mean

    @property
    def is_mixture(self) -> bool:
        """Whether p(y | z, x) is a link linear in the features, with noise that is a mixture of Gaussians."""
        return bool(self.link.adds_up and self.likelihood.sees_errors)

    @property
    def has_closed_form(self) -> bool:
        """Whether E- and M-steps have closed forms that may be used."""
        return self.shortcuts and self.is_mixture

    @property
    def is_quadratic(self) -> bool:
        """Whether log p(y | z, x) is quadratic in z: closed forms with Gaussian noise."""
        return self.has_closed_form and not self.likelihood.robust

    def penalty(self, error_rates: Tensor) -> Tensor:
        """Log prior of the error rates, (K,), and of link parameters that have one, relative to its mode; never above 0."""
        penalty: Tensor = self.features.penalty(error_rates) + self.link.penalty().detach()
        return penalty

    def observed_at(self, location: Tensor, targets: Tensor | None) -> tuple[dist.Distribution, Tensor | None]:
        """`observation` at the link's value, (..., T, L)."""
        if targets is None:
            return self.likelihood.distribution(location), None
        missing = torch.isnan(targets)
        if bool(missing.any()):
            filled = torch.where(missing, torch.zeros_like(targets), targets)
            return self.likelihood.distribution(location, ~missing), filled
        return self.likelihood.distribution(location), targets
