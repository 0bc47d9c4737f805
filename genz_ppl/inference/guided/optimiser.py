"""The optimiser that guides are trained with by default, as Pyro has optimisers.

The logits of q take natural-gradient steps: the gradient over the Fisher information q (1 - q) is the distance from the
logit to the right-hand side of eq. 11, so that a step of length one is eq. 11 for all features at once; shorter steps and a
limit keep features that overlap from swinging. All other parameters are Adam's.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn

from genz_ppl.inference.guided.guides import LARGEST_LOGIT

# The longest natural-gradient step, and the most it may move a logit.
LONGEST_STEP, LONGEST_MOVE = 0.5, 2.0
# A posterior over the weights starts near its end, and larger steps would only blur it.
RATES_LEARNING, WEIGHTS_LEARNING = 0.02, 0.005


class GuideOptimiser(PyroOptim):  # type: ignore[misc]
    """Adam for the parameters named, each with a learning rate by its name; natural-gradient steps for all others.

    of_link: the learning rate of the link's parameters. `pace` says how long the next steps are.
    """

    def __init__(self, named: dict[str, nn.Parameter], of_link: float) -> None:
        super().__init__(torch.optim.Adam, {})
        groups = [{"params": [p], "lr": _learning_rate(name, of_link), "name": name} for name, p in named.items()]
        self.adam = torch.optim.Adam(groups or [nn.Parameter(torch.zeros(1))])
        for group in self.adam.param_groups:
            group["first"] = group["lr"]
        self.by_adam = set(named.values())
        self.pace(1.0, LONGEST_STEP, 1)

    def pace(self, share: float, step: float, batches: int) -> None:
        """share: of the first learning rates; step: of the natural gradient; batches: in an epoch, see `natural_step`."""
        for group in self.adam.param_groups:
            group["lr"] = share * group["first"]
        self.step, self.batches = step, batches

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """One step of the parameters that `pyro.infer.SVI` met, whose gradients are there."""
        self.adam.step()
        for parameter in set(params) - self.by_adam:
            if parameter.grad is not None:
                natural_step(parameter, self.step, self.batches)


def known_to_svi(*modules: nn.Module) -> None:
    """Give plain parameters what `pyro.infer.SVI` asks every parameter for, and Pyro gives to those with constraints only.

    It matters where modules have parameters of their own (`module_local_params`). SVI adds to the gradients it finds: none.
    """
    for module in modules:
        for parameter in module.parameters():
            parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
            parameter.grad = None


def _learning_rate(name: str, of_link: float) -> float:
    if name.startswith("weights."):
        return WEIGHTS_LEARNING
    return of_link if name.startswith("link.") else RATES_LEARNING


@torch.no_grad()
def natural_step(logits: nn.Parameter, step: float, batches: int) -> None:
    """Move logits against their gradient over q (1 - q); a sparse gradient moves its rows only.

    batches: in one epoch; the gradient of a batch is scaled up by as much, and is brought back here.
    """
    gradient = logits.grad
    assert gradient is not None
    if not gradient.is_sparse:
        logits.copy_(_moved(logits, gradient / batches, step))
        return
    gradient = gradient.coalesce()
    rows = gradient.indices()[0]
    logits[rows] = _moved(logits[rows], gradient.values() / batches, step)


def _moved(logits: Tensor, gradient: Tensor, step: float) -> Tensor:
    q = torch.sigmoid(logits)
    move = (-step * gradient / (q * (1 - q))).clamp(-LONGEST_MOVE, LONGEST_MOVE)
    return (logits + move).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
