"""`fit`: the model for given answers, without a foundation model and without mining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.coordinate import coordinate
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.prediction import Prediction, log_predictive_density, predict, predictive_mean
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Bound, State
from genz_ppl.models import LIKELIHOODS, LinearLink
from genz_ppl.models.features import check_error_rate_prior
from genz_ppl.settings import FitSettings
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class FitResult:
    """A fitted model in numpy terms.

    posterior: (T, K), q(z = 1 | y, h). error_rates: (K,). bounds: (steps,), total over items after every step, in the
    units of the targets; bound: the last of them. bound_terms: its parts. The total includes the log prior of the error
    rates relative to its mode, "penalty"; without it it is the bound of eqs. 1-2.
    """

    posterior: FloatArray
    error_rates: FloatArray
    bounds: FloatArray
    bound_terms: Bound
    settings: FitSettings
    state: State
    scaling: Scaling

    @property
    def bound(self) -> float:
        """The bound after the last step."""
        return float(self.bounds[-1])

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """Link and likelihood in the user's units.

        Linear link: "weights" (K, D), "intercept" (D,), "covariate_weights" (P, D), and the likelihood's "scale" (D,), a
        standard deviation. Other links: their tensors by name, for standardised targets and covariates.
        """
        return user_parameters(self.state, self.scaling)

    def predict(self, answers: Any, covariates: Any = None) -> FloatArray:
        """Posterior predictive mean for items with these answers (T, K) and covariates (T, P): (T, D)."""
        h, x = self._inputs(answers, covariates)
        return predictive_mean(self.state, self.scaling, h, x, self.settings.seed)

    def predict_interval(self, answers: Any, covariates: Any = None, level: float = 0.9) -> Prediction:
        """Mean, standard deviation and the central interval that holds `level` of the predictive distribution."""
        if not 0 < level < 1:
            raise OptionError(f"level: expected a number between 0 and 1, got {level!r}")
        h, x = self._inputs(answers, covariates)
        return predict(self.state, self.scaling, h, x, self.settings.seed, level)

    def log_likelihood(self, answers: Any, targets: Any, covariates: Any = None) -> FloatArray:
        """log p(y | h, x) of every item, (T,), features averaged out."""
        h, x = self._inputs(answers, covariates)
        y = _matrix("targets", targets)
        expected = (len(h), len(self.scaling.target_centre))
        if tuple(y.shape) != expected:
            raise InputError(f"targets: expected {expected[0]} rows and {expected[1]} columns, got {len(y)} and {y.shape[1]}")
        return log_predictive_density(self.state, self.scaling, h, x, y, self.settings.seed)

    def _inputs(self, answers: Any, covariates: Any) -> tuple[Tensor, Tensor]:
        n_features, n_covariates = len(self.error_rates), len(self.scaling.covariate_centre)
        h = check_answers(answers)
        if h.shape[1] != n_features:
            raise InputError(f"answers: expected {n_features} columns, one a feature of the fit, got {h.shape[1]}")
        x = check_covariates(covariates, len(h))
        if x.shape[1] != n_covariates:
            raise InputError(f"covariates: expected {n_covariates} columns as in the fit, got {x.shape[1]}")
        return h, x


def fit(
    answers: Any,
    targets: Any,
    covariates: Any = None,
    link: str = "linear",
    likelihood: str = "gaussian",
    inference: str = "coordinate",
    steps: int = 50,
    seed: int = 0,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    expectation: str = "auto",
    joint_moves: bool = True,
) -> FitResult:
    """Fit p(y | z, x) p(z | h) to given answers.

    answers: (T, K) of 1, 0 and NaN (no answer; a column of NaN alone is a free feature). targets: (T, D) or (T,), NaN
    where missing. covariates: (T, P) or None. numpy arrays, torch tensors or DataFrames. The other arguments: see
    `FitSettings`. Targets and covariates are standardised inside; results are in the user's units.
    Raises InputError for data that do not fit, OptionError for unknown names.
    """
    check_error_rate_prior(error_rate_prior)
    settings = FitSettings(link, likelihood, inference, steps, seed, error_rate_prior, expectation, joint_moves)
    steps, seed = int(steps), int(seed)
    h = check_answers(answers)
    y = check_targets(targets, len(h))
    x = check_covariates(covariates, len(h))
    scaling = Scaling.of(y, x, LIKELIHOODS[likelihood].shared_scale)
    data = scaling.data(h, x, y)
    with isolated(seed), one_thread(y.numel() < SMALL):
        model = build_model(h.shape[1], y.shape[1], x.shape[1], link, likelihood, settings.error_rate_prior)
        state = start_state(model, data)
        bounds = coordinate(state, data, steps, expectation, joint_moves=joint_moves)
    shift = float(scaling.density_shift(y).sum())
    last = bounds[-1]
    return FitResult(
        posterior=state.posterior.numpy(),
        error_rates=state.error_rates.numpy(),
        bounds=np.array([bound.total + shift for bound in bounds]),
        bound_terms=Bound(last.observation + shift, last.feature, last.entropy, last.penalty),
        settings=settings,
        state=state,
        scaling=scaling,
    )


def user_parameters(state: State, scaling: Scaling) -> dict[str, FloatArray]:
    """See `FitResult.parameters`."""
    with isolated(0):
        return _user_parameters(state, scaling)


def _user_parameters(state: State, scaling: Scaling) -> dict[str, FloatArray]:
    link, spread = state.model.link, scaling.target_spread
    parameters: dict[str, Tensor] = {}
    if isinstance(link, LinearLink):
        slopes = link.covariate_weights.detach() * spread / scaling.covariate_spread[:, None]
        parameters["weights"] = link.weights.detach() * spread
        parameters["intercept"] = scaling.location(link.intercept.detach()) - scaling.covariate_centre @ slopes
        parameters["covariate_weights"] = slopes
    else:
        parameters.update({f"link.{name}": value.detach() for name, value in link.named_parameters()})
    if hasattr(state.model.likelihood, "scale"):
        parameters["scale"] = state.model.likelihood.scale.detach() * spread
    return {name: value.numpy().copy() for name, value in parameters.items()}


def check_answers(answers: Any) -> Tensor:
    """answers as a (T, K) float64 tensor of 1, 0 and NaN; InputError otherwise."""
    values = _matrix("answers", answers)
    wrong = ~(torch.isnan(values) | (values == 0) | (values == 1))
    if bool(wrong.any()):
        row, column = (int(part[0]) for part in torch.nonzero(wrong, as_tuple=True))
        raise InputError(
            f"answers: expected 1, 0 or NaN, got {float(values[row, column]):g} at row {row}, column {column}; "
            "NaN stands for no valid answer"
        )
    return values


def check_targets(targets: Any, n_items: int) -> Tensor:
    """targets as a (T, D) float64 tensor with NaN where missing; InputError otherwise."""
    values = _matrix("targets", targets)
    if len(values) != n_items:
        raise InputError(f"targets: expected {n_items} rows, one an item of answers, got {len(values)}")
    if n_items < 2:
        raise InputError(f"targets: expected at least 2 items, got {n_items}")
    if bool(torch.isinf(values).any()):
        raise InputError("targets: expected finite numbers or NaN, got an infinite one; remove or mark it as missing (NaN)")
    for column, present in enumerate(values.T):
        seen = present[~torch.isnan(present)]
        if len(seen) == 0:
            raise InputError(f"targets: column {column} has no value at all; leave it out")
        if bool((seen == seen[0]).all()):
            raise InputError(f"targets: column {column} is constant, there is nothing to explain; leave it out")
    return values


def check_covariates(covariates: Any, n_items: int) -> Tensor:
    """covariates as a (T, P) float64 tensor, P = 0 for None; InputError otherwise."""
    if covariates is None:
        return torch.zeros(n_items, 0, dtype=torch.float64)
    values = _matrix("covariates", covariates)
    if len(values) != n_items:
        raise InputError(f"covariates: expected {n_items} rows, one an item of answers, got {len(values)}")
    if not bool(torch.isfinite(values).all()):
        raise InputError("covariates: expected finite numbers, got NaN or an infinite one; fill in or remove those items")
    return values


def _matrix(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        array = values.detach().cpu().numpy()
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            raise InputError(f"{name}: expected a table whose rows have one length, got rows of several") from None
    try:
        matrix = np.array(array, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers, got values of type {array.dtype}") from None
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2:
        raise InputError(f"{name}: expected a table of two dimensions, got {matrix.ndim}")
    return torch.from_numpy(matrix)
