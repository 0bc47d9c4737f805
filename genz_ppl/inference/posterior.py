"""Draws from the posterior of a fitted model: features, error rates, parameters, replicated targets and log likelihoods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from genz_ppl.inference.annotators.answers import AnnotatedData, voted
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.exact import MOST_FEATURES, sum_over_assignments
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import drawn_models
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.inference.weight_posterior import add_uncertainty
from genz_ppl.models import GenZ, Likelihood
from genz_ppl.models.features import SMALLEST_ERROR_RATE, annotated_log_odds, prior_probability
from genz_ppl.models.genz import log_density_at
from genz_ppl.types import FloatArray, IntArray

DRAWS = 200
# Draws of an item's features that its log likelihood is averaged over, half of them from q and half from the prior.
FEATURE_DRAWS = 200
# Features are summed out exactly where that means evaluating no more numbers than this, about ten seconds.
MOST_WORK = 4e8
# E-steps that bring the features of items which were not fitted near their posterior.
SWEEPS = 5
# Numbers held at once (16 MB).
CHUNK = 2**21


def column_names(likelihood: Likelihood, names: Sequence[str], labels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What the (T, L) values of predictions are about: see `FittedItems.column_names`."""
    if not likelihood.is_of_classes:
        known = labels if likelihood.name == "bernoulli" else ()
        pairs = zip(names, known or [()] * len(names), strict=True)
        return tuple(f"{name} is {of[1]}" if len(of) > 1 else name for name, of in pairs)
    found = []
    for name, of in zip(names, labels or [()] * len(names), strict=True):
        found += [f"{name} is {label}" for label in (*of, *map(str, range(len(of), likelihood.n_classes)))]
    return tuple(found)


