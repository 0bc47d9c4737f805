"""What inference works on: the data as tensors, and the state that a strategy moves forward."""

from __future__ import annotations

import copy
import math
import weakref
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from genz_ppl.inference.apart import Apart, sums_apart
from genz_ppl.inference.engines.blocks import Results, blocks_of, each_block, lanes_for
from genz_ppl.inference.engines.coefficient_posterior import coefficient_terms
from genz_ppl.inference.engines.group_posterior import effect_terms
from genz_ppl.inference.guided.moments import Moments
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.uncertainty import Uncertainty
from genz_ppl.models import GenZ
from genz_ppl.models.features import prior_log_odds, prior_probability
from genz_ppl.types import AnswerErrors

# Items whose entropy is computed at once: what a block makes on the way stays in cache.
BLOCK = 2048
# So many probabilities above one half have a product that is still a normal number.
FACTORS = 1000


@dataclass(frozen=True)
class Data:
    """Standardised tensors, float64. answers: (T, K); covariates: (T, P); targets: (T, D) with NaN where missing."""

    answers: Tensor
    covariates: Tensor
    targets: Tensor

    @property
    def observed(self) -> Tensor:
        """(T, D) bool: which target entries are there."""
        return ~torch.isnan(self.targets)

    @cached_property
    def complete(self) -> bool:
        """Whether no target is missing."""
        with one_thread():
            return bool(self.observed.all())

    @cached_property
    def signs(self) -> Tensor:
        """(K, T), rows contiguous: 1 for the answer yes, -1 for no, 0 for none."""
        return (self.answers.T.contiguous() - 0.5).sign_().nan_to_num_(0.0)

    @property
    def stored(self) -> tuple[Tensor, ...]:
        """What is as large as the data."""
        return self.answers, self.targets

    def signs_of(self, items: slice) -> Tensor:
        """The signs of some items, (K, B)."""
        return self.signs[:, items]

    @cached_property
    def _columns(self) -> Tensor:
        ones = self.targets.new_ones(1, len(self.targets))
        return torch.cat([self.targets.T, ones, self.covariates.T])

    def observations(self, items: slice) -> Tensor:
        """O = [y, 1, x] of some items, (D + 1 + P, B); complete targets."""
        return self._columns[:, items]

    @cached_property
    def moments(self) -> Tensor:
        """O'O, (D + 1 + P,) * 2."""
        return self._columns @ self._columns.T

    @cached_property
    def sign_products(self) -> tuple[Tensor, Tensor]:
        """Sums over items of the signs' products with each other, (K, K), and with O, (K, D + 1 + P)."""
        return self.signs @ self.signs.T, self.signs @ self._columns.T

    def prior_of(self, error_rates: Tensor, items: slice) -> Tensor:
        """P(z = 1 | h) of some items, (B, K)."""
        return prior_probability(self.answers[items], error_rates)

    def start_of(self, error_rates: Tensor) -> Tensor:
        """P(z = 1 | h) of all, (T, K): where a posterior may start."""
        return self.prior_of(error_rates, slice(None))

    @cached_property
    def answered(self) -> Tensor:
        """How many items have an answer, (K,)."""
        return (~torch.isnan(self.answers)).sum(0).to(self.answers)

    @cached_property
    def unanswered(self) -> Tensor:
        """Which features have no answer at all, (K,) bool."""
        return torch.isnan(self.answers).all(0)

    def log_answers(self, error_rates: Tensor) -> float:
        """What of `feature_terms` is about the answers alone: nothing of p(z | h)."""
        return 0.0

    @cached_property
    def _answered_yes(self) -> Tensor:
        return 0.5 * (self.answered + self.signs.sum(1))

    @one_thread()
    def wrong_answers(self, posterior: Tensor) -> Tensor:
        """How many answers each feature is expected to have wrong, (K,), under q(z = 1) = posterior, (T, K)."""
        pairs = zip(self.signs, posterior.T, strict=True)
        agreement = [torch.dot(signs, q) for signs, q in pairs]
        return (self._answered_yes - torch.stack(agreement)).clamp_(min=0.0) if agreement else self.answered

    @cached_property
    def there(self) -> Tensor:
        """(K, T), rows contiguous: 1 where there is an answer, else 0."""
        return self.signs.abs()

    def there_of(self, items: slice) -> Tensor:
        """The same of some items, (K, B)."""
        return self.there[:, items]

    def counts(self, error_rates: Tensor, posterior: Tensor) -> tuple[Tensor, Tensor]:
        """Expected wrong answers, and answers, that each of the rates is about: (K,), or of answers yes and no, (K, 2)."""
        if error_rates.dim() == 1:
            return self.wrong_answers(posterior), self.answered
        return self.apart(posterior).completed(error_rates)

    def apart(self, posterior: Tensor) -> Apart:
        """What a posterior, (T, K), says of answers yes and no; kept until it changes."""
        known: tuple[weakref.ref[Tensor], int, Apart] | None = self.__dict__.get("_apart")
        if known is None or known[0]() is not posterior or known[1] != posterior._version:
            found = Apart.of(len(posterior), self._sums_apart(posterior))
            known = self.__dict__["_apart"] = (weakref.ref(posterior), posterior._version, found)
        return known[2]

    def _sums_apart(self, posterior: Tensor) -> Tensor:
        return sums_apart(self.signs, posterior)

    def add_prior(self, logits: Tensor, error_rates: Tensor, items: slice) -> Tensor:
        """log P(z = 1 | h) - log P(z = 0 | h) of some items, added to these, (K, B), in place."""
        log_odds = prior_log_odds(error_rates)
        logits.addcmul_(self.signs_of(items), log_odds.slope.unsqueeze(1))
        if log_odds.bend is not None:
            logits.addcmul_(self.there_of(items), log_odds.bend.unsqueeze(1)).add_(log_odds.level.unsqueeze(1))
        return logits

    def feature_terms(self, error_rates: Tensor, posterior: Tensor) -> Tensor:
        """E_q log p(z | h) of every feature, summed over items, (K,)."""
        if error_rates.dim() == 2:
            return self.apart(posterior).log_density(error_rates)
        wrong, unanswered = self.wrong_answers(posterior), len(self.answers) - self.answered
        known = wrong * torch.log(error_rates) + (self.answered - wrong) * torch.log1p(-error_rates)
        return known - math.log(2) * unanswered

    def with_targets(self, targets: Tensor) -> Data:
        """The same items with other targets, (T, D')."""
        return replace(self, targets=targets)

    def to(self, device: torch.device) -> Data:
        """The same data on a device."""
        return Data(self.answers.to(device), self.covariates.to(device), self.targets.to(device))

    def with_answers(self, answers: Tensor) -> Data:
        """The same items with other answers, (T, K')."""
        return replace(self, answers=answers)

    def with_features(self, kept: list[int]) -> Data:
        """The same items with the answers of some features only."""
        return self.with_answers(self.answers[:, kept])

    def items(self, rows: slice | Tensor) -> Data:
        """Some of the items: a slice, positions or bool."""
        return Data(self.answers[rows], self.covariates[rows], self.targets[rows])

    def repeated(self, times: int) -> Data:
        """All items several times over, (times x T, ...)."""
        return Data(*(part.repeat(times, 1) for part in (self.answers, self.covariates, self.targets)))


