"""The `enumeration` strategy: EM with exact posteriors, for small models, and what every other strategy is tested by."""

from __future__ import annotations

import torch
from torch import Tensor

from genz_ppl.inference.engines.descent import CONTINUED
from genz_ppl.inference.engines.exact import (
    ExactPosterior,
    check_enumeration,
    chunks,
    products_of,
    squared_errors,
    sum_over_assignments,
)
from genz_ppl.inference.engines.least_squares import least_squares
from genz_ppl.inference.engines.pairs import SMALLEST, Pairs, train_at_pairs, update_at_pairs
from genz_ppl.inference.engines.rates import update_error_rates
from genz_ppl.inference.guided.enumerated import maximise_by_pyro, posterior_by_pyro
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.models import CombinedLink, GenZ
from genz_ppl.models.combined import of_combinations

# Of pairs that are listed one by one the least probable beyond so many numbers are left out (32 MB an array).
MOST_ENTRIES = 2**22


def enumerate_fit(state: State, data: Data, steps: int, share: float = 1.0) -> list[Bound]:
    """Fit `state` in place by EM with exact posteriors; returns the bound after every step.

    It starts with an M-step for link and likelihood at the state's own posterior. A step is an M-step for link, likelihood and
    error rates under the present table of probabilities, then an E-step: the bound is evaluated with the new parameters and
    the new table, which serves the next step. So its `total` is the exact log evidence, sum_t log p(y_t | h_t), plus the
    penalty. With links linear in the features it never falls (beyond MOST_ENTRIES, up to what the pairs left out weigh); with
    others, trained by Adam, it may. The state's posterior becomes the marginals of the last table.
    share: how much of its own number of epochs a link is trained for in the first M-step. Raises as `exact_posterior` does.
    """
    check_enumeration(*data.answers.shape[:2])
    state.group_covariance = None  # points here
    exact = _tilted(_posterior(state, data), state.posterior)
    _maximise(state, data, exact, share)
    exact = _posterior(state, data)
    state.posterior = exact.marginals
    bounds = [] if steps > 0 else [_bound(state, data, exact)]
    for _ in range(steps):
        if state.model.shortcuts:
            _maximise(state, data, exact, CONTINUED)
            update_error_rates(state, data)
        else:
            maximise_by_pyro(state, data)
        exact = _posterior(state, data)
        state.posterior = exact.marginals
        bounds.append(_bound(state, data, exact))
    return bounds


def refit_exactly(state: State, data: Data, steps: int) -> Bound:
    """Fit `state` in place from where it stands and return the bound at the end only."""
    return enumerate_fit(state, data, steps, CONTINUED)[-1]


def _posterior(state: State, data: Data) -> ExactPosterior:
    """The E-step: Pyro's, unless log p(y | z, x) was derived by hand."""
    return (sum_over_assignments if state.model.has_closed_form else posterior_by_pyro)(state, data)


def _bound(state: State, data: Data, exact: ExactPosterior) -> Bound:
    prior, q = state.prior(data.answers), exact.marginals
    feature = float((torch.xlogy(q, prior) + torch.xlogy(1 - q, 1 - prior)).sum())
    entropy, penalty = float(exact.entropy.sum()), float(state.model.penalty(state.error_rates))
    return Bound(float(exact.log_evidence.sum()) - feature - entropy, feature, entropy, penalty)


def _tilted(exact: ExactPosterior, posterior: Tensor) -> ExactPosterior:
    """The posterior moved by each feature's own odds towards the marginals `posterior`, (T, K).

    A feature without effect on y gets exactly that marginal, and features whose marginals are right keep their joint
    distribution: so a new feature starts at its split, and a fitted state where it stands.
    """
    tilt = torch.logit(posterior, eps=1e-12) - torch.logit(exact.marginals, eps=1e-12)
    for rows in chunks(*exact.table.shape):
        exact.table[rows] = (exact.table[rows].log() + tilt[rows] @ exact.bits.T).softmax(1)
    return ExactPosterior(exact.table, exact.log_evidence)


