"""The bound of a small model as sums over all 2^K values of z that are written out, and how estimates are held against them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributions

from genz_ppl.inference.guided.guides import MeanFieldGuide, StructuredGuide
from genz_ppl.models import GenZ

LIKELIHOODS = ["gaussian", "student_t", "poisson", "bernoulli"]
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """A model with random parameters, a posterior and data, none of them fitted, so that no term vanishes."""

    model: GenZ
    rates: Tensor
    posterior: Tensor
    items: tuple[Tensor, Tensor, Tensor]

    def repeated(self, times: int) -> World:
        """All items several times over: as many independent draws for each item's own parameters in one run."""
        items = tuple(part.repeat(times, 1) for part in self.items)
        return World(self.model, self.rates, self.posterior.repeat(times, 1), items)  # type: ignore[arg-type]


def all_values(n_features: int) -> Tensor:
    """(2^K, 1, K)."""
    rows = list(itertools.product([0.0, 1.0], repeat=n_features))
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 1, n_features)


def log_likelihood(model: GenZ, z: Tensor, covariates: Tensor, targets: Tensor) -> Tensor:
    """log p(y | z, x) of every item, (S, T), missing targets left out."""
    link, likelihood = model.link, model.likelihood
    loc = z @ link.weights + covariates @ link.covariate_weights + link.intercept
    if link.name == "interaction":
        loc = loc + torch.einsum("stk,tp,kpd->std", z.expand(-1, len(covariates), -1), covariates, link.interactions)
    p: Any
    if likelihood.name == "gaussian":
        p = distributions.Normal(loc, likelihood.scale)
    elif likelihood.name == "student_t":
        p = distributions.StudentT(likelihood.degrees_of_freedom, loc, likelihood.scale)
    elif likelihood.name == "poisson":
        p = distributions.Poisson(torch.exp(likelihood.base + loc))
    else:
        p = distributions.Bernoulli(logits=likelihood.base + loc)
    density = p.log_prob(torch.nan_to_num(targets))
    return torch.where(torch.isnan(targets), torch.zeros(()).double(), density).sum(-1)


def log_prior(z: Tensor, answers: Tensor, rates: Tensor) -> Tensor:
    """log p(z_k | h), (S, T, K)."""
    right = torch.where(answers == z, 1 - rates, rates)
    return torch.where(torch.isnan(answers), torch.full((), 0.5).double(), right).log()


def log_joint(world: World, rates: Tensor) -> Tensor:
    """log p(y, z | h) of every item at every z, (S, T)."""
    answers, covariates, targets = world.items
    z = all_values(len(rates))
    return log_likelihood(world.model, z, covariates, targets) + log_prior(z, answers, rates).sum(-1)


def log_beta(rates: Tensor) -> Tensor:
    """Log density of the error rates under the default prior, Beta(1, 9)."""
    return (math.log(9) + 8 * torch.log1p(-rates)).sum()


def bernoulli_log(z: Tensor, logits: Tensor) -> Tensor:
    """Log probability of z."""
    return z * torch.nn.functional.logsigmoid(logits) + (1 - z) * torch.nn.functional.logsigmoid(-logits)


def mean_field_bound(world: World, guide: MeanFieldGuide) -> Tensor:
    """The bound, by enumeration."""
    assert guide.logits is not None
    log_q = bernoulli_log(all_values(guide.n_features), guide.logits).sum(-1)
    bound: Tensor = (log_q.exp() * (log_joint(world, guide.error_rates) - log_q)).sum() + log_beta(guide.error_rates)
    return bound + log_normal(world)


def log_normal(world: World) -> Tensor:
    """Of the parameters that have a prior: products, N(0, 0.1^2), and weights in log-odds and logarithms, N(0, 3^2)."""
    spreads = {"interactions": 0.1} | ({} if world.model.likelihood.standardised else {"weights": 3.0})
    total = torch.zeros((), dtype=torch.float64)
    for name, parameter in world.model.link.named_parameters():
        if name in spreads:
            density: Any = distributions.Normal(torch.zeros_like(parameter), spreads[name])
            total = total + density.log_prob(parameter).sum()
    return total


def structured_bound(world: World, guide: StructuredGuide) -> Tensor:
    """The bound, by enumeration. The exact conditional has its gradient here: the estimator must agree without."""
    k, z = guide.feature, all_values(guide.n_features)
    others = [j for j in range(guide.n_features) if j != k]
    joint = log_joint(world, guide.error_rates)
    if guide.learned:
        logit = guide.intercept + z[..., others] @ guide.slopes
    else:
        # The rows of all_values with z_k = 1 and z_k = 0 come in the same order.
        yes, no = joint[z[:, 0, k] == 1], joint[z[:, 0, k] == 0]
        logit = torch.zeros_like(joint)
        logit[z[:, 0, k] == 1] = logit[z[:, 0, k] == 0] = yes - no
    log_q = bernoulli_log(z[..., others], guide.logits).sum(-1) + bernoulli_log(z[..., k], logit)
    return (log_q.exp() * (joint - log_q)).sum() + log_beta(guide.error_rates) + log_normal(world)


def parameters_of(*modules: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters by module and name."""
    return {f"{type(module).__name__}.{name}": value for module in modules for name, value in module.named_parameters()}


def gradients(parameters: dict[str, Tensor], loss: Tensor) -> Gradients:
    """Of a scalar by every parameter; 0 where it does not matter."""
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(parameters.items(), found, strict=True)
    }


def estimates(elbo: Any, world: World, guide: torch.nn.Module, draws: int) -> dict[str, Tensor]:
    """Draws of minus the loss and of minus every gradient, (draws, ...) each."""
    parameters = parameters_of(world.model, guide)
    rows = []
    for _ in range(draws):
        loss = -elbo.differentiable_loss(world.model, guide, *world.items)
        rows.append({"value": loss.detach(), **gradients(parameters, loss)})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def check_unbiased(found: dict[str, Tensor], bound: Tensor, parameters: dict[str, Tensor], times: int) -> None:
    """Every mean lies within five standard errors of the exact value."""
    exact = {"value": bound.detach(), **gradients(parameters, bound)}
    moved = 0
    for name, draws in found.items():
        expected = exact[name]
        if expected.numel() == 0:
            continue
        if draws.dim() > 1 and draws.shape[1] == 5 * times:  # per item: the repetitions are draws, too
            draws = draws.reshape(-1, 5, *draws.shape[2:])
            expected = expected.reshape(times, 5, *expected.shape[1:]).mean(0)
        error = draws.std(0) / math.sqrt(len(draws))
        close = (draws.mean(0) - expected).abs() <= 5 * error + 1e-9 * (1 + expected.abs())
        assert bool(close.all()), (name, draws.mean(0), expected, error)
        moved += int((expected.abs() > 1e-3).sum())
    assert moved > 8  # the exact gradient is not zero all over
