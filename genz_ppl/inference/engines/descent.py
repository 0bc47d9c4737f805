"""L-BFGS: for parameters that move a smooth function of few numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule
from torch import Tensor, nn

# Log-odds of a place in an interval from which gradients still lead anywhere.
FREE = 3.0


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
