"""What inference works on: the data as tensors, and the state that a strategy moves forward."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genz_ppl.inference.moments import Moments
from genz_ppl.inference.uncertainty import Uncertainty
from genz_ppl.models import GenZ
from genz_ppl.models.features import prior_probability


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

    def with_targets(self, targets: Tensor) -> Data:
        """The same items with other targets, (T, D')."""
        return replace(self, targets=targets)

    def with_answers(self, answers: Tensor) -> Data:
        """The same items with other answers, (T, K')."""
        return replace(self, answers=answers)

    def repeated(self, times: int) -> Data:
        """All items several times over, (times x T, ...)."""
        return Data(*(part.repeat(times, 1) for part in (self.answers, self.covariates, self.targets)))


@dataclass
class State:
    """A fitted (or starting) model. error_rates: (K,); posterior: (T, K), q(z = 1).

    uncertainty: of the parameters of link and likelihood, after a Bayesian fit; moments: of the optimiser, while a guide is
    in training; else None.
    """

    model: GenZ
    error_rates: Tensor
    posterior: Tensor
    uncertainty: Uncertainty | None = None
    moments: Moments | None = None

    def prior(self, answers: Tensor) -> Tensor:
        """P(z = 1 | h) under the current error rates, (T, K)."""
        return prior_probability(answers, self.error_rates)

    def copy(self) -> State:
        """An independent copy: fitting it leaves this one as it is."""
        return State(copy.deepcopy(self.model), self.error_rates.clone(), self.posterior.clone(), self.uncertainty, self.moments)

    def with_columns(self, kept: list[int], added: Tensor | None = None) -> State:
        """The state for the features `kept`, then new ones with posterior `added`, (T, A), and no effect on y yet."""
        n_added = 0 if added is None else added.shape[1]
        features = copy.deepcopy(self.model.features)
        features.n_features = len(kept) + n_added
        model = GenZ(features, self.model.link.with_columns(kept, n_added), copy.deepcopy(self.model.likelihood))
        rates = torch.full((n_added,), features.prior_mean, dtype=torch.float64)
        posterior = self.posterior[:, kept] if added is None else torch.cat([self.posterior[:, kept], added], dim=1)
        moments = None if self.moments is None else self.moments.with_columns(self.model.link, kept, n_added)
        return State(model, torch.cat([self.error_rates[kept], rates]), posterior.clone(), moments=moments)


@dataclass(frozen=True)
class Bound:
    """The bound B of eqs. 1-2, summed over items, by its terms.

    `penalty` is the log prior of the error rates relative to its mode (never above 0). The M-step maximises the total,
    so it is the total that never decreases; eqs. 1-2 without a prior are observation + feature + entropy.
    """

    observation: float
    feature: float
    entropy: float
    penalty: float

    @property
    def total(self) -> float:
        """observation + feature + entropy + penalty."""
        return self.observation + self.feature + self.entropy + self.penalty


def bound_of(state: State, data: Data, observation: float) -> Bound:
    """Eqs. 6 and 7 for the current posterior, next to an observation term computed by the strategy."""
    prior, q = state.prior(data.answers), state.posterior
    feature = torch.xlogy(q, prior) + torch.xlogy(1 - q, 1 - prior)
    entropy = -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q))
    penalty = state.model.penalty(state.error_rates)
    return Bound(observation, float(feature.sum()), float(entropy.sum()), float(penalty))
