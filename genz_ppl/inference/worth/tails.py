"""Whether the noise of numbers has heavier tails than a Gaussian: Student-t noise while the bound speaks for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GaussianLikelihood, Likelihood
from genz_ppl.models.likelihoods import mean_of
from genz_ppl.models.robust import StudentTLikelihood

# Steps that bring scale and degrees of freedom of plain errors to where they stay, near enough for `may_be_heavy`.
STEPS = 12


def heavier_tails(state: State, data: Data, bound: float, steps: int) -> tuple[State, float] | None:
    """The fit with Student-t in place of Gaussian noise, and its bound, if it is clearly better; else None.

    bound: of the fit with Gaussian noise. Tails must be worth log T nats for the degrees of freedom of every target: twice what
    Schwarz's criterion asks, since a run looks at them many times. The bound, not the errors, decides: a few wrong answers make
    errors with long tails, too, and there error rates explain them.
    """
    if gain_of_errors(state, data) <= _price(data):
        return None
    trial, reached = _with_noise(state, data, steps, _robust)
    return (trial, reached) if reached - bound > _price(data) else None


def lighter_tails(state: State, data: Data, bound: float, steps: int) -> tuple[State, float] | None:
    """The fit with Gaussian in place of Student-t noise, and its bound, if tails are not worth half their price; else None.

    What looks like tails while a feature is missing may not be once it is there. Half: so that a run that stands between the two
    does not turn again and again. bound: of the fit with Student-t noise.
    """
    trial, reached = _with_noise(state, data, steps, _gaussian)
    return (trial, reached) if bound - reached < 0.5 * _price(data) else None


def _price(data: Data) -> float:
    """Nats that tails must be worth."""
    return data.targets.shape[1] * math.log(max(1, len(data.targets)))


def _with_noise(state: State, data: Data, steps: int, noise: Callable[[Tensor], Likelihood]) -> tuple[State, float]:
    """The fit with other noise, made of a variance, (D,), in place of the model's, and its bound."""
    trial = state.copy()
    for name in ("likelihood", "marginal"):
        if (present := getattr(trial.model, name)) is not None:
            setattr(trial.model, name, noise(present.scale.detach() ** 2))
    return trial, refit(trial, data, steps).total


@torch.no_grad()
def gain_of_errors(state: State, data: Data) -> float:
    """Nats by which Student-t noise explains the errors of what answers alone predict better than Gaussian noise.

    Where it is small, there is no need of a refit: features can only explain tails away.
    """
    error = (data.targets - state.model.link(state.prior(data.answers), data.covariates)) ** 2
    error, observed = torch.nan_to_num(error), data.observed
    variance = mean_of(error, observed)
    noise = _robust(variance)
    for _ in range(STEPS):
        noise.update(error, observed)
    gaussian = -0.5 * (torch.log(2 * math.pi * variance) + error / variance)
    return float(torch.where(observed, noise.error_log_density(error) - gaussian, 0.0).sum())


def _robust(variance: Tensor) -> StudentTLikelihood:
    """Student-t noise of this variance, (D,), with four degrees of freedom."""
    noise: StudentTLikelihood = StudentTLikelihood(len(variance)).to(variance.device)
    noise.scale, noise.degrees_of_freedom = (0.5 * variance).sqrt(), torch.full_like(variance, 4.0)
    return noise


def _gaussian(variance: Tensor) -> GaussianLikelihood:
    """Gaussian noise of this variance, (D,)."""
    noise: GaussianLikelihood = GaussianLikelihood(len(variance)).to(variance.device)
    noise.scale = variance.sqrt()
    return noise
