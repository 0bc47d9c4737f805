"""The exact posterior of an item's features, by a sum over all of their 2^K assignments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GenZ
from genz_ppl.models.features import prior_probability
from genz_ppl.settings import MOST_ENUMERATED

MOST_FEATURES = MOST_ENUMERATED
# Tables alive at once in a fit: the present one, the one without its smallest entries, and masks.
TABLES = 3
# Numbers in one working array of the E-step (16 MB); about ten of them live at once.
CHUNK = 2**21


def check_enumeration(n_items: int, n_features: int) -> None:
    """Raise OptionError for more than 12 features, or if the tables of T 2^K numbers do not fit in memory."""
    if n_features > MOST_FEATURES:
        raise OptionError(
            f"inference: enumeration takes at most {MOST_FEATURES} features, got {n_features}; "
            f"choose inference coordinate or svi (--inference coordinate) or fewer features (--max-features {MOST_FEATURES})"
        )
    needed, available = TABLES * 8 * n_items * 2**n_features, available_memory()
    if available is not None and needed > available:
        raise OptionError(
            f"inference: enumeration of {n_items} items with {n_features} features needs {needed / 1e9:.1f} GB of memory, "
            f"{available / 1e9:.1f} GB are available; choose inference coordinate or svi (--inference coordinate) "
            "or fewer features (--max-features)"
        )


def available_memory() -> int | None:
    """Bytes that a new table may take: what the system calls available, else all of the memory; None if unknown."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def bit_table(n_features: int) -> Tensor:
    """All assignments of K features, (2^K, K) of 0 and 1; row r holds the binary digits of r, the first feature leading."""
    rows, places = torch.arange(2**n_features), torch.arange(n_features - 1, -1, -1)
    return (rows[:, None] >> places & 1).to(torch.float64)


@dataclass(frozen=True)
class ExactPosterior:
    """p(z | y, h) of every item. table: (T, 2^K), probabilities in the order of `bit_table`. log_evidence: (T,), log p(y | h)."""

    table: Tensor
    log_evidence: Tensor

    @cached_property
    def bits(self) -> Tensor:
        """The assignments, (2^K, K)."""
        return bit_table(self.table.shape[1].bit_length() - 1)

    @cached_property
    def marginals(self) -> Tensor:
        """P(z_k = 1), (T, K)."""
        return (self.table @ self.bits).clamp(max=1.0)

    @cached_property
    def pairwise(self) -> Tensor:
        """P(z_j = z_k = 1), (T, K, K)."""
        n_features = self.bits.shape[1]
        return (self.table @ products_of(self.bits)).view(len(self.table), n_features, n_features).clamp(max=1.0)

    @property
    def covariance(self) -> Tensor:
        """Of an item's features, (T, K, K)."""
        return self.pairwise - self.marginals.unsqueeze(2) * self.marginals.unsqueeze(1)

    @cached_property
    def entropy(self) -> Tensor:
        """Of the joint posterior in nats, (T,)."""
        parts = [torch.special.entr(self.table[rows]).sum(1) for rows in chunks(*self.table.shape)]
        return torch.cat([self.log_evidence[:0], *parts])

    def combined(self, columns: Tensor) -> ExactPosterior:
        """The posterior of what the assignments amount to. columns: (2^K, C) of 0 and 1."""
        n_columns = columns.shape[1]
        places = columns.long() @ (2 ** torch.arange(n_columns - 1, -1, -1))
        table = self.table.new_zeros(len(self.table), 2**n_columns).index_add_(1, places, self.table)
        return ExactPosterior(table, self.log_evidence)

    def draws(self, n: int, seed: int) -> Tensor:
        """n joint draws of every item's features, (n, T, K); the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.multinomial(self.table, n, replacement=True, generator=generator)
        return self.bits[rows.T]


def exact_posterior(state: State, data: Data) -> ExactPosterior:
    """p(z | y, h) under the state's parameters. Raises OptionError for more than 12 features or too little memory.

    Likelihoods that know y by its squared distance are taken as their `error_log_density` has them, which the M-steps raise.
    """
    check_enumeration(*data.answers.shape[:2])
    with isolated(0):
        return sum_over_assignments(state, data)


@torch.no_grad()
def sum_over_assignments(state: State, data: Data) -> ExactPosterior:
    """`exact_posterior` without its check, for loops that have made it; call inside `isolated`."""
    n_items, n_features = data.answers.shape[:2]
    bits = bit_table(n_features)
    table = torch.empty(n_items, len(bits), dtype=torch.float64)
    log_evidence = torch.empty(n_items, dtype=torch.float64)
    state.model.eval()
    for rows in chunks(n_items, width_of(state.model, len(bits))):
        joint = log_joint(state.model, bits, state.error_rates, data.items(rows))
        log_evidence[rows] = joint.logsumexp(1)
        table[rows] = joint.softmax(1)
    return ExactPosterior(table, log_evidence)


def log_joint(model: GenZ, bits: Tensor, error_rates: Tensor, data: Data) -> Tensor:
    """log p(y, z | h, x) of every item under every assignment, (B, 2^K)."""
    return _log_density(model, bits, data) + log_prior(bits, prior_probability(data.answers, error_rates))


def width_of(model: GenZ, n_rows: int) -> int:
    """Numbers held at once for an item; a hidden layer of a network is taken to have 64 units."""
    n_features, n_locations = model.link.n_features, model.likelihood.n_locations
    if model.is_quadratic:
        return max(n_rows, n_features * n_locations)
    return n_rows * (n_features + n_locations + (0 if model.link.adds_up else 64))


def chunks(n_items: int, width: int) -> Iterator[slice]:
    """Slices of the items, with `width` numbers for each held at once."""
    size = max(1, CHUNK // width)
    return (slice(start, start + size) for start in range(0, n_items, size))


def products_of(bits: Tensor) -> Tensor:
    """z_j z_k of every assignment, (2^K, K K)."""
    return (bits.unsqueeze(2) * bits.unsqueeze(1)).flatten(1)


def log_prior(bits: Tensor, prior: Tensor) -> Tensor:
    """log p(z | h), (B, 2^K)."""
    return torch.logit(prior) @ bits.T + torch.log1p(-prior).sum(1, keepdim=True)


def _log_density(model: GenZ, bits: Tensor, data: Data) -> Tensor:
    """log p(y | z, x) of every item under every assignment, (B, 2^K)."""
    if model.is_quadratic:
        return _quadratic(model, bits, data)
    if model.likelihood.sees_errors and model.shortcuts:
        density: Tensor = model.likelihood.error_log_density(squared_errors(model, bits, data).flatten(0, 1))
        return (density.view(len(bits), *data.targets.shape) * data.observed).sum(2).T
    return program_log_density(model, bits, data)


def program_log_density(model: GenZ, bits: Tensor, data: Data) -> Tensor:
    """As the model's own distribution has it, for any link and likelihood. Returns (B, 2^K)."""
    with pyro.validation_enabled(False):
        density = model.log_density(_assignments(model, bits, data), data.covariates, data.targets)
    return density.expand(len(bits), len(data.targets)).T


