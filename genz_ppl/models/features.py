"""p(z | h): answers of a foundation model as noisy observations of the true features (eqs. 3-5)."""

from __future__ import annotations

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.errors import OptionError

# Keeps p_e, and with it every prior log-odds, finite when all answers agree with the posterior.
SMALLEST_ERROR_RATE = 1e-6
# What the prior of rates of answers yes and no apart counts for at least, in answers beside those there are: with less, the rates
# of questions that few items have a yes to are chance; with more, they are those of the other questions.
POOLING = 30.0
# Halvings of the interval in which a common rate is sought: to the last bit.
HALVINGS = 60


class FeatureLayer(PyroModule):  # type: ignore[misc]
    """Prior of the true features given the answers.

    n_features: K. error_rate_prior: (a, b) of the Beta prior on every error rate p_e = P(h != z).
    asymmetric: answers yes and no are wrong at rates of their own, P(z = 0 | h = 1) and P(z = 1 | h = 0), and wherever rates are
    named they are (K, 2), yes first, instead of (K,). Each has the prior Beta(1 + n m, 1 + n (1 - m)), as strong as 30 answers
    (or as (a, b), a + b - 2, if that is more), around a rate m that all features have in common, one for yes and one for no;
    m ~ Beta(a, b) is learned.
    Raises OptionError when a or b is not positive.
    """

    concentration: Tensor
    common: Tensor | None

    def __init__(self, n_features: int, error_rate_prior: tuple[float, float] = (1.0, 9.0), asymmetric: bool = False) -> None:
        super().__init__()
        check_error_rate_prior(error_rate_prior)
        self.n_features, self.annotators, self.known = n_features, 0, 0
        self.register_buffer("concentration", torch.tensor(error_rate_prior, dtype=torch.float64))
        self.register_buffer("common", None)
        if asymmetric:
            self.tell_apart()

    def tell_apart(self) -> None:
        """Give answers yes and no rates of their own from here on."""
        self.common = torch.full_like(self.concentration, self.prior_mean)

    def pool_annotators(self, number: int, known: int = 0) -> None:
        """Give so many annotators rates of their own from here on, (K, A), each drawn towards a common one in the same way.

        known: of them, the last, so many that are never wrong.
        """
        self.annotators, self.known = number, known
        self.common = torch.full((number,), self.prior_mean).to(self.concentration)

    @property
    def asymmetric(self) -> bool:
        """Whether answers yes and no have rates of their own."""
        return self.common is not None and not self.annotators

    @property
    def prior_mean(self) -> float:
        """Prior mean of an error rate, a / (a + b)."""
        return float(self.concentration[0] / self.concentration.sum())

    @property
    def strength(self) -> Tensor:
        """n, in answers: what the prior of rates apart counts for beside those there are."""
        strength: Tensor = (self.concentration - 1).clamp(min=0).sum().clamp(min=POOLING)
        return strength

    @property
    def prior(self) -> Tensor:
        """(a, b) of the Beta prior of every rate: (2,), or of answers yes and no, (2, 2), with a in the first row."""
        if self.common is None:
            return self.concentration
        return 1 + self.strength * torch.stack([self.common, 1 - self.common])

    def rates(self, n_features: int) -> Tensor:
        """As many features' rates, all at the prior's mean; of annotators at their common ones."""
        if self.annotators:
            assert self.common is not None
            common = self.common.repeat(n_features, 1)
            common[:, self.annotators - self.known :] = SMALLEST_ERROR_RATE
            return common
        size = (n_features, 2) if self.asymmetric else (n_features,)
        return torch.full(size, self.prior_mean).to(self.concentration)

    def forward(self) -> Tensor:
        """Sample the site "p_e" and return it, (K,) or (K, 2) float64. Without features there is no site.

        Asymmetric: with a site "p_e_common", (2,), that is observed at what was learned of it.
        """
        if self.n_features == 0:
            return self.rates(0)
        if self.common is not None:
            pyro.sample("p_e_common", dist.Beta(*self.concentration).expand((2,)).to_event(1), obs=self.common)
        a, b = self.prior
        with pyro.plate("features", self.n_features):
            error_rates: Tensor = pyro.sample("p_e", dist.Beta(a, b).to_event(a.dim()))
        return error_rates

    def penalty(self, error_rates: Tensor) -> Tensor:
        """Log Beta density of the error rates relative to its mode, summed over features; scalar, never above 0.

        Asymmetric: relative to the highest mode that a common rate may give it.
        """
        a, b = self.prior
        if self.common is not None:
            density: Tensor = dist.Beta(a, b).log_prob(error_rates) - torch.log1p(self.strength)
            return density[:, : density.shape[1] - self.known].sum()
        mode = most_probable_error_rate(torch.zeros(()), torch.zeros(()), self.concentration)
        return (_log_kernel(error_rates, a, b) - _log_kernel(mode, a, b)).sum()

    def common_penalty(self) -> Tensor:
        """The same of the common rates, a scalar; 0 where there are none."""
        if self.common is None or self.n_features == 0:
            return self.concentration.new_zeros(())
        a, b = self.concentration
        mode = most_probable_error_rate(torch.zeros(()), torch.zeros(()), self.concentration)
        learned = self.common[: len(self.common) - self.known]
        return (_log_kernel(learned, a, b) - _log_kernel(mode, a, b)).sum()

    @torch.no_grad()
    def learn_common(self, error_rates: Tensor) -> None:
        """Give the common rates the values at which the log density of these, (K, 2), and of theirs is highest.

        It is concave: the place where its derivative is 0, by halving.
        """
        if self.common is None or len(error_rates) == 0:
            return
        n, odds, (a, b) = self.strength, torch.logit(error_rates), (self.concentration - 1).clamp(min=0)
        low = torch.full_like(self.common, SMALLEST_ERROR_RATE)
        high = 1 - low
        for _ in range(HALVINGS):
            m = 0.5 * (low + high)
            expected = torch.special.digamma(1 + n * m) - torch.special.digamma(1 + n * (1 - m))
            rises = n * (odds - expected).sum(0) + a / m - b / (1 - m) > 0
            low, high = torch.where(rises, m, low), torch.where(rises, high, m)
        self.common = 0.5 * (low + high)


