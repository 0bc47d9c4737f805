"""Links f: (z, x) -> location of y. Adding one: subclass `Link`, decorate with `add_link`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.func import functional_call

from genz_ppl.models.effects import Columns, effects_in_units
from genz_ppl.models.priors import Prior, sampled
from genz_ppl.settings import LINK_NAMES

LINKS: dict[str, type[Link]] = {}
InUnits = Callable[[Tensor], Tensor]
Kind = TypeVar("Kind", bound="type[Link]")


def add_link(kind: Kind) -> Kind:
    """Class decorator: make a link known by its `name` to `fit`, `discover` and the command line."""
    LINKS[kind.name] = kind
    if kind.name not in LINK_NAMES:
        LINK_NAMES.append(kind.name)
    return kind


@dataclass(frozen=True)
class TrainingPlan:
    """How an M-step without a closed form trains: Adam for so many epochs; batch_size None means all items at once."""

    epochs: int = 200
    batch_size: int | None = None
    learning_rate: float = 0.02


class Link(PyroModule):  # type: ignore[misc]
    """Maps features and covariates to the location of the targets.

    n_features: K. n_targets: D. n_covariates: P. pooling: (P,), prior precision of the weights of each covariate, where a link
    has such weights; None: no covariate weight has a prior. All parameters are float64 and start small, so that a fresh link
    predicts about zero: targets and covariates come standardised.
    """

    name: ClassVar[str]
    #: Whether the value is linear in the features: their effects add up.
    adds_up: ClassVar[bool] = False
    #: Prior precision of the weights of features in log-odds and logarithms, if above 0; a network has no such weights.
    weak: float = 0.0
    pooling: Tensor | None

    def __init__(
        self,
        n_features: int,
        n_targets: int,
        n_covariates: int = 0,
        training_plan: TrainingPlan | None = None,
        pooling: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("pooling", pooling)
        self.training_plan = training_plan or TrainingPlan()
        self.n_features, self.n_targets, self.n_covariates = n_features, n_targets, n_covariates

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K) in [0, 1]; covariates: (..., P). Returns (..., D)."""
        raise TypeError(f"{type(self).__name__} must define forward(z, covariates)")

    def function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`forward` as a plain function of the present parameters; training loops call it many times."""
        return self.forward

    def fresh(self) -> Link:
        """A link of the same make and size with new starting values."""
        return type(self)(self.n_features, self.n_targets, self.n_covariates, self.training_plan)

    def with_columns(self, kept: list[int], n_added: int) -> Link:
        """A link for the features `kept` (positions, in that order) and `n_added` new ones that so far have no effect."""
        raise TypeError(f"{type(self).__name__} must define with_columns(kept, n_added)")

    @property
    def ranked_by(self) -> str:
        """The link by which a model that is refitted for every wording ranks them."""
        return self.name if self.adds_up else "linear"

    def effects(self) -> Tensor | None:
        """(K, L), what yes instead of no adds to the value where covariates are at their means; None where that depends on the
        other features."""
        return None

    def mean(self, q: Tensor, covariates: Tensor) -> Tensor:
        """What stands for E f(z, x), z ~ Bernoulli(q), (T, L): the value at the modes, unless it is linear in the features."""
        return self.function()((q > 0.5).to(q), covariates)

    def variance(self, q: Tensor, covariates: Tensor) -> Tensor:
        """That of f(z, x) about `mean`, (T, L): none at the modes."""
        return q.new_zeros(len(q), self.n_targets)

    def moments(self, q: Tensor, covariates: Tensor, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of f(z, x), (T, L) each, over so many draws of z ~ Bernoulli(q); exact where f is linear in z."""
        generator, function = torch.Generator().manual_seed(seed), self.function()
        drawn = [function((torch.rand(q.shape, generator=generator, dtype=q.dtype) < q).to(q), covariates) for _ in range(draws)]
        return torch.stack(drawn).mean(0), torch.stack(drawn).var(0, unbiased=False)

    def parameters_in_units(self, location: InUnits, spread: Tensor, centre: Tensor, width: Tensor) -> dict[str, Tensor]:
        """Parameters for targets and covariates as they were before they were standardised.

        location: brings values to the targets' units; spread: (L,), of the targets; centre, width: (P,), mean and spread of the
        covariates. Those of a network stay as they are.
        """
        return {f"link.{name}": value.detach() for name, value in self.named_parameters()}

    @property
    def n_modifiers(self) -> int:
        """M, how many coefficients a feature has for each target, as far as they can be told apart."""
        return 1

    def priors(self) -> dict[str, Prior]:
        """What has a prior where parameters are points, too, by the names of the sites in the Pyro program."""
        return {}

    def placed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters, by name, that values of the sites of `priors` stand for."""
        return dict(values)

    def sampled(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Run the sites of `priors`; returns `forward` at their values."""
        values = sampled(self.priors())
        return (lambda z, x: functional_call(self, self.placed(values), (z, x))) if values else self

    def penalty(self) -> Tensor:
        """Log density at the sites of `priors` relative to its mode; a scalar, never above 0."""
        return sum((prior.penalty() for prior in self.priors().values()), torch.zeros((), dtype=torch.float64))

    def prior_spread(self, name: str) -> float | Tensor:
        """Standard deviation of the normal prior of a parameter in Bayesian fits; targets and covariates are standardised.

        A tensor, for entries that differ, broadcasts against the parameter.
        """
        prior = self.priors().get(name)
        return 1.0 if prior is None else prior.spread


