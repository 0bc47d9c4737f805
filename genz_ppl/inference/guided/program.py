"""A Pyro program run again with one site at chosen values and everything else held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.ops.provenance import get_provenance, track_provenance
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

Node = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """A model or guide with everything but one site held at the values of a trace, the indices of batches included."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    site: str
    trace: Trace

    @property
    def node(self) -> Node:
        """The site in the trace."""
        node: Node = self.trace.nodes[self.site]
        return node

    @property
    def depth(self) -> int:
        """How many dimensions plates take up; values of z are stacked to the left of them."""
        return max([-frame.dim for node in sample_nodes(self.trace) for frame in frames(node)], default=0)

    @property
    def z(self) -> Tensor:
        """The site's value, (*batch, K): its batch shape is padded on the left to `depth` dimensions."""
        value: Tensor = self.node["value"].detach()
        return value.reshape((1,) * (self.depth + 1 - value.dim()) + tuple(value.shape))

    def at(self, z: Tensor) -> Trace:
        """The trace with the site at z, (S, *batch, K)."""
        held = self.trace.copy()
        held.nodes[self.site] = {**self.node, "value": z}
        return poutine.trace(poutine.replay(self.function, trace=held)).get_trace(*self.args, **self.kwargs)

    def density(self, z: Tensor, names: frozenset[str]) -> Tensor:
        """Log density of the named sites with z at (S, *batch, K), summed over plates that do not hold z: (S, *batch)."""
        trace, own = self.at(z), {frame.dim for frame in frames(self.node)}
        total = z.new_zeros(z.shape[:-1])
        for name in sorted(names):
            density = scaled_density(trace.nodes[name])
            extra = [dim for dim in range(-min(self.depth, density.dim()), 0) if dim not in own]
            total = total + (density.sum(extra, keepdim=True) if extra else density)
        return total

    def dependents(self) -> list[Node]:
        """The other sites whose density depends on the site's value, all else held."""
        tracked = track_provenance(self.z.unsqueeze(0), frozenset({self.site}))
        devices = [tracked.device] if tracked.is_cuda else []
        # As Pyro does to find dependencies: values that are tracked do not pass every check of an argument.
        with torch.random.fork_rng(devices), torch.no_grad(), pyro.validation_enabled(False):
            nodes = [node for node in sample_nodes(self.at(tracked)) if node["name"] != self.site]
            return [node for node in nodes if self._depends(node)]

    def _depends(self, node: Node) -> bool:
        if node["infer"].get("_deterministic"):
            return False
        # The second condition finds what tracking loses on the way, by a detour through numpy for example.
        return self.site in get_provenance(scaled_density(node)) or len(node["fn"].batch_shape) > self.depth


def sample_nodes(trace: Trace) -> list[Node]:
    """Sample sites, without the draws of batches."""
    return [node for node in trace.nodes.values() if node["type"] == "sample" and not site_is_subsample(node)]


def frames(node: Node) -> frozenset[Any]:
    """Frames of the plates that hold a site and take up a dimension."""
    return frozenset(frame for frame in node["cond_indep_stack"] if frame.vectorized)


def scaled_density(node: Node) -> Tensor:
    """Log density of a site at its value, by plate dimensions, scaled and masked."""
    density: Tensor = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
    scaled: Tensor = scale_and_mask(density, node["scale"], node["mask"])
    return scaled
