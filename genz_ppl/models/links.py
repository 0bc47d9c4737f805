"""Links f: (z, x) -> location of y. Adding one: subclass `Link`, decorate with `add_link`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, TypeVar

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.nn import functional

from genz_ppl.settings import LINK_NAMES

# Standard deviation of the prior of products of features and covariates.
INTERACTION_SPREAD = 0.1

LINKS: dict[str, type[Link]] = {}
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
    def n_modifiers(self) -> int:
        """M, how many coefficients a feature has for each target, as far as they can be told apart."""
        return 1

    @property
    def penalised(self) -> bool:
        """Whether `penalty` is ever below 0."""
        return False

    def prior_spread(self, name: str) -> float | Tensor:
        """Standard deviation of the normal prior of a parameter in Bayesian fits; targets and covariates are standardised.

        A tensor, for entries that differ, broadcasts against the parameter.
        """
        return 1.0

    def penalty(self) -> Tensor:
        """Log prior of the parameters where points have one, too, relative to its mode; a scalar, never above 0."""
        return torch.zeros((), dtype=torch.float64)


@add_link
class LinearLink(Link):
    """y = z W + b + x C (eq. 17). weights: (K, D); intercept: (D,); covariate_weights: (P, D).

    pooling: (P,), prior precision of the weights of each covariate, 0 for none; those with one come last: they are the
    effects of groups (`genz_ppl.inference.varying`). None: no covariate weight has a prior.

    shrinkage: (K,), prior precision of the weights of each feature, for all targets, learned by
    `genz_ppl.inference.engines.weight_prior`; None, as a new link has it: weights have no prior, or the same normal prior of
    precision `weak`, if that is above 0. See `shrunk`.
    """

    name = "linear"
    adds_up = True
    shrinkage: Tensor | None
    weak: float = 0.0

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
        self.n_unpooled = n_covariates if pooling is None else int((pooling == 0).sum())
        self.weights = nn.Parameter(torch.zeros(n_features, n_targets, dtype=torch.float64))
        self.intercept = nn.Parameter(torch.zeros(n_targets, dtype=torch.float64))
        self.covariate_weights = nn.Parameter(torch.zeros(n_covariates, n_targets, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K); covariates: (..., P). Returns (..., D)."""
        return z @ self.weights + covariates @ self.covariate_weights + self.intercept

    @property
    def penalised(self) -> bool:
        """See `Link.penalised`."""
        return self.pooling is not None or self.shrinkage is not None or self.weak > 0

    def shrunk(self) -> LinearLink:
        """This link, its features' weights with a prior of spread 1."""
        self.shrinkage = self.intercept.new_ones(self.n_features)
        return self

    def prior_spread(self, name: str) -> float | Tensor:
        """See `Link.prior_spread`."""
        if name == "weights" and self.shrinkage is not None:
            return self.shrinkage.rsqrt().unsqueeze(1)
        if name == "weights" and self.weak > 0:
            return float(self.weak**-0.5)
        if name != "covariate_weights" or self.pooling is None:
            return 1.0
        return torch.where(self.pooling > 0, self.pooling, 1.0).rsqrt().unsqueeze(1)

    def penalty(self) -> Tensor:
        """See `Link.penalty`."""
        penalty, prior = super().penalty().to(self.intercept.device), self.ridge()
        if prior is not None:
            penalty = penalty - 0.5 * (prior.unsqueeze(2) * self.coefficients() ** 2).sum()
        if self.pooling is not None:
            penalty = penalty - 0.5 * (self.pooling @ self.covariate_weights**2).sum()
        return penalty

    def fresh(self) -> LinearLink:
        """See `Link.fresh`."""
        link = self._resized(self.n_features)
        return link if self.shrinkage is None else link.shrunk()

    def _resized(self, n_features: int) -> LinearLink:
        link = type(self)(n_features, self.n_targets, self.n_covariates, self.training_plan, self.pooling)
        link.weak = self.weak
        return link

    @property
    def n_modifiers(self) -> int:
        """See `Link.n_modifiers`."""
        return self.coefficients().shape[1]

    def modifiers(self, covariates: Tensor) -> Tensor:
        """What a feature's effect depends on linearly, (T, M): here a column of ones. covariates: (T, P)."""
        return torch.ones(len(covariates), 1, dtype=covariates.dtype, device=covariates.device)

    def ridge(self) -> Tensor | None:
        """(K, M): prior precision of each coefficient of each feature, or None where no coefficient has a prior."""
        if self.shrinkage is None:
            return self.weights.new_full((self.n_features, 1), self.weak) if self.weak > 0 else None
        return self.shrinkage.unsqueeze(1)

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


