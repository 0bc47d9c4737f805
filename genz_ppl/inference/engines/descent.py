"""M-steps by gradients: L-BFGS, for parameters that move a smooth function of few numbers, and Adam for networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule
from torch import Tensor, nn

from genz_ppl.inference.isolation import one_thread
from genz_ppl.models import GenZ

# Log-odds of a place in an interval from which gradients still lead anywhere.
FREE = 3.0
# Share of a link's epochs that an M-step trains for when the one before it has just done so.
CONTINUED = 0.05


def raised(
    model: GenZ, n_items: int, loss_of: Callable[[Tensor], Callable[[], Tensor]], share: float, device: torch.device | None = None
) -> None:
    """Train link and likelihood. loss_of: what is to fall, of some of the items by position, as a function of the parameters.

    share: how much of the link's own number of epochs to run. A link that adds up effects is trained on all items by L-BFGS,
    for at most so many iterations: it needs few, and never ends above where it started; others by Adam, in minibatches.
    """
    plan, parameters = model.link.training_plan, [*model.link.parameters(), *model.likelihood.parameters()]
    epochs = max(1, round(plan.epochs * share))
    with one_thread(), pyro.validation_enabled(False):
        if model.link.adds_up and plan.batch_size is None:
            descend(parameters, loss_of(torch.arange(n_items, device=device)), epochs)
            return
        optimiser = torch.optim.Adam(parameters, lr=plan.learning_rate, fused=True)
        model.train()
        for _ in range(epochs):
            order = torch.randperm(n_items, device=device)
            for chosen in order.split(plan.batch_size or n_items):  # type: ignore[no-untyped-call]
                optimiser.zero_grad()
                loss_of(chosen)().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    model.eval()


def descend(parameters: Sequence[nn.Parameter], loss: Callable[[], Tensor], iterations: int) -> None:
    """L-BFGS on all of the parameters; they stay as they were if it comes to nothing."""
    for parameter in parameters:
        parameter.data = parameter.data.contiguous()  # torch's L-BFGS takes no other gradients
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=iterations, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    before = [parameter.detach().clone() for parameter in parameters]
    started = optimiser.step(closure)  # type: ignore[no-untyped-call]
    if not loss().item() <= started:
        with torch.no_grad():
            for parameter, old in zip(parameters, before, strict=True):
                parameter.copy_(old)


@torch.no_grad()
def off_their_limits(module: PyroModule) -> None:
    """Parameters in an interval, brought away from its ends: there they have next to no gradient, and would stay for good."""
    for name, (limits, _) in module._pyro_params.items():
        if isinstance(limits, type(constraints.unit_interval)):
            getattr(module, f"{name}_unconstrained").clamp_(-FREE, FREE)
