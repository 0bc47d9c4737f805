"""The whole model s -> z -> y: features, link and likelihood composed into one Pyro program."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.models.features import FeatureLayer, prior_probability
from genz_ppl.models.likelihoods import Likelihood
from genz_ppl.models.links import Link


class GenZ(PyroModule):  # type: ignore[misc]
    """p_e ~ Beta, z ~ Bernoulli given the answers, y ~ likelihood(link(z, x)).

    Sites: "p_e" (K,) in the plate "features" (of answers yes and no apart with event shape (2,), beside "p_e_common", see
    `FeatureLayer`); "z" with event shape (K,) and "y" with event shape (D,) in the plate "items"; and the link's `priors`, normal
    ones: "weights" (K, D) where they have one, "interactions" (K, P, D), and "group_effects" (G, 1 + P, D). Those are held at the
    link's parameters, as in all fits whose parameters are points; `released` makes them latent. Every inference strategy
    conditions this one program. Build it inside `genz_ppl.inference.isolated`. shortcuts: whether steps derived by hand may
    stand for this program where they exist.

    calibration, L: with L > 0 the targets are explained twice, and each item counts once. Densities of p_e, z and y have the
    weight `share` = 1 / (1 + L), and the rest goes to a site "y_given_answers" at the link's value at E[z | h], with noise of its
    own, `marginal`. What the answers alone predict then stays right, and error rates do not grow to explain what features leave
    out (docs/error-rates.md). L = 0 is the paper's model, and that of parts without closed forms: elsewhere f(E[z | h]) is not
    what answers make y to be in the mean.
    """

    def __init__(
        self, features: FeatureLayer, link: Link, likelihood: Likelihood, shortcuts: bool = True, calibration: float = 0.0
    ) -> None:
        super().__init__()
        self.features, self.link, self.likelihood, self.shortcuts = features, link, likelihood, shortcuts
        self.calibration = calibration if self.has_closed_form else 0.0
        self.marginal: Likelihood | None = copy.deepcopy(likelihood) if self.calibration > 0 else None

    @property
    def share(self) -> float:
        """The weight of the densities of p_e, z and y given z, 1 / (1 + L)."""
        return 1 / (1 + self.calibration)

    def resized(self, features: FeatureLayer, link: Link) -> GenZ:
        """A model of other features with copies of this one's likelihoods."""
        model = GenZ(features, link, copy.deepcopy(self.likelihood), self.shortcuts, self.calibration)
        model.marginal = copy.deepcopy(self.marginal)
        return model

    def shrunk(self) -> GenZ:
        """This model; where steps have closed forms, the weights of features have a prior whose spreads are learned."""
        if self.has_closed_form:
            self.link.shrunk()
        return self

    def plain(self) -> GenZ:
        """The paper's model with copies of this one's parts: not calibrated, weights without a prior."""
        link = copy.deepcopy(self.link)
        link.shrinkage = None
        return GenZ(copy.deepcopy(self.features), link, copy.deepcopy(self.likelihood), self.shortcuts)

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """answers: (T, K) of 1, 0, NaN; covariates: (T, P); targets: (T, D), NaN where missing, or None to sample them.

        batch_size: draw so many items at random and scale their densities up to all T; None: all items.
        """
        with poutine.scale(scale=self.share):
            error_rates = self.features()
        link = self.link.sampled()
        with pyro.plate("items", answers.shape[0], subsample_size=batch_size, dim=-1):
            h, x = pyro.subsample(answers, event_dim=1), pyro.subsample(covariates, event_dim=1)
            given = None if targets is None else pyro.subsample(targets, event_dim=1)
            prior = prior_probability(h, error_rates)
            with poutine.scale(scale=self.share):
                observation, observed = observed_at(self.likelihood, link(self.drawn(prior), x), given)
                y: Tensor = pyro.sample("y", observation, obs=observed)
            if self.marginal is not None and given is not None:
                with poutine.scale(scale=1 - self.share):
                    expected, observed = observed_at(self.marginal, link(prior, x), given)
                    pyro.sample("y_given_answers", expected, obs=observed)
            return y

    def drawn(self, prior: Tensor) -> Tensor:
        """The site "z" inside the plate of items. prior: P(z = 1 | h), (B, K)."""
        z: Tensor = pyro.sample("z", dist.Bernoulli(prior).to_event(1))
        return z

    def log_density(self, z: Tensor, covariates: Tensor, targets: Tensor) -> Tensor:
        """log p(y | z, x) of every item, missing entries integrated out. z: (..., T, K); targets: (T, D). Returns (..., T)."""
        return log_density_at(self.likelihood, self.link(z, covariates), targets)

    def loss(self, location: Tensor, targets: Tensor, likelihood: Likelihood | None = None) -> Tensor:
        """Mean over target entries of -log p(y | f) at the link's value f, (T, L): what gradient M-steps lower.

        likelihood: None for that of y given z.
        """
        return -log_density_at(likelihood or self.likelihood, location, targets).mean() / targets.shape[1]

    @property
    def effect_unit(self) -> str:
        """What effects are in: "log-odds", "log rate", "sd" of several targets; "" for what predictions are in."""
        return self.likelihood.unit if self.link.adds_up or self.likelihood.standardised else ""

    def expected(self, prior: Tensor, covariates: Tensor) -> Tensor | None:
        """E[y | h, x] in closed form, (T, L); None where z must be summed out. prior: (T, K), E[z | h]."""
        return self.link(prior, covariates) if self.has_closed_form else None

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
        """Log prior of the error rates, (K,) or (K, 2), by its share, and of link parameters that have one, relative to its mode.

        Never above 0.
        """
        of_rates = self.features.penalty(error_rates)
        if self.features.common is not None:
            of_rates = of_rates + self.features.common_penalty()
        penalty: Tensor = self.share * of_rates + self.link.penalty().detach()
        return penalty


def observed_at(likelihood: Likelihood, location: Tensor, targets: Tensor | None) -> tuple[dist.Distribution, Tensor | None]:
    """p(y | f) at f, (..., T, L), with missing entries integrated out, and the targets with those entries filled in."""
    if targets is None:
        return likelihood.distribution(location), None
    missing = torch.isnan(targets)
    if bool(missing.any()):
        filled = torch.where(missing, torch.zeros_like(targets), targets)
        return likelihood.distribution(location, ~missing), filled
    return likelihood.distribution(location), targets


def log_density_at(likelihood: Likelihood, location: Tensor, targets: Tensor) -> Tensor:
    """log p(y | f) of every item at f, (..., T, L), missing entries integrated out. Returns (..., T)."""
    distribution, observed = observed_at(likelihood, location, targets)
    density: Tensor = distribution.log_prob(observed)
    return density