@dataclass
class State:
    """A fitted (or starting) model. error_rates: (K,), (K, 2) or (K, A) as in `FeatureLayer`; posterior: (T, K), q(z = 1),
    float64, or float32 of packed data.

    uncertainty: of the parameters of link and likelihood, after a Bayesian fit; moments: of the optimiser, while a guide is
    in training; group_covariance: of the effects of groups, (G, D, 1 + P, 1 + P), see `group_posterior`, and
    coefficient_covariance: of the features' coefficients, (D, K M, K M), see `coefficient_posterior`, after steps in closed form;
    else None.
    """

    model: GenZ
    error_rates: Tensor
    posterior: Tensor
    uncertainty: Uncertainty | None = None
    moments: Moments | None = None
    group_covariance: Tensor | None = None
    coefficient_covariance: Tensor | None = None

    @property
    def answer_errors(self) -> AnswerErrors:
        """How often answers are wrong, for readers."""
        features, prevalence = self.model.features, self.prevalence.numpy()
        if features.annotators:
            return AnswerErrors.together(self.error_rates[:, : features.annotators - features.known].numpy(), prevalence)
        return AnswerErrors.of(self.error_rates.numpy(), prevalence)

    @property
    def prevalence(self) -> Tensor:
        """The mean of q(z = 1), (K,), float64."""
        if self.posterior.dtype == torch.float64:
            return self.posterior.mean(0)
        parts = [self.posterior[items].sum(0, dtype=torch.float64) for items in blocks_of(len(self.posterior), BLOCK)]
        return torch.stack(parts).sum(0) / len(self.posterior)

    def prior(self, answers: Tensor) -> Tensor:
        """P(z = 1 | h) under the current error rates, (T, K)."""
        return prior_probability(answers, self.error_rates)

    def copy(self) -> State:
        """An independent copy: fitting it leaves this one as it is."""
        return replace(
            self, model=copy.deepcopy(self.model), error_rates=self.error_rates.clone(), posterior=self.posterior.clone()
        )

    def to(self, device: torch.device) -> State:
        """The state with all tensors on a device; the model itself moves. Not for states of a guide."""
        self.model.to(device)
        known = (self.group_covariance, self.coefficient_covariance)
        covariances = (None if part is None else part.to(device) for part in known)
        return State(self.model, self.error_rates.to(device), self.posterior.to(device), None, None, *covariances)

    def plain(self) -> State:
        """The same point in the paper's model, see `GenZ.plain`."""
        return State(self.model.plain(), self.error_rates.clone(), self.posterior.clone(), group_covariance=self.group_covariance)

    def told_apart(self) -> State:
        """The same fit where answers yes and answers no of a feature have rates of their own, the same at first."""
        apart = replace(self.copy(), error_rates=torch.stack([self.error_rates, self.error_rates], dim=1))
        apart.uncertainty = apart.moments = None
        apart.model.features.tell_apart()
        apart.model.features.learn_common(apart.error_rates)
        return apart

    def with_columns(self, kept: list[int], added: Tensor | None = None) -> State:
        """The state for the features `kept`, then new ones with posterior `added`, (T, A), and no effect on y yet."""
        n_added = 0 if added is None else added.shape[1]
        features = copy.deepcopy(self.model.features)
        features.n_features = len(kept) + n_added
        link = self.model.link.with_columns(kept, n_added).to(self.posterior.device)
        model = self.model.resized(features, link)
        rates = features.rates(n_added).to(self.error_rates)
        # By columns: as rows, which indexing makes of them, a packed posterior would be copied once more by each step.
        posterior = self.posterior.T[kept].T if self.posterior.dtype == torch.float32 else self.posterior[:, kept]
        posterior = posterior if added is None else torch.cat([posterior, added], dim=1)
        moments = None if self.moments is None else self.moments.with_columns(self.model.link, kept, n_added)
        rates = torch.cat([self.error_rates[kept], rates])
        return State(model, rates, posterior, None, moments, self.group_covariance, self._covariance_of(kept, n_added))

    def _covariance_of(self, kept: list[int], n_added: int) -> Tensor | None:
        """That of the coefficients of the features `kept`; those of new ones are known to be 0, until the next M-step."""
        present = self.coefficient_covariance
        if present is None:
            return None
        width = present.shape[1] // max(1, self.posterior.shape[1])
        width = width or self.model.link.n_modifiers
        places = torch.tensor([k * width + m for k in kept for m in range(width)], dtype=torch.int64, device=present.device)
        size = (len(kept) + n_added) * width
        covariance = present.new_zeros(len(present), size, size)
        covariance[:, : len(places), : len(places)] = present[:, places][:, :, places]
        return covariance


