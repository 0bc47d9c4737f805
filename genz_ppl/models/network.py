"""A network as the link f: (z, x) -> location of y."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.nn import functional

from genz_ppl.models.links import Link, TrainingPlan, add_link


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