def check_error_rate_prior(prior: object) -> None:
    """Raise OptionError unless prior is a pair of positive finite numbers."""
    pair = prior if isinstance(prior, tuple | list) and len(prior) == 2 else ()
    if not pair or not all(isinstance(value, int | float) and 0 < value < float("inf") for value in pair):
        raise OptionError(f"error_rate_prior: expected two positive numbers (a, b) of a Beta prior, got {prior!r}")


def prior_probability(answers: Tensor, error_rates: Tensor) -> Tensor:
    """P(z = 1 | h) of eq. 4: 1 - p_e where h = 1, p_e where h = 0, one half where h is NaN.

    Of answers yes and no apart 1 - p_yes, p_no, and where h is NaN their mean: either answer is as likely.
    answers: (T, K) of 1, 0, NaN. error_rates: (K,), or (K, 2). Returns (T, K). Of several annotators (T, K, A) and (K, A).
    """
    if answers.dim() == 3:
        return torch.sigmoid(annotated_log_odds(answers, error_rates))
    of_yes, of_no = by_answer(error_rates)
    yes = torch.where(answers > 0.5, 1 - of_yes, of_no)
    return torch.where(torch.isnan(answers), unanswered_rate(error_rates), yes)


def annotated_log_odds(answers: Tensor, error_rates: Tensor) -> Tensor:
    """Log-odds of z = 1 given all answers, (T, K): the sum over annotators. answers: (T, K, A); error_rates: (K, A)."""
    return -((answers - 0.5).sign().nan_to_num(0.0) * torch.logit(error_rates)).sum(2)


def unanswered_rate(error_rates: Tensor) -> Tensor:
    """P(z = 1) where there is no answer, (K,): halfway between that of the answer yes and that of the answer no."""
    if error_rates.dim() == 1:
        return torch.full_like(error_rates, 0.5)
    return 0.5 * (1 - error_rates[:, 0] + error_rates[:, 1])


class PriorLogOdds(NamedTuple):
    """Log-odds of P(z = 1 | h) as level + s slope + s^2 bend, s = 1 for the answer yes, -1 for no, 0 for none; (K,) each.

    Symmetric rates have the slope alone.
    """

    slope: Tensor
    level: Tensor
    bend: Tensor | None


def prior_log_odds(error_rates: Tensor) -> PriorLogOdds:
    """error_rates: (K,), or (K, 2) of answers yes and no."""
    if error_rates.dim() == 1:
        return PriorLogOdds(-torch.logit(error_rates), torch.zeros_like(error_rates), None)
    of_yes, of_no = -torch.logit(error_rates).T
    level = torch.logit(unanswered_rate(error_rates))
    return PriorLogOdds(0.5 * (of_yes + of_no), level, 0.5 * (of_yes - of_no) - level)


def by_answer(error_rates: Tensor) -> tuple[Tensor, Tensor]:
    """P(z = 0 | h = 1) and P(z = 1 | h = 0), (K,) each: the same where rates are symmetric, (K,)."""
    return (error_rates, error_rates) if error_rates.dim() == 1 else (error_rates[:, 0], error_rates[:, 1])


def mean_rates(error_rates: Tensor) -> Tensor:
    """The mean over answers yes and no, (K,): at one half an answer says nothing, as E[z | h = 1] - E[z | h = 0] = 1 - 2 mean."""
    return error_rates if error_rates.dim() == 1 else error_rates.mean(1)


def most_probable_error_rate(errors: Tensor, answered: Tensor, concentration: Tensor) -> Tensor:
    """MAP of p_e under Beta(a, b) after `errors` expected wrong answers among `answered` (eq. 14 with the prior).

    Kept inside [1e-6, 1 - 1e-6]. errors and answered: same shape; returns that shape.
    """
    a, b = concentration[0], concentration[1]
    # A prior with a < 1 or b < 1 has no interior mode; its pull on the estimate is dropped there.
    extra_errors, extra_right = (a - 1).clamp(min=0), (b - 1).clamp(min=0)
    total = answered + extra_errors + extra_right
    rate = torch.where(total > 0, (errors + extra_errors) / total.clamp(min=1e-300), torch.full_like(total, 0.5))
    return rate.clamp(SMALLEST_ERROR_RATE, 1 - SMALLEST_ERROR_RATE)


def _log_kernel(rate: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (a - 1).clamp(min=0) * torch.log(rate) + (b - 1).clamp(min=0) * torch.log1p(-rate)