@add_link
class LinearLink(Link):
    """y = z W + b + x C (eq. 17). weights: (K, D); intercept: (D,); covariate_weights: (P, D).

    pooling: (P,), prior precision of the weights of each covariate, 0 for none; those with one come last: they are the
    effects of groups (`genz_ppl.models.effects`). None: no covariate weight has a prior.

    shrinkage: (K,), prior precision of the weights of each feature, for all targets, learned by
    `genz_ppl.inference.engines.coefficient_posterior`; None, as a new link has it: weights have no prior, or the same normal
    prior of precision `weak`, if that is above 0. See `shrunk`.
    """

    name = "linear"
    adds_up = True
    shrinkage: Tensor | None

    def __init__(
        self,
        n_features: int,
        n_targets: int,
        n_covariates: int = 0,
        training_plan: TrainingPlan | None = None,
        pooling: Tensor | None = None,
    ) -> None:
        super().__init__(n_features, n_targets, n_covariates, training_plan, pooling)
        self.register_buffer("shrinkage", None)
        self.columns = Columns.of(n_covariates, pooling)
        self.weights = nn.Parameter(torch.zeros(n_features, n_targets, dtype=torch.float64))
        self.intercept = nn.Parameter(torch.zeros(n_targets, dtype=torch.float64))
        self.covariate_weights = nn.Parameter(torch.zeros(n_covariates, n_targets, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K); covariates: (..., P). Returns (..., D)."""
        return z @ self.weights + covariates @ self.covariate_weights + self.intercept

    def shrunk(self) -> LinearLink:
        """This link, its features' weights with a prior of spread 1."""
        self.shrinkage = self.intercept.new_ones(self.n_features)
        return self

    @property
    def weight_precision(self) -> Tensor | None:
        """(K,): prior precision of the weights of each feature, or None where they have no prior."""
        if self.shrinkage is None and self.weak > 0:
            return self.intercept.new_full((self.n_features,), self.weak)
        return self.shrinkage

    def group_effects(self) -> Tensor:
        """By how much intercept and covariate weights differ in each group, (G, 1 + P, D)."""
        return self.columns.effects(self.covariate_weights)

    @property
    def group_precision(self) -> Tensor:
        """The prior's precision of the intercepts and slopes of groups, (1 + P,)."""
        assert self.pooling is not None
        return self.columns.precision(self.pooling)

    def priors(self) -> dict[str, Prior]:
        """See `Link.priors`: "weights", (K, D), and "group_effects", (G, 1 + P, D), where they have one."""
        found = {}
        if self.weight_precision is not None:
            found["weights"] = Prior(self.weights, self.weight_precision.unsqueeze(1))
        if self.pooling is not None:
            found["group_effects"] = Prior(self.group_effects(), self.group_precision.unsqueeze(1))
        return found

    def placed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Link.placed`."""
        found = dict(values)
        if "group_effects" in found:
            own = self.covariate_weights[: self.columns.n_own]
            found["covariate_weights"] = self.columns.weights(own, found.pop("group_effects"))
        return found

    def prior_spread(self, name: str) -> float | Tensor:
        """See `Link.prior_spread`."""
        if name != "covariate_weights" or self.pooling is None:
            return super().prior_spread(name)
        return torch.where(self.pooling > 0, self.pooling, 1.0).rsqrt().unsqueeze(1)

    def fresh(self) -> LinearLink:
        """See `Link.fresh`."""
        link = self._resized(self.n_features)
        return link if self.shrinkage is None else link.shrunk()

    def _resized(self, n_features: int) -> LinearLink:
        link = type(self)(n_features, self.n_targets, self.n_covariates, self.training_plan, self.pooling)
        link.weak = self.weak
        return link

    def effects(self) -> Tensor:
        """See `Link.effects`."""
        weights: Tensor = self.weights
        return weights

    def mean(self, q: Tensor, covariates: Tensor) -> Tensor:
        """See `Link.mean`: E f(z, x)."""
        return self.function()(q, covariates)

    def variance(self, q: Tensor, covariates: Tensor) -> Tensor:
        """See `Link.variance`: that of f(z, x)."""
        effects = torch.einsum("nm,kme->nke", self.modifiers(covariates), self.coefficients())
        return torch.einsum("nk,nke->ne", q * (1 - q), effects**2)

    def moments(self, q: Tensor, covariates: Tensor, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """See `Link.moments`: without draws."""
        return self.mean(q, covariates), self.variance(q, covariates)

    def parameters_in_units(self, location: InUnits, spread: Tensor, centre: Tensor, width: Tensor) -> dict[str, Tensor]:
        """See `Link.parameters_in_units`: weights, intercept, covariate_weights; with groups group_effects and group_spread."""
        found = {}
        slopes = self.covariate_weights.detach()[: self.columns.n_own] * spread / width[:, None]
        if self.pooling is not None:
            effects = self.group_effects().detach() * spread
            found["group_effects"] = effects_in_units(effects, centre, width)
            units = torch.cat([torch.ones(1).to(spread), width])
            found["group_spread"] = self.priors()["group_effects"].spread / units.unsqueeze(1) * spread
        found["weights"] = self.weights.detach() * spread
        found["intercept"] = location(self.intercept.detach()) - centre @ slopes
        found["covariate_weights"] = slopes
        return found

    @property
    def n_modifiers(self) -> int:
        """See `Link.n_modifiers`."""
        return self.coefficients().shape[1]

    def modifiers(self, covariates: Tensor) -> Tensor:
        """What a feature's effect depends on linearly, (T, M): here a column of ones. covariates: (T, P)."""
        return torch.ones(len(covariates), 1, dtype=covariates.dtype, device=covariates.device)

    def ridge(self) -> Tensor | None:
        """(K, M): prior precision of each coefficient of each feature, or None where no coefficient has a prior."""
        return None if self.weight_precision is None else self.weight_precision.unsqueeze(1)

    def coefficients(self) -> Tensor:
        """(K, M, D): the effect of feature k on item t is the sum over m of modifiers[t, m] coefficients[k, m]."""
        coefficients: Tensor = self.weights.unsqueeze(1)
        return coefficients

    @torch.no_grad()
    def set_solution(self, coefficients: Tensor, intercept: Tensor, covariate_weights: Tensor) -> None:
        """Set all parameters. coefficients: (K, M, D); intercept: (D,); covariate_weights: (P, D)."""
        self.weights.copy_(coefficients[:, 0])
        self.intercept.copy_(intercept)
        self.covariate_weights.copy_(covariate_weights)

    def with_columns(self, kept: list[int], n_added: int) -> LinearLink:
        """See `Link.with_columns`."""
        link = self._resized(len(kept) + n_added)
        coefficients = self.coefficients().detach()
        added = coefficients.new_zeros(n_added, *coefficients.shape[1:])
        link.set_solution(torch.cat([coefficients[kept], added]), self.intercept, self.covariate_weights)
        if self.shrinkage is not None:
            link.shrinkage = torch.cat([self.shrinkage[kept], self.shrinkage.new_ones(n_added)])
        return link
