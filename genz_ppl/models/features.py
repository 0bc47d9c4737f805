"""p(z | h): answers of a foundation model as noisy observations of the true features (eqs. 3-5)."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.errors import OptionError

# Keeps p_e, and with it every prior log-odds, finite when all answers agree with the posterior.
SMALLEST_ERROR_RATE = 1e-6


class FeatureLayer(PyroModule):  # type: ignore[misc]
    """Prior of the true features given the answers.

    n_features: K. error_rate_prior: (a, b) of the Beta prior on every error rate p_e = P(h != z).
    Raises OptionError when a or b is not positive.
    """

    concentration: Tensor

    def __init__(self, n_features: int, error_rate_prior: tuple[float, float] = (1.0, 9.0)) -> None:
        super().__init__()
        check_error_rate_prior(error_rate_prior)
        self.n_features = n_features
        self.register_buffer("concentration", torch.tensor(error_rate_prior, dtype=torch.float64))

    @property
    def prior_mean(self) -> float:
        """Prior mean of an error rate, a / (a + b)."""
        return float(self.concentration[0] / self.concentration.sum())

    def forward(self) -> Tensor:
        """Sample the site "p_e" and return it, (K,) float64. Without features there is no site."""
        if self.n_features == 0:
            return self.concentration.new_zeros(0)
        with pyro.plate("features", self.n_features):
            error_rates: Tensor = pyro.sample("p_e", dist.Beta(self.concentration[0], self.concentration[1]))
        return error_rates

    def penalty(self, error_rates: Tensor) -> Tensor:
        """Log Beta density of the error rates relative to its mode, summed over features; scalar, never above 0."""
        a, b = self.concentration
        mode = most_probable_error_rate(torch.zeros(()), torch.zeros(()), self.concentration)
        return (_log_kernel(error_rates, a, b) - _log_kernel(mode, a, b)).sum()


def check_error_rate_prior(prior: object) -> None:
    """Raise OptionError unless prior is a pair of positive finite numbers."""
    pair = prior if isinstance(prior, tuple | list) and len(prior) == 2 else ()
    if not pair or not all(isinstance(value, int | float) and 0 < value < float("inf") for value in pair):
        raise OptionError(f"error_rate_prior: expected two positive numbers (a, b) of a Beta prior, got {prior!r}")


def prior_probability(answers: Tensor, error_rates: Tensor) -> Tensor:
    """P(z = 1 | h) of eq. 4: 1 - p_e where h = 1, p_e where h = 0, one half where h is NaN.

    answers: (T, K) of 1, 0, NaN. error_rates: (K,). Returns (T, K).
    """
    yes = torch.where(answers > 0.5, 1 - error_rates, error_rates)
    return torch.where(torch.isnan(answers), torch.full_like(yes, 0.5), yes)


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