def squared_errors(model: GenZ, bits: Tensor, data: Data) -> Tensor:
    """(y - f(z, x))^2 of every assignment and item, (2^K, B, D); f^2 where y is missing."""
    return torch.square(torch.nan_to_num(data.targets) - model.link(_assignments(model, bits, data), data.covariates))


def _assignments(model: GenZ, bits: Tensor, data: Data) -> Tensor:
    """All of them for every item, (2^K, B, K), or (2^K, 1, K) for a link that adds up effects."""
    return bits.unsqueeze(1) if model.link.adds_up else bits.unsqueeze(1).expand(-1, len(data.targets), -1)


def _quadratic(model: GenZ, bits: Tensor, data: Data) -> Tensor:
    """The same where it is quadratic in z. No cost grows with both D and 2^K."""
    constant, pull, gram = _quadratic_parts(model, data)
    if gram.dim() == 2:
        return torch.addmm(constant - 0.5 * ((bits @ gram) * bits).sum(1), pull, bits.T)
    return torch.addmm(constant, pull, bits.T).addmm_(gram.flatten(1), products_of(bits).T, alpha=-0.5)


def _quadratic_parts(model: GenZ, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1), (B, K), and (B, K, K) or where all items share it (K, K): log p(y | z) = constant + pull z - z' gram z / 2."""
    link, likelihood, observed = model.link, model.likelihood, data.observed
    error = torch.nan_to_num(data.targets) - link.intercept - data.covariates @ link.covariate_weights
    nothing = torch.zeros((), dtype=error.dtype)
    constant = torch.where(observed, likelihood.error_log_density(error**2), nothing).sum(1, keepdim=True)
    precision, coefficients = likelihood.precision(error[:1] ** 2), link.coefficients()
    if bool(observed.all()) and coefficients.shape[1] == 1:
        precise = coefficients[:, 0] * precision
        return constant, error @ precise.T, precise @ coefficients[:, 0].T
    strength = torch.where(observed, precision, nothing)
    effects = torch.einsum("bm,kmd->bkd", link.modifiers(data.covariates), coefficients)
    precise = effects * strength.unsqueeze(1)
    return constant, torch.einsum("bkd,bd->bk", precise, error), precise @ effects.mT


def log_evidence(model: GenZ, bits: Tensor, error_rates: Tensor, data: Data) -> Tensor:
    """log p(y | h, x) of every item, (B,), made to be differentiated often: once, by parameters and error rates."""
    if not model.is_quadratic:
        return log_joint(model, bits, error_rates, data).logsumexp(1)
    constant, pull, gram = _quadratic_parts(model, data)
    prior = prior_probability(data.answers, error_rates)
    constant, pull = constant.squeeze(1) + torch.log1p(-prior).sum(1), pull + torch.logit(prior)
    if gram.dim() == 2:
        rows, shared = bits, -0.5 * ((bits @ gram) * bits).sum(1)
    else:
        pull, rows = torch.cat([pull, gram.flatten(1)], dim=1), torch.cat([bits, -0.5 * products_of(bits)], dim=1)
        shared = torch.zeros(len(bits), dtype=pull.dtype)
    summed: Tensor = _LogSum.apply(pull, rows, shared)  # type: ignore[no-untyped-call]
    return constant + summed


class _LogSum(torch.autograd.Function):
    """log of the sum over r of exp(pull_t rows_r + shared_r), (B,): with one exp where autograd takes several."""

    @staticmethod
    def forward(context: Any, pull: Tensor, rows: Tensor, shared: Tensor) -> Tensor:
        weights = torch.addmm(shared, pull, rows.T)
        most = weights.amax(1, keepdim=True)
        total = weights.sub_(most).exp_().sum(1, keepdim=True)
        context.save_for_backward(weights, total, rows)
        return (total.log() + most).squeeze(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        weights, total, rows = context.saved_tensors
        share = gradient.unsqueeze(1) / total
        return (weights @ rows) * share, None, weights.T @ share.squeeze(1)