@add_link
class InteractionLink(LinearLink):
    """Linear plus products: y = z W + b + x C + sum over k, p of z_k x_p V_kp. interactions, V: (K, P, D).

    An upgraded kitchen is worth more in a larger house. The other parameters are those of `LinearLink`. Products have a prior,
    N(0, 0.1^2) for standardised targets and covariates, in point fits too: without it every feature brings P more numbers
    to fit, and a run with many features follows the noise. There are no products with effects of groups.
    """

    name = "interaction"

    def __init__(
        self,
        n_features: int,
        n_targets: int,
        n_covariates: int = 0,
        training_plan: TrainingPlan | None = None,
        pooling: Tensor | None = None,
    ) -> None:
        super().__init__(n_features, n_targets, n_covariates, training_plan, pooling)
        self.interactions = nn.Parameter(torch.zeros(n_features, self.n_unpooled, n_targets, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K); covariates: (..., P). Returns (..., D)."""
        total = super().forward(z, covariates)
        for p in range(self.n_unpooled):
            total = total + covariates[..., p, None] * (z @ self.interactions[:, p])
        return total

    @property
    def penalised(self) -> bool:
        """See `Link.penalised`."""
        return True

    def prior_spread(self, name: str) -> float | Tensor:
        """See `Link.prior_spread`."""
        return INTERACTION_SPREAD if name == "interactions" else super().prior_spread(name)

    def ridge(self) -> Tensor:
        """See `LinearLink.ridge`."""
        ridge = self.interactions.new_full((self.n_features, 1 + self.n_unpooled), INTERACTION_SPREAD**-2)
        ridge[:, 0] = self.weak if self.shrinkage is None else self.shrinkage
        return ridge

    def modifiers(self, covariates: Tensor) -> Tensor:
        """[1, x], (T, 1 + P)."""
        return torch.cat([super().modifiers(covariates), covariates[:, : self.n_unpooled]], dim=1)

    def coefficients(self) -> Tensor:
        """[W, V], (K, 1 + P, D)."""
        return torch.cat([self.weights.unsqueeze(1), self.interactions], dim=1)

    @torch.no_grad()
    def set_solution(self, coefficients: Tensor, intercept: Tensor, covariate_weights: Tensor) -> None:
        """See `LinearLink.set_solution`."""
        super().set_solution(coefficients, intercept, covariate_weights)
        self.interactions.copy_(coefficients[:, 1:])


@add_link
class NeuralLink(Link):
    """A network with two hidden layers (64 and 32 ReLU units, dropout 0.1), trained as the paper's.

    That is Adam with learning rate 1e-3 for 100 epochs in batches of 32. Dropout is off outside training.
    """

    name = "neural"

    def __init__(
        self,
        n_features: int,
        n_targets: int,
        n_covariates: int = 0,
        training_plan: TrainingPlan | None = None,
        hidden: tuple[int, int] = (64, 32),
        dropout: float = 0.1,
    ) -> None:
        plan = training_plan or TrainingPlan(epochs=100, batch_size=32, learning_rate=1e-3)
        super().__init__(n_features, n_targets, n_covariates, plan)
        self.hidden, self.dropout = hidden, dropout
        sizes = (n_features + n_covariates, *hidden, n_targets)
        linear = PyroModule[nn.Linear]
        with warnings.catch_warnings():
            # Before its first feature a run without covariates has no inputs; that is meant.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            layers = [linear(before, after, dtype=torch.float64) for before, after in pairwise(sizes)]
        self.network = PyroModule[nn.Sequential](*layers)
        if sizes[0] == 0:
            # torch then starts the biases at 0, where no ReLU has a gradient: features added later could never matter.
            nn.init.uniform_(self.network[0].bias, -1.0, 1.0)

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K); covariates: (..., P). Returns (..., D)."""
        return self.function()(z, covariates)

    def function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """See `Link.function`: Pyro's bookkeeping for each parameter is done once, not at every call."""
        layers = [(layer.weight, layer.bias) for layer in self.network if isinstance(layer, nn.Linear)]
        dropout, training = self.dropout, self.training

        def apply(z: Tensor, covariates: Tensor) -> Tensor:
            # Answers are centred: a first layer that sees -1/2 and 1/2 trains faster and treats yes and no alike.
            values = torch.cat([z - 0.5, covariates.expand(*z.shape[:-1], -1)], dim=-1)
            for weight, bias in layers[:-1]:
                values = functional.dropout(functional.relu(functional.linear(values, weight, bias)), dropout, training)
            return functional.linear(values, *layers[-1])

        return apply

    def fresh(self) -> NeuralLink:
        """See `Link.fresh`."""
        return self._resized(self.n_features)

    def prior_spread(self, name: str) -> float | Tensor:
        """As wide as the usual start of weights before ReLUs, so that activations keep their size."""
        parameter = self.get_parameter(name)
        return float((2.0 / max(1, parameter.shape[1])) ** 0.5) if parameter.dim() == 2 else 1.0

    def _resized(self, n_features: int) -> NeuralLink:
        return NeuralLink(n_features, self.n_targets, self.n_covariates, self.training_plan, self.hidden, self.dropout)

    def with_columns(self, kept: list[int], n_added: int) -> NeuralLink:
        """See `Link.with_columns`."""
        link = self._resized(len(kept) + n_added)
        columns = [*kept, *range(self.n_features, self.n_features + self.n_covariates)]
        places = [*range(len(kept)), *range(len(kept) + n_added, len(kept) + n_added + self.n_covariates)]
        state = {name: value.clone() for name, value in self.state_dict().items()}
        first = state["network.0.weight"].new_zeros(self.hidden[0], len(kept) + n_added + self.n_covariates)
        first[:, places] = state["network.0.weight"][:, columns]
        state["network.0.weight"] = first
        link.load_state_dict(state)
        return link
