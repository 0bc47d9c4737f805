"""The same model with priors on the parameters of link and likelihood, for posteriors over them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.func import functional_call

from genz_ppl.models.genz import GenZ
from genz_ppl.models.priors import is_held

# Standard deviation of the normal prior of a likelihood's unconstrained parameters: a factor of seven either way.
LIKELIHOOD_SPREAD = 2.0


def free_parameters(model: GenZ) -> dict[str, nn.Parameter]:
    """The unconstrained parameters of the link, then those of the likelihood, by name (a positive scale as its logarithm)."""
    parts = (("link", model.link), ("likelihood", model.likelihood))
    return {f"{part}.{name}": parameter for part, module in parts for name, parameter in module.named_parameters()}


def flattened(model: GenZ) -> Tensor:
    """`free_parameters` side by side, (N,), without gradient."""
    parts = [parameter.detach().flatten() for parameter in free_parameters(model).values()]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def shaped(model: GenZ, values: Tensor) -> dict[str, Tensor]:
    """The reverse of `flattened` for values, (N,)."""
    parameters = free_parameters(model)
    parts = torch.split(values, [parameter.numel() for parameter in parameters.values()])
    return {name: part.view_as(parameter) for (name, parameter), part in zip(parameters.items(), parts, strict=True)}


class BayesianGenZ(PyroModule):  # type: ignore[misc]
    """A GenZ whose `free_parameters` are one site "link_and_noise", (N,), with a normal prior each.

    Link parameters are centred at 0 (networks: with the spread of their usual start), likelihood parameters at their present
    values. The sites of the model itself are unchanged.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, model: GenZ) -> None:
        super().__init__()
        # In a list: the model's parameters are drawn, so they must not count as parameters of this module.
        self._held = [model]
        centres, spreads = [], []
        for name, parameter in free_parameters(model).items():
            of_link = name.startswith("link.")
            centres.append(torch.zeros_like(parameter).flatten() if of_link else parameter.detach().flatten().clone())
            spread = model.link.prior_spread(name.removeprefix("link.")) if of_link else LIKELIHOOD_SPREAD
            spreads.append((spread * torch.ones_like(parameter)).detach().flatten())
        self.register_buffer("centre", torch.cat(centres))
        self.register_buffer("spread", torch.cat(spreads))

    @property
    def model(self) -> GenZ:
        """The model whose parameters are drawn."""
        return self._held[0]

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """See `GenZ.forward`."""
        values = pyro.sample("link_and_noise", dist.Normal(self.centre, self.spread).to_event(1))
        # The link's priors are part of that of the parameters; and these are drawn here, not learned.
        with poutine.block(hide_fn=lambda message: message["type"] == "param" or is_held(message)):
            drawn: Tensor = functional_call(self.model, shaped(self.model, values), (answers, covariates, targets, batch_size))
        return drawn
