"""What Adam remembers of each parameter, kept with the state so that a training goes on where it stopped."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genz_ppl.models import Link

FIRST, SECOND = "exp_avg", "exp_avg_sq"


@dataclass(frozen=True)
class Moments:
    """first and second: running means of gradients and of their squares, by parameter name; steps: taken so far, by name."""

    first: dict[str, Tensor]
    second: dict[str, Tensor]
    steps: dict[str, Tensor]

    @classmethod
    def of(cls, parameters: dict[str, nn.Parameter], optimiser: torch.optim.Adam) -> Moments:
        """Copies of what the optimiser remembers."""
        known = {name: optimiser.state[p] for name, p in parameters.items() if optimiser.state.get(p)}
        return cls(*({name: one[key].clone() for name, one in known.items()} for key in (FIRST, SECOND, "step")))

    def put(self, parameters: dict[str, nn.Parameter], optimiser: torch.optim.Adam) -> None:
        """Make the optimiser remember these, where the parameter still has that shape."""
        for name, parameter in parameters.items():
            if name in self.first and self.first[name].shape == parameter.shape:
                optimiser.state[parameter] = {
                    "step": self.steps[name].clone(),
                    FIRST: self.first[name].clone(),
                    SECOND: self.second[name].clone(),
                }

    def with_columns(self, link: Link, kept: list[int], n_added: int) -> Moments:
        """Those of the features `kept`; new features start without any. link: of the model before the change."""
        return Moments(_moved(self.first, link, kept, n_added), _moved(self.second, link, kept, n_added), dict(self.steps))

    def tensors(self) -> dict[str, Tensor]:
        """Everything by one name each, to be written down."""
        parts = (("first", self.first), ("second", self.second), ("steps", self.steps))
        return {f"{part}.{name}": value for part, values in parts for name, value in values.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Moments:
        """The reverse of `tensors`."""
        parts: dict[str, dict[str, Tensor]] = {"first": {}, "second": {}, "steps": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        return cls(**parts)


def _moved(moments: dict[str, Tensor], link: Link, kept: list[int], n_added: int) -> dict[str, Tensor]:
    """A link with moments in place of its parameters gives up and takes on columns as the link itself does."""
    holder = copy.deepcopy(link)
    with torch.no_grad():
        for name, parameter in holder.named_parameters():
            moment = moments.get(f"link.{name}")
            parameter.copy_(torch.zeros_like(parameter) if moment is None else moment)
    changed = {f"link.{name}": value.detach().clone() for name, value in holder.with_columns(kept, n_added).named_parameters()}
    moved = {name: changed.get(name, value) for name, value in moments.items()}
    for name, value in moved.items():
        if name.startswith("guide."):
            moved[name] = torch.cat([value[kept], value.new_zeros(n_added, *value.shape[1:])])
    return moved