def _maximise(state: State, data: Data, exact: ExactPosterior, share: float) -> None:
    """M-step for link and likelihood under the joint posterior; share: of the link's own epochs, where it is trained."""
    model = state.model
    if isinstance(model.link, CombinedLink):
        model, exact = of_combinations(model), exact.combined(model.link.combined(exact.bits))
    if not model.has_closed_form:
        train_at_pairs(model, data, _pairs(model, exact), share)
        update_at_pairs(model, data, _pairs(model, exact))
    elif model.likelihood.robust:
        _reweighted_least_squares(model, data, exact)
        update_at_pairs(model, data, _pairs(model, exact))
    else:
        _least_squares(model, data, exact)


@torch.no_grad()
def _least_squares(model: GenZ, data: Data, exact: ExactPosterior) -> None:
    targets, observed, ridge = torch.nan_to_num(data.targets), data.observed, model.link.ridge()
    weights, pooling = None, model.link.pooling
    if ridge is not None or pooling is not None or not bool(observed.all()):
        weights = observed * model.likelihood.precision(targets[:1])
    modifiers = model.link.modifiers(data.covariates)
    solution = least_squares(exact.marginals, modifiers, data.covariates, targets, weights, exact.covariance, ridge, pooling)
    model.link.set_solution(*solution)
    model.likelihood.update(_expected_squared_error(model, data, exact), observed)


def _expected_squared_error(model: GenZ, data: Data, exact: ExactPosterior) -> Tensor:
    """E (y - f(z))^2 with f linear in z, (T, D)."""
    error = torch.nan_to_num(data.targets) - model.link(exact.marginals, data.covariates)
    coefficients, covariance = model.link.coefficients(), exact.covariance.flatten(1)
    squared, columns = torch.square(error), model.link.modifiers(data.covariates).T
    for m, one in enumerate(columns):
        for n, other in enumerate(columns):
            products = (coefficients[:, m].unsqueeze(1) * coefficients[:, n]).flatten(0, 1)
            squared += (one * other).unsqueeze(1) * (covariance @ products)
    return squared.clamp(min=0)


@torch.no_grad()
def _reweighted_least_squares(model: GenZ, data: Data, exact: ExactPosterior) -> None:
    """One step of least squares under the Gaussians that touch the likelihood at the errors of all pairs.

    The weighted pairs of an item count as one observation, with the mean and covariance of z under the weights.
    """
    bits, targets, n_features = exact.bits, torch.nan_to_num(data.targets), exact.bits.shape[1]
    moments = torch.cat([torch.ones(len(bits), 1, dtype=bits.dtype), bits, products_of(bits)], dim=1)
    sums = torch.empty(*targets.shape, moments.shape[1], dtype=targets.dtype)
    for rows in chunks(len(targets), len(bits) * (targets.shape[1] + n_features)):
        error = squared_errors(model, bits, data.items(rows))
        precision = model.likelihood.precision(error.flatten(0, 1)).view_as(error)
        weights = precision * exact.table[rows].T.unsqueeze(2) * data.observed[rows]
        sums[rows] = weights.movedim(0, 2) @ moments
    mass, sums = sums[..., 0], sums[..., 1:] / sums[..., :1].clamp(min=1e-300)
    mean, second = sums[..., :n_features], sums[..., n_features:].view(*sums.shape[:2], n_features, n_features)
    covariance = second - mean.unsqueeze(3) * mean.unsqueeze(2)
    x, modifiers, ridge, pooling = data.covariates, model.link.modifiers(data.covariates), model.link.ridge(), model.link.pooling
    columns = [
        least_squares(mean[:, d], modifiers, x, targets[:, [d]], mass[:, [d]], covariance[:, d], ridge, pooling)
        for d in range(targets.shape[1])
    ]
    model.link.set_solution(*(torch.cat(parts, dim=-1) for parts in zip(*columns, strict=True)))


def _pairs(model: GenZ, exact: ExactPosterior) -> Pairs:
    """The table without small probabilities, so that lists of the others stay short; every item's sum is 1."""
    table = exact.table
    most, least = MOST_ENTRIES // (model.likelihood.n_locations + model.features.n_features), SMALLEST
    if int((table > least).sum()) > most:
        least = float(table.flatten().kthvalue(table.numel() - most).values)
    kept = torch.where(table > least, table, 0.0)
    best = table.max(1, keepdim=True)
    kept.scatter_(1, best.indices, best.values)
    kept /= kept.sum(1, keepdim=True)
    items, rows = kept.nonzero(as_tuple=True)
    return Pairs(items, exact.bits[rows], kept[items, rows], len(table))