@dataclass(frozen=True)
class Bound:
    """The bound B of eqs. 1-2, summed over items, by its terms.

    `penalty` is the log prior of the error rates relative to its mode (never above 0), and minus the divergence of weights and
    group effects from their priors where there are such. `marginal` is the log density of the targets given the answers alone,
    which a calibrated model explains, too (`GenZ`); `share` is the weight of the first three terms, and `marginal` has the
    rest. The M-step maximises the total, so it is the total that never decreases; eqs. 1-2 are observation + feature + entropy.
    """

    observation: float
    feature: float
    entropy: float
    penalty: float
    marginal: float = 0.0
    share: float = 1.0

    @property
    def total(self) -> float:
        """share (observation + feature + entropy) + (1 - share) marginal + penalty."""
        explained = self.observation + self.feature + self.entropy
        return self.share * explained + (1 - self.share) * self.marginal + self.penalty

    def shifted(self, shift: float) -> Bound:
        """For targets in other units: shift is what turns a log density into one of them, summed over items."""
        return replace(self, observation=self.observation + shift, marginal=self.marginal + shift)


def bound_of(state: State, data: Data, observation: float, marginal: float = 0.0, entropy: float | None = None) -> Bound:
    """Eqs. 6 and 7 for the current posterior, next to the observation and marginal terms computed by an engine.

    entropy: of q(z), where features are not independent.
    """
    feature, entropy = float(feature_terms(state, data).sum()), entropy_of(state.posterior) if entropy is None else entropy
    feature -= data.log_answers(state.error_rates)
    return Bound(observation, feature, entropy, penalty_of(state), marginal, state.model.share)


def penalty_of(state: State) -> float:
    """What priors of error rates, weights and group effects take from the bound."""
    penalty = float(state.model.penalty(state.error_rates))
    if state.group_covariance is not None:
        penalty += effect_terms(state.model.link, state.group_covariance)
    if state.coefficient_covariance is not None:
        penalty += coefficient_terms(state.model.link, state.coefficient_covariance)
    return penalty


def feature_terms(state: State, data: Data) -> Tensor:
    """E_q log p(z | h) of every feature, summed over items, (K,)."""
    return data.feature_terms(state.error_rates, state.posterior)


@one_thread()
def entropy_of(posterior: Tensor) -> float:
    """Entropy of independent z ~ Bernoulli(posterior), (T, K), summed.

    With m = max(q, 1 - q) and u = 1 - m it is -log m - u log(u / m), and a product of many m needs one logarithm.
    """

    def of_block(items: slice, lane: int) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=posterior.device)
        for features in blocks_of(posterior.shape[1], FACTORS):
            q = posterior.T[features, items].to(torch.float64)
            likely = (q - 0.5).abs_()
            unlikely = 0.5 - likely
            likely += 0.5
            total -= likely.prod(0).log_().sum()
            odds = torch.div(unlikely, likely, out=likely).clamp_(min=1e-300).log_()
            total -= unlikely.mul_(odds).sum()
        return total

    blocks = blocks_of(len(posterior), BLOCK)
    results, lanes = Results(blocks), lanes_for(blocks, posterior)
    return float(torch.stack(each_block(lambda items, lane: results.put(items, of_block(items, lane))[0], blocks, lanes)).sum())