@dataclass(frozen=True)
class FittedItems:
    """What diagnostics need of a fit.

    answers: (T, K), or (T, K, A) of several annotators, `raters`; covariates: (T, P), or (T, P + G) with the indicators of the
    groups `levels` that intercept and slopes vary by; targets: (T, D) with NaN where missing, all in the user's units.
    state.posterior: q of these items; of items that were not fitted, their prior. covariate_names, class_names (the labels of
    each target's classes) and varying, what the groups are, may be left out.
    """

    state: State
    scaling: Scaling
    answers: Tensor
    covariates: Tensor
    targets: Tensor
    item_ids: tuple[str, ...]
    feature_texts: tuple[str, ...]
    target_names: tuple[str, ...]
    _: KW_ONLY
    seed: int
    covariate_names: tuple[str, ...] = ()
    class_names: tuple[tuple[str, ...], ...] = ()
    levels: tuple[str, ...] = ()
    varying: str = ""
    raters: tuple[str, ...] = ()

    @property
    def numbers(self) -> Tensor:
        """The covariates without the indicators of groups, (T, P)."""
        return self.covariates[:, : self.covariates.shape[1] - len(self.levels)]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The targets; where they are classes, "<target> is <class>" for every class, but for two classes only the second."""
        return column_names(self.state.model.likelihood, self.target_names, self.class_names)

    def with_parameters_of(self, other: FittedItems) -> FittedItems:
        """These items with the link and likelihood of another fit, and what is uncertain about them."""
        return replace(self, state=replace(self.state, model=other.state.model, uncertainty=other.state.uncertainty))

    @property
    def data(self) -> Data:
        """The same items, standardised."""
        features = self.state.model.features
        plain = self.scaling.data(self.answers, self.covariates, self.targets)
        if not features.annotators:
            return plain
        known = torch.arange(features.annotators) >= features.annotators - features.known
        return AnnotatedData(plain.answers, plain.covariates, plain.targets, known, given=True)

    @property
    def votes(self) -> Tensor:
        """The answers, of several annotators what they say together, (T, K)."""
        return voted(self.answers, self.state.error_rates) if self.answers.dim() == 3 else self.answers


@dataclass(frozen=True)
class PosteriorDraws:
    """S draws from the posterior of a fit: independent of each other, or those of a sampler, one of the chains after the other.

    state: the fit with its parameters' `uncertainty`, which the draws are from. z: (S, T, K) uint8, from q. error_rates: (S, K),
    or (S, K, 2) of answers yes and no apart.
    parameters: of link and likelihood in the user's units, by name as in `FitResult.parameters`, (S, ...). replicated: (S, T, L),
    targets of new items with the same answers and covariates (where y is a class, indicators). log_likelihood: (S, T), log
    p(y_t | h_t, x_t, parameters and error rates of the draw) in the user's units, an item's targets together.

    The log likelihood has the item's features integrated out: it is not p(y_t | z_t) at the drawn z_t. Leaving an item out
    changes what is known of its own features most of all, so that importance weights from p(y_t | z_t) would have heavy
    tails, and PSIS-LOO would be unreliable for nearly every item.
    """

    state: State
    seed: int
    z: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    error_rates: FloatArray
    parameters: dict[str, FloatArray]
    replicated: FloatArray
    log_likelihood: FloatArray
    chains: int = 1


def posterior_draws(fitted: FittedItems, n: int = DRAWS) -> PosteriorDraws:
    """n draws, or those that a sampler left; the same for the same fit.

    A fit with points for the parameters first gets a posterior: `with_uncertainty`.
    """
    data, seed = fitted.data, fitted.seed
    state = fitted.state
    if state.uncertainty is None:
        state = with_uncertainty(state, data, seed)
    random = np.random.default_rng([seed, 1])
    sampled, chains = None if state.uncertainty is None else state.uncertainty.draws, 1
    if sampled is not None:
        chains, n = len(sampled), sampled.shape[0] * sampled.shape[1]
    z = _feature_draws(state.posterior.numpy(), n, random)
    if sampled is None:
        rates = _error_rate_draws(state, z, data.answers.numpy(), random)
    else:
        size = state.error_rates.shape
        rates = sampled.flatten(0, 1)[:, sampled.shape[2] - size.numel() :].view(-1, *size).numpy()
    with torch.no_grad(), isolated(seed), one_thread(data.targets.numel() < SMALL):
        parameters = _parameter_draws(state, fitted.scaling, n, seed)
        replicated = _replicated(state, fitted, rates, seed)
        density = _log_likelihood(state, data, rates, seed) + fitted.scaling.density_shift(fitted.targets).numpy()
    return PosteriorDraws(state, seed, z, rates, parameters, replicated, density, chains)


def held_out_draws(draws: PosteriorDraws, items: FittedItems) -> tuple[FloatArray, FloatArray]:
    """Replicated targets, (S, U, L), and log likelihood, (S, U), of items that the draws' fit did not see.

    Their own targets do not change the posterior; they only tell where in the sum over features the large terms are.
    """
    data, rates = items.data, draws.error_rates
    state = replace(draws.state.copy(), posterior=draws.state.prior(data.answers))
    with torch.no_grad(), isolated(draws.seed), one_thread(data.targets.numel() < SMALL):
        replicated = _replicated(state, items, rates, draws.seed)
        state.model.eval()
        engine = engine_for(state.model, data, first=False)
        for _ in range(SWEEPS):
            engine.sweep(state)
        density = _log_likelihood(state, data, rates, draws.seed) + items.scaling.density_shift(items.targets).numpy()
    return replicated, density


def with_uncertainty(state: State, data: Data, seed: int) -> State:
    """A copy of the state with a Gaussian posterior over the parameters of link and likelihood, given its q(z).

    data: the items the state was fitted to, standardised. q and the error rates stay as they are; the parameters move from where
    they fit best to the mean of their posterior (see `weight_posterior.add_uncertainty`). q(z) q(parameters) has no
    correlation between the two, so that where many features are uncertain the parameters look surer than they are.
    """
    copy = replace(state.copy(), moments=None)
    with isolated(seed), one_thread(data.targets.numel() < SMALL):
        add_uncertainty(copy, data, seed)
    return copy


def _feature_draws(q: FloatArray, n: int, random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    draws = np.empty((n, *q.shape), dtype=np.uint8)
    for draw in draws:
        draw[:] = random.random(q.shape) < q
    return draws


def _error_rate_draws(state: State, z: IntArray | np.ndarray, answers: FloatArray, random: np.random.Generator) -> FloatArray:
    """From p(p_e | z, h) = Beta(a + wrong, b + right) for each draw of z, (S, K), or of answers yes and no, (S, K, 2), or of
    annotators, (S, K, A)."""
    a, b = state.model.features.prior.numpy()
    if (features := state.model.features).annotators:
        answered = ~np.isnan(answers)
        mistaken = np.stack([((draw[..., None] != answers) & answered).sum(0) for draw in z])
        drawn: FloatArray = random.beta(a + mistaken, b + answered.sum(0) - mistaken)
        drawn[..., features.annotators - features.known :] = SMALLEST_ERROR_RATE
        clipped: FloatArray = np.clip(drawn, SMALLEST_ERROR_RATE, 1 - SMALLEST_ERROR_RATE)
        return clipped
    given = ~np.isnan(answers)[..., None] if state.error_rates.dim() == 1 else np.stack([answers == 1, answers == 0], axis=2)
    wrong = np.stack([((draw != answers)[..., None] & given).sum(0) for draw in z]).reshape(len(z), *state.error_rates.shape)
    rates: FloatArray = random.beta(a + wrong, b + given.sum(0).reshape(wrong.shape[1:]) - wrong)
    return np.clip(rates, SMALLEST_ERROR_RATE, 1 - SMALLEST_ERROR_RATE)


def _models(state: State, n: int, seed: int) -> Iterator[GenZ]:
    """The same n draws of the parameters each time."""
    state.model.eval()
    return drawn_models(state.model, state.uncertainty, n, seed + 1)


def _parameter_draws(state: State, scaling: Scaling, n: int, seed: int) -> dict[str, FloatArray]:
    drawn = [user_parameters(replace(state, model=model), scaling) for model in _models(state, n, seed)]
    return {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}


def _replicated(state: State, items: FittedItems, rates: FloatArray, seed: int) -> FloatArray:
    covariates, parts = items.scaling.covariates(items.covariates), []
    for model, rate in zip(_models(state, len(rates), seed), torch.from_numpy(rates), strict=True):
        prior = prior_probability(items.answers, rate)
        z = (torch.rand(prior.shape, dtype=prior.dtype) < prior).to(prior)
        y = model.likelihood.distribution(model.link(z, covariates)).sample()
        parts.append(items.scaling.location(model.likelihood.comparable(y)).numpy())
    return np.stack(parts)


def _log_likelihood(state: State, data: Data, rates: FloatArray, seed: int) -> FloatArray:
    """log p(y | h, x) of every draw and item, (S, T), for standardised targets.

    A calibrated model was fitted to this density itself, at f(E[z | h], x); of others the features are summed out.
    """
    n_items, n_features = data.answers.shape[:2]
    model = state.model
    if model.marginal is not None:
        prior = state.prior(data.answers)
        models = _models(state, len(rates), seed)
        given = [log_density_at(model.marginal, drawn.link(prior, data.covariates), data.targets) for drawn in models]
        return torch.stack(given).numpy()
    width = 1 if model.is_quadratic else n_features + model.likelihood.n_locations
    if n_features <= MOST_FEATURES and n_items * 2**n_features * width * len(rates) <= MOST_WORK:
        pairs = zip(_models(state, len(rates), seed), torch.from_numpy(rates), strict=True)
        exact = [sum_over_assignments(State(model, rate, state.posterior), data).log_evidence for model, rate in pairs]
        return torch.stack(exact).numpy()
    generator = torch.Generator().manual_seed(seed + 2)
    size = max(1, CHUNK // (FEATURE_DRAWS * (n_features + model.likelihood.n_locations)))
    blocks = []
    for start in range(0, n_items, size):
        rows = slice(start, start + size)
        part, q = data.items(rows), state.posterior[rows]
        z, log_proposal = _proposed(q, state.prior(part.answers), generator)
        blocks.append(_averaged(state, part, rates, z, log_proposal, seed))
    return torch.cat(blocks, dim=1).numpy()


def _proposed(q: Tensor, prior: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws of the features from q and from the prior, half and half, (R, B, K), and their log density under both, (R, B).

    q alone may miss where the posterior is wider; with the prior no weight exceeds twice the likelihood.
    """
    half = (FEATURE_DRAWS // 2, *q.shape)
    z = torch.cat([(torch.rand(half, generator=generator, dtype=q.dtype) < p).to(q) for p in (q, prior)])
    parts = []
    for p in (q, prior):
        inside = p.clamp(1e-15, 1 - 1e-15)
        parts.append((z * torch.logit(inside)).sum(2) + torch.log1p(-inside).sum(1))
    return z, torch.logsumexp(torch.stack(parts), 0) - np.log(2)


def _averaged(state: State, data: Data, rates: FloatArray, z: Tensor, log_proposal: Tensor, seed: int) -> Tensor:
    """log of the mean over draws z of p(y | z, x) p(z | h) / proposal, (S, B).

    All draws of the parameters use the same z, so that most of the error is common to them and leaves LOO's weights alone.
    """
    if data.answers.dim() == 3:
        return _averaged_over(state, data, rates, z, log_proposal, seed)
    answered = ~torch.isnan(data.answers)
    unknown = (~answered).sum(1) * np.log(0.5)
    if rates.ndim == 3:  # of answers yes and no: features side by side that are answered by one of them, or by neither
        given = torch.cat([data.answers == 1, data.answers == 0, ~answered], dim=1)
        wrong = (torch.cat([z == 0, z == 1, z == 0], dim=2) & given).to(z)
        of_yes, of_no = rates[..., 0], rates[..., 1]
        rates, unknown = np.concatenate([of_yes, of_no, 0.5 * (1 + of_yes - of_no)], axis=1), 0.0 * unknown
    else:
        given, wrong = answered, ((z != data.answers) & answered).to(z)
    count, blocks = given.to(z), []
    for model, rate in zip(_models(state, len(rates), seed), torch.from_numpy(rates), strict=True):
        log_prior = wrong @ torch.logit(rate) + count @ torch.log1p(-rate) + unknown
        with pyro.validation_enabled(False):
            density = model.log_density(z, data.covariates, data.targets)
        blocks.append(torch.logsumexp(density + log_prior - log_proposal, 0) - np.log(len(z)))
    return torch.stack(blocks)


def _averaged_over(state: State, data: Data, rates: FloatArray, z: Tensor, log_proposal: Tensor, seed: int) -> Tensor:
    """The same where several annotators have answered; rates: (S, K, A)."""
    blocks = []
    for model, rate in zip(_models(state, len(rates), seed), torch.from_numpy(rates), strict=True):
        log_odds = annotated_log_odds(data.answers, rate)
        log_prior = (z * log_odds).sum(2) + logsigmoid(-log_odds).sum(1)
        with pyro.validation_enabled(False):
            density = model.log_density(z, data.covariates, data.targets)
        blocks.append(torch.logsumexp(density + log_prior - log_proposal, 0) - np.log(len(z)))
    return torch.stack(blocks)
