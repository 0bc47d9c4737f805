"""Normal priors of a link's parameters as sites of the Pyro program, held at the parameters unless they are released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from torch import Tensor

# What marks a site that is held at a parameter.
HELD = "held at a parameter"


@dataclass(frozen=True)
class Prior:
    """N(0, 1 / precision) of every entry. value: of the parameters, as the site has it; precision: broadcasts against it."""

    value: Tensor
    precision: Tensor

    @property
    def spread(self) -> Tensor:
        """The standard deviations."""
        return self.precision.rsqrt()

    @property
    def distribution(self) -> dist.Distribution:
        """Of the whole value: all of its dimensions are event dimensions."""
        return dist.Normal(torch.zeros_like(self.value), self.spread.expand_as(self.value)).to_event(self.value.dim())

    def penalty(self) -> Tensor:
        """Log density at the value relative to its mode; a scalar, never above 0."""
        return -0.5 * (self.precision * self.value**2).sum()


def sampled(priors: Mapping[str, Prior]) -> dict[str, Tensor]:
    """Run `pyro.sample` for each; the parameters themselves, unless the program is `released`. Empty ones have no site."""
    there = {name: prior for name, prior in priors.items() if prior.value.numel() > 0}
    return {name: pyro.sample(name, prior.distribution, obs=prior.value, infer={HELD: True}) for name, prior in there.items()}


def released(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program with these sites latent, as `pyro.poutine` wraps it: draws come from the priors, and a guide may have them."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with _Released():
            return program(*args, **kwargs)

    return run


def is_held(message: Any) -> bool:
    """Whether a message of Pyro's is from such a site."""
    return message["type"] == "sample" and HELD in message["infer"]


class _Released(UnconditionMessenger):  # type: ignore[misc]
    def _pyro_sample(self, message: Any) -> None:
        if is_held(message):
            super()._pyro_sample(message)
