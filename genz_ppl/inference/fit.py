"""`fit`: the model for given answers, without a foundation model and without mining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.data_checks import (
    check_answers,
    check_covariates,
    check_labels,
    check_targets,
    column_names,
    in_order,
    matrix,
)
from genz_ppl.inference.engines.rates import clearly_better
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.packed import packed_data, packed_start
from genz_ppl.inference.prediction import Prediction, log_predictive_density, predict, predictive_mean
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Bound, State
from genz_ppl.inference.strategies import model_options, strategy_of
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.models import LIKELIHOODS, LINKS, Likelihood, name_of
from genz_ppl.models.combined import Rules
from genz_ppl.models.effects import indicators, levels_of
from genz_ppl.models.features import check_error_rate_prior
from genz_ppl.models.own_likelihoods import Function
from genz_ppl.setting_fields import check_number
from genz_ppl.settings import BY_HAND, CALIBRATION, FitSettings
from genz_ppl.types import AnswerErrors, FloatArray

if TYPE_CHECKING:
    from genz_ppl.inference.posterior import FittedItems

# A categorical target with more classes than this is a number or an id.
MOST_CLASSES = 1000


@dataclass(frozen=True, repr=False)
class FitResult:
    """A fitted model in numpy terms.

    posterior: (T, K), q(z = 1 | y, h). error_rates: (K,), P(h != z); see `answer_errors`. bounds: (steps,), total over items
    after every step, in the units of the targets; bound: the last of them. bound_terms: its parts. The total includes the log
    prior of the error rates relative to its mode, "penalty"; without it it is the bound of eqs. 1-2. levels: the groups of
    `varying`, sorted.
    answer_names, covariate_names: the columns of the DataFrames it was given; () for arrays.
    """

    posterior: FloatArray
    error_rates: FloatArray
    bounds: FloatArray
    bound_terms: Bound
    settings: FitSettings
    state: State
    scaling: Scaling
    levels: tuple[str, ...] = ()
    answer_names: tuple[str, ...] = ()
    covariate_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        (n_items, n_features), n_covariates = self.posterior.shape, len(self.scaling.covariate_centre)
        sizes = f"{n_items} items, {n_features} features, {n_covariates} covariates, {len(self.scaling.target_centre)} targets"
        settings = self.settings
        how = f"{settings.link} link, {settings.likelihood} likelihood, {settings.inference} inference"
        how += "; posterior in float32" if self.posterior.dtype == np.float32 else ""
        return f"<FitResult: {sizes}; {how}; bound {self.bound:.6g} after {len(self.bounds)} steps>"

    @property
    def bound(self) -> float:
        """The bound after the last step."""
        return float(self.bounds[-1])

    @property
    def answer_errors(self) -> AnswerErrors:
        """How often answers yes and answers no are wrong, and what follows; the same rate unless they were fitted apart."""
        return self.state.answer_errors

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """Link and likelihood in the user's units.

        Linear link: "weights" (K, D), "intercept" (D,), "covariate_weights" (P, D); interaction link: also "interactions"
        (K, P, D); of `combinations` these are "combination_weights" and "combination_interactions". With `varying` also
        "group_effects" (G, 1 + P, D), what is added to intercept and covariate weights in each of
        `levels`, and "group_spread" (1 + P, D), by how much groups differ (intercepts where covariates are at their means).
        And the likelihood's own, as its `parameters_in_units` says: "scale" (D,) is a standard deviation for gaussian. Where a
        target needs several values (categorical), L instead of D. Neural link: its tensors by name, for standardised targets
        and covariates.
        """
        return user_parameters(self.state, self.scaling)

    def predict(self, answers: Any, covariates: Any = None, varying: Any = None) -> FloatArray:
        """Posterior predictive mean for items with these answers (T, K), covariates (T, P) and groups (T,): (T, D).

        Columns of DataFrames are matched by name where the fit was given DataFrames.
        An item of a group that was not in the fit has the effects of no group. Categorical targets: the probability of every
        class, (T, D C), the classes of a target side by side.
        """
        h, x = self._inputs(answers, covariates, varying)
        return predictive_mean(self.state, self.scaling, h, x, self.settings.seed)

    def predict_interval(self, answers: Any, covariates: Any = None, level: float = 0.9, varying: Any = None) -> Prediction:
        """Mean, standard deviation and the central interval that holds `level` of the predictive distribution."""
        if not 0 < level < 1:
            raise OptionError(f"level: expected a number between 0 and 1, got {level!r}")
        h, x = self._inputs(answers, covariates, varying)
        return predict(self.state, self.scaling, h, x, self.settings.seed, level)

    def log_likelihood(self, answers: Any, targets: Any, covariates: Any = None, varying: Any = None) -> FloatArray:
        """log p(y | h, x) of every item, (T,), features averaged out."""
        h, x = self._inputs(answers, covariates, varying)
        y = matrix("targets", targets)
        expected = (len(h), len(self.scaling.target_centre))
        if tuple(y.shape) != expected:
            raise InputError(f"targets: expected {expected[0]} rows and {expected[1]} columns, got {len(y)} and {y.shape[1]}")
        self.state.model.likelihood.check(y)
        return log_predictive_density(self.state, self.scaling, h, x, y, self.settings.seed)

    def fitted(
        self,
        answers: Any,
        targets: Any,
        covariates: Any = None,
        item_ids: Sequence[str] | None = None,
        feature_texts: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
        varying: Any = None,
    ) -> FittedItems:
        """The fit as diagnostics see it; data: those it was made from. Names default to "0", "1", ..."""
        h, x = self._inputs(answers, covariates, varying)
        y = matrix("targets", targets)
        if len(h) != len(self.posterior):
            raise InputError(f"answers: expected the {len(self.posterior)} items of the fit, got {len(h)}")
        names = [
            tuple(str(part) for part in (range(size) if given is None else given))
            for given, size in ((item_ids, len(h)), (feature_texts, h.shape[1]), (target_names, y.shape[1]))
        ]
        from genz_ppl.inference.posterior import FittedItems

        state = replace(self.state, posterior=self.state.posterior.to(h.dtype))
        return FittedItems(state, self.scaling, h, x, y, *names, seed=self.settings.seed, levels=self.levels)

    def _inputs(self, answers: Any, covariates: Any, varying: Any) -> tuple[Tensor, Tensor]:
        n_features, n_covariates = len(self.error_rates), len(self.scaling.covariate_centre)
        h = check_answers(in_order("answers", answers, self.answer_names))
        if h.shape[1] != n_features:
            raise InputError(f"answers: expected {n_features} columns, one a feature of the fit, got {h.shape[1]}")
        x = check_covariates(in_order("covariates", covariates, self.covariate_names), len(h))
        if x.shape[1] != n_covariates:
            raise InputError(f"covariates: expected {n_covariates} columns as in the fit, got {x.shape[1]}")
        labels = check_labels("varying", varying, len(h))
        if (labels is None) != (not self.levels):
            expected = "the group of each item" if self.levels else "no groups,"
            raise InputError(f"varying: expected {expected} as in the fit")
        return h, x if labels is None else torch.cat([x, indicators(labels, self.levels)], dim=1)


def fit(
    answers: Any,
    targets: Any,
    covariates: Any = None,
    link: str = "linear",
    likelihood: str | type[Likelihood] | Function = "gaussian",
    inference: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    expectation: str = "auto",
    joint_moves: bool = True,
    bayesian: bool = False,
    batch_size: int | None = None,
    shortcuts: bool = True,
    calibration: float = CALIBRATION,
    shrinkage: bool = True,
    error_rates: str = "symmetric",
    n_classes: int | None = None,
    device: str = "cpu",
    varying: Any = None,
    loss: ELBO | None = None,
    optim: PyroOptim | None = None,
    combinations: Sequence[Rules] | None = None,
) -> FitResult:
    """Fit p(y | z, x) p(z | h) to given answers.

    answers: (T, K) of 1, 0 and NaN (no answer; a column of NaN alone is a free feature). targets: (T, D) or (T,), NaN
    where missing. covariates: (T, P) or None. numpy arrays, torch tensors or DataFrames. n_classes: of categorical targets,
    if more than occur. device: where the E- and M-steps run, "cpu" or "cuda"; results are on the CPU. varying: (T,), the group of
    each item: intercept and covariate weights vary between groups, partially pooled (`genz_ppl.models.effects`; links linear
    and interaction). likelihood: also a class or a function, see `genz_ppl.models.own_likelihoods`. loss, optim: what
    `pyro.infer.SVI` trains the guides of svi and structured with, by default `TraceLocalExpectation_ELBO` and `GuideOptimiser`.
    combinations: of the features, which have effects in their place: the z of a conjunction is the product of its parts' z, with
    error rates of the parts (`genz_ppl.models.CombinedLink`); by enumeration, so for up to 12 features.
    The other arguments: see `FitSettings`. Targets and covariates are standardised inside (counts and classes are not); results
    are in the user's units.
    Of many items, 16 million answers and targets together, arrays are not copied, and the posterior is kept in float32, where the
    steps allow it: `genz_ppl.inference.packed`.
    Raises InputError for data that do not fit, OptionError for unknown names and options that exclude each other.
    """
    check_error_rate_prior(error_rate_prior)
    likelihood = name_of(likelihood)
    if combinations is not None:
        inference = check_combinations(link, inference, varying)
    settings = FitSettings(
        *(link, likelihood, inference, steps, seed, error_rate_prior, expectation, joint_moves, bayesian, batch_size),
        *(shortcuts, calibration, shrinkage, error_rates),
    )
    place = check_device(device, inference, bayesian)
    strategy = strategy_of(settings, loss, optim)
    large = packed_data(answers, targets, covariates, settings) if varying is None and place.type == "cpu" else None
    if large is not None:
        with isolated(int(seed)):
            state = packed_start(large, settings, model_options(settings, large.targets.shape[1]))
            bounds = strategy.fit(state, large, steps)
        scaling, shift = large.scaling, -len(large.targets) * float(torch.log(large.scaling.target_spread).sum())
        return _result(settings, state, scaling, bounds, shift, (), answers, covariates)
    h = check_answers(answers)
    y = check_targets(targets, len(h))
    x = check_covariates(covariates, len(h))
    scaling = Scaling.of(y, x, LIKELIHOODS[likelihood])
    labels = check_labels("varying", varying, len(h))
    levels = () if labels is None else levels_of(labels, x.shape[1])
    strategy.check(*h.shape)
    with isolated(int(seed)), one_thread(y.numel() < SMALL):
        classes = class_count(y, likelihood, n_classes)
        observation = LIKELIHOODS[likelihood].sized(y.shape[1], classes)
        observation.check(y)
        if labels is not None:
            groups = indicators(labels, levels)
            scaling, x = scaling.varying(groups, x, y, observation), torch.cat([x, groups], dim=1)
        data = scaling.data(h, x, y).to(place)
        kind, options = (link, likelihood, settings.error_rate_prior, classes), model_options(settings, y.shape[1])
        options["combinations"] = combinations
        state = first_state(data, scaling, *kind, **options)
        bounds = strategy.fit(state, data, steps)
        if settings.error_rates == "auto" and h.shape[1] > 0:
            apart = first_state(data, scaling, *kind, **options | {"asymmetric": True})
            others = strategy.fit(apart, data, steps)
            if clearly_better(bounds[-1].total, others[-1].total, apart, data):
                state, bounds = apart, others
        state = state if place.type == "cpu" else state.to(torch.device("cpu"))
    shift = float(scaling.density_shift(y).sum())
    return _result(settings, state, scaling, bounds, shift, levels, answers, covariates)


def _result(
    settings: FitSettings,
    state: State,
    scaling: Scaling,
    bounds: Sequence[Bound],
    shift: float,
    levels: tuple[str, ...],
    answers: Any,
    covariates: Any,
) -> FitResult:
    """shift: of the bound, to the units of the targets."""
    return FitResult(
        posterior=state.posterior.numpy(),
        error_rates=state.answer_errors.overall,
        bounds=np.array([bound.total + shift for bound in bounds]),
        bound_terms=bounds[-1].shifted(shift),
        settings=settings,
        state=state,
        scaling=scaling,
        levels=levels,
        answer_names=column_names(answers),
        covariate_names=column_names(covariates),
    )


def check_combinations(link: str, inference: str, varying: Any) -> str:
    """The inference that combinations of features take, enumeration; OptionError for others, and what does not go with them."""
    if inference not in ("auto", "enumeration") or not LINKS[link].adds_up or varying is not None:
        given = f"{inference}, the link {link}{'' if varying is None else ' and effects that vary by group'}"
        raise OptionError(
            f"combinations: expected inference enumeration, a link linear in the features and no groups, got {given}; leave "
            "combinations out, or give their answers as those of features"
        )
    return "enumeration"


def check_device(name: str, inference: str, bayesian: bool = False) -> torch.device:
    """The device of that name; OptionError if there is none, or if the strategy does not run on it."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError(f"device: expected 'cpu' or 'cuda', got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"device: torch finds no {name!r} on this machine; use 'cpu'")
    if device.type != "cpu" and (inference not in BY_HAND or bayesian):
        raise OptionError(f"device: {name!r} needs inference 'coordinate' and bayesian=False; use 'cpu'")
    return device


def class_count(targets: Tensor, likelihood: str, n_classes: int | None = None) -> int:
    """How many classes categorical targets, (T, D), have: the number given, else one more than the largest code."""
    if not LIKELIHOODS[likelihood].is_of_classes:
        return 2
    if n_classes is not None:
        check_number("n_classes", n_classes, 2)
        return int(n_classes)
    largest = float(torch.nan_to_num(targets).max())
    if largest > MOST_CLASSES:
        raise InputError(
            f"targets: expected classes numbered from 0 for the categorical likelihood, got {largest:g}; "
            "number the classes, or choose a likelihood for numbers"
        )
    return int(largest) + 1
