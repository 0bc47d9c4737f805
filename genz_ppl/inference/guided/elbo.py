"""The bound of a Pyro model and guide, with local expectation gradients for the yes/no values of one site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.infer.elbo import ELBO
from pyro.infer.util import is_validation_enabled, torch_item
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_model_guide_match, check_site_shape, warn_if_nan
from torch import Tensor
from torch.nn import functional

from genz_ppl.errors import OptionError
from genz_ppl.inference.guided.conditional import ConditionalBernoulli, with_value
from genz_ppl.inference.guided.program import Node, Program, frames, sample_nodes


class TraceLocalExpectation_ELBO(ELBO):  # type: ignore[misc]  # noqa: N801 - named as Pyro names its estimators
    """An estimator of the bound for `pyro.infer.SVI`, for a model with a site z of K Bernoullis in a plate.

    f(z) is the sum of the log densities of the model's sites that depend on z. With q_k = q(z_k = 1), independent,

        d E_q[f] / d q_k = E_q[f(z_k = 1, z_-k) - f(z_k = 0, z_-k)],

    which needs no score function. All 2K clamps are one run of the model with z of shape (2K, B, K), B items in the
    batch (memory grows with it); everything but z, the batch included, is held at its value in the guide's trace. log p(z)
    and the entropy of z are exact. Where the guide's z is a `ConditionalBernoulli`, z_k given the others is summed out:
    f(z) is replaced by

        g(z_-k) = sum over z_k of q(z_k | z_-k) [f(z) + log p(z_k) - log q(z_k | z_-k)]

    and only the others are clamped. `others` says where the features that are not clamped stand:
      sample  at a draw z^(k) from q for every clamp k, see `stratified`. Value and gradients are unbiased. The value is

                  1/K sum over k of w_k f(1, z^(k)_-k) + (1 - w_k) f(0, z^(k)_-k),  w_k = K q_k - sum over l != k of z^(l)_k:

              a clamp makes up for what the other draws have too much or too little of its feature, so that value and model
              have no noise where f is a sum over features. All gradients are its derivatives, but for those by q_k, which
              are f(1, z^(k)_-k) - f(0, z^(k)_-k). With one feature all is exact. The draw in the guide's trace is not used.
      mean    at q: the value is f(q) + sum over k of [q_k f(1, q_-k) + (1 - q_k) f(0, q_-k) - f(q)], and all gradients are
              its derivatives. Without noise, and exact where f is quadratic in z (a link linear in z, Gaussian noise);
              an approximation, not a bound, elsewhere.

    All other latent sites of the guide must be points or reparameterised. Plates, scales and masks count as in
    `pyro.infer.Trace_ELBO`. The structure of the model must not change from call to call. Raises OptionError for unknown
    options and, when run, NotImplementedError naming the site for a model or guide that it cannot take.
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = float("inf"),
        others: Literal["sample", "mean"] = "sample",
        site: str = "z",
        retain_graph: bool | None = None,
    ) -> None:
        if others not in ("sample", "mean"):
            raise OptionError(f"others: expected sample or mean, got {others!r}")
        if num_particles < 1:
            raise OptionError(f"num_particles: expected a whole number of at least 1, got {num_particles!r}")
        super().__init__(num_particles=num_particles, max_plate_nesting=max_plate_nesting, retain_graph=retain_graph)
        self.others, self.site = others, site
        self._dependents: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
        self._checked_guides: WeakSet[Any] = WeakSet()

    @torch.no_grad()
    def loss(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """An estimate of minus the bound."""
        loss: float = -sum(torch_item(value) for value, _ in self._particles(model, guide, args, kwargs))
        warn_if_nan(loss, "loss")
        return loss

    def differentiable_loss(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """The same as a scalar tensor whose gradient is the estimated gradient."""
        loss = torch.zeros(())
        for value, surrogate in self._particles(model, guide, args, kwargs):
            loss = loss - value.detach() - (surrogate - surrogate.detach())
        warn_if_nan(loss, "loss")
        return loss

    def loss_and_grads(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """An estimate of minus the bound; the estimated gradient is added to the parameters' `grad`."""
        loss = 0.0
        for value, surrogate in self._particles(model, guide, args, kwargs):
            loss -= torch_item(value)
            if surrogate.requires_grad:
                torch.autograd.backward(-surrogate, retain_graph=self.retain_graph)
        warn_if_nan(loss, "loss")
        return loss

    def _particles(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Value of the bound and a scalar with its gradient, each divided by the number of particles."""
        for program, guide_trace in self._get_traces(model, guide, args, kwargs):
            estimate = Estimate(program, guide_trace, self._dependents[model])
            value, surrogate = estimate.at_the_mean() if self.others == "mean" else estimate.at_a_sample()
            yield value / self.num_particles, surrogate / self.num_particles

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Program, Trace]:
        if isinstance(poutine.unwrap(guide), Messenger):
            raise NotImplementedError("guide: expected a function or module that samples its sites, got a messenger guide")
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        check_sites(model_trace, guide_trace, self.site)
        program = Program(model, args, kwargs, self.site, model_trace)
        if guide not in self._checked_guides:
            check_guide(Program(guide, args, kwargs, self.site, guide_trace))
            self._checked_guides.add(guide)
        if model not in self._dependents:
            self._dependents[model] = check_plates(program)
        guide_trace, pruned = prune_subsample_sites(guide_trace), prune_subsample_sites(model_trace)
        if is_validation_enabled():
            check_model_guide_match(pruned, guide_trace, self.max_plate_nesting)
        pruned.compute_log_prob()  # also for `program`: both hold the same nodes
        guide_trace.compute_score_parts()
        if is_validation_enabled():
            for node in [*sample_nodes(pruned), *sample_nodes(guide_trace)]:
                check_site_shape(node, self.max_plate_nesting)
        check_reparameterised(guide_trace, self.site)
        return program, guide_trace


class Estimate:
    """One particle's estimate. batch is the shape of `Program.z` without K; n features are free, that is, not summed out."""

    def __init__(self, program: Program, guide_trace: Trace, dependents: frozenset[str]) -> None:
        self.program, self.dependents, self.z = program, dependents, program.z
        self.model_node, self.guide_node = program.node, guide_trace.nodes[program.site]
        q = self.guide_node["fn"]
        self.conditional = q if isinstance(q, ConditionalBernoulli) else None
        self.logits = (bernoulli_of(self.guide_node) if self.conditional is None else q).logits.reshape(self.z.shape)
        self.prior_logits = bernoulli_of(self.model_node).logits.reshape(self.z.shape)
        summed = None if self.conditional is None else self.conditional.feature
        self.free = [k for k in range(self.z.shape[-1]) if k != summed]
        self.q = torch.sigmoid(self.logits)
        self.free_q = self.q[..., self.free].movedim(-1, 0)  # (n, *batch)
        exact = self.prior_and_entropy(self.q[..., self.free], self.logits[..., self.free], self.prior_logits[..., self.free])
        elsewhere = [node for node in sample_nodes(program.trace) if node["name"] not in {program.site, *dependents}]
        guide_sites = [node for node in sample_nodes(guide_trace) if node["name"] != program.site]
        self.rest = exact.sum() + total(elsewhere, self.z) - total(guide_sites, self.z)

    def at_a_sample(self) -> tuple[Tensor, Tensor]:
        """Value and a scalar with the gradient, the features that are not clamped at draws, other ones for each clamp."""
        if not self.free:
            value = self.rest + self.local(self.z.unsqueeze(0)).sum()
            return value, value
        n, q = len(self.free), self.free_q.detach()
        drawn = stratified(q)
        z = self.z.repeat(n, *[1] * self.z.dim())
        z[..., self.free] = drawn
        yes, no = self.local(self.clamped(z)).chunk(2)
        # Its mean is q_k, and z_k in other draws is independent of all that clamp k is evaluated at: it may stand for q_k.
        weight = n * q - drawn.sum(0).movedim(-1, 0)
        value = self.rest + (weight * yes + (1 - weight) * no).mean(0).sum()
        return value, value + (self.free_q * (yes - no).detach()).sum()

    def at_the_mean(self) -> tuple[Tensor, Tensor]:
        """The same, those features at their mean; the value is its own surrogate."""
        q = self.q.unsqueeze(0)
        density = self.local(torch.cat([q, self.clamped(q)]))
        centre, yes, no = density[0], density[1 : 1 + len(self.free)], density[1 + len(self.free) :]
        corrections = self.free_q * yes + (1 - self.free_q) * no - centre
        value = self.rest + centre.sum() + corrections.sum()
        return value, value

    def clamped(self, z: Tensor) -> Tensor:
        """z, (1 or n, *batch, K), with each free feature at 1, then each at 0: (2n, *batch, K)."""
        chosen = torch.eye(z.shape[-1], dtype=torch.bool, device=z.device)[self.free]
        chosen = chosen.reshape(len(self.free), *[1] * (z.dim() - 2), z.shape[-1])
        return torch.cat([torch.where(chosen, value, z) for value in (z.new_ones(()), z.new_zeros(()))])

    def local(self, z: Tensor) -> Tensor:
        """f(z), or g(z_-k) where z_k is summed out. z: (S, *batch, K); returns (S, *batch)."""
        if self.conditional is None:
            return self.program.density(z, self.dependents)
        k = self.conditional.feature
        both = torch.cat([with_value(z, k, value) for value in (1.0, 0.0)])
        yes, no = self.program.density(both, self.dependents).chunk(2)
        logit = self.conditional.conditional_logit(z)
        q = torch.sigmoid(logit)
        own = self.prior_and_entropy(q.unsqueeze(-1), logit.unsqueeze(-1), self.prior_logits[..., k : k + 1])
        expected: Tensor = q * yes + (1 - q) * no + own
        return expected

    def prior_and_entropy(self, q: Tensor, logits: Tensor, prior_logits: Tensor) -> Tensor:
        """E_q[log p(z)] - E_q[log q(z)] of independent features, (..., *batch, n) each; returns (..., *batch)."""
        prior, negative_entropy = expected_log(q, prior_logits), expected_log(q, logits)
        model, guide = self.model_node, self.guide_node
        in_model: Tensor = scale_and_mask(prior.sum(-1), model["scale"], model["mask"])
        in_guide: Tensor = scale_and_mask(negative_entropy.sum(-1), guide["scale"], guide["mask"])
        return in_model - in_guide


def stratified(q: Tensor) -> Tensor:
    """A draw of n independent Bernoullis for each of n clamps. q: (n, *batch), q(z_j = 1); returns (n, *batch, n), clamps first.

    Every draw by itself has exactly that distribution. Entry j of clamp j is 0: it is not used. The n - 1 other draws of z_j
    compare q_j with one number from each of n - 1 equal strata of [0, 1], in an order that is random for each feature. The
    order is the same for all items; that [0, 1] is rotated by a random amount for each item and feature makes the entries of
    a draw independent and items uncorrelated, and for one item alone it is as if each had an order of its own.
    """
    n = len(q)
    # Twice argsort gives ranks; the diagonal is last, so that the others have the ranks from 0 to n - 2.
    order = torch.rand(n, n, device=q.device).fill_diagonal_(2.0).argsort(0).argsort(0).to(q)
    batch = [1] * (q.dim() - 1)
    uniform = (order.reshape(n, *batch, n) / max(1, n - 1) + torch.rand_like(q).movedim(0, -1)) % 1
    counted = 1 - torch.eye(n).to(q).reshape(n, *batch, n)
    drawn: Tensor = (uniform < q.movedim(0, -1)) * counted
    return drawn


def expected_log(q: Tensor, logits: Tensor) -> Tensor:
    """E_q[log p(z)] of Bernoullis: q and the log-odds under p, broadcast."""
    return q * functional.logsigmoid(logits) + (1 - q) * functional.logsigmoid(-logits)


def bernoulli_of(node: Node) -> Any:
    """The K Bernoullis of a site as torch's distribution of batch shape (..., K). Raises NotImplementedError for another kind."""
    fn = node["fn"]
    base = getattr(fn, "base_dist", None)
    if not isinstance(base, torch.distributions.Bernoulli) or len(fn.event_shape) != 1:
        raise NotImplementedError(
            f"site {node['name']!r}: expected Bernoulli(...).to_event(1), or ConditionalBernoulli in the guide, got {fn}"
        )
    return base


def total(nodes: list[Node], like: Tensor) -> Tensor:
    """Sum of log densities that were computed before; a scalar."""
    return sum((node["log_prob_sum"] for node in nodes), like.new_zeros(()))


def check_sites(model_trace: Trace, guide_trace: Trace, site: str) -> None:
    """Raise NotImplementedError unless the guide samples the site and every other latent site of the model."""
    for node in sample_nodes(model_trace):
        if not node["is_observed"] and node["name"] not in guide_trace.nodes:
            raise NotImplementedError(
                f"site {node['name']!r}: expected it observed or in the guide, but it is neither; pass its value or add it there"
            )
    latent = {node["name"] for trace in (model_trace, guide_trace) for node in sample_nodes(trace) if not node["is_observed"]}
    if site not in latent or site not in model_trace.nodes:
        raise NotImplementedError(f"site {site!r}: expected it as a latent site of model and guide; name another one with site=")


def check_plates(program: Program) -> frozenset[str]:
    """Names of the model's sites that depend on the site. Raises NotImplementedError for one outside the site's plates."""
    found = program.dependents()
    for node in found:
        outside = ", ".join(repr(frame.name) for frame in frames(program.node) - frames(node))
        if outside:
            raise NotImplementedError(
                f"site {node['name']!r} depends on {program.site!r} but is outside its plate {outside}; "
                "local expectations are for sites inside"
            )
    return frozenset(node["name"] for node in found)


def check_guide(program: Program) -> None:
    """Raise NotImplementedError if another site of the guide depends on the site."""
    for node in program.dependents():
        raise NotImplementedError(
            f"site {node['name']!r} of the guide depends on {program.site!r}; local expectations need it independent"
        )


def check_reparameterised(guide_trace: Trace, site: str) -> None:
    """Raise NotImplementedError for another site of the guide that is neither a point nor reparameterised."""
    for node in sample_nodes(guide_trace):
        if node["name"] != site and not is_identically_zero(node["score_parts"].score_function):
            raise NotImplementedError(
                f"site {node['name']!r}: expected a point (Delta) or a reparameterised distribution in the guide, "
                f"got {node['fn']}; local expectations are for {site!r} only"
            )
