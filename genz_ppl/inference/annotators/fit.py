"""`fit_annotators`: the model for answers of several annotators, and of people where they have labelled some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.annotators.answers import AnnotatedData
from genz_ppl.inference.data_checks import check_answers, check_covariates, check_targets
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.fit import class_count
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.inference.state import State
from genz_ppl.inference.strategies import COMBINATIONS
from genz_ppl.inference.user_units import user_parameters
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.features import SMALLEST_ERROR_RATE, annotated_log_odds
from genz_ppl.types import GOLD, FloatArray


@dataclass(frozen=True)
class AnnotatedFit:
    """A fit to answers of annotators. names: (A,), of those that may err; posterior: (T, K), q(z = 1 | y, all h and labels).

    error_rates: (K, A), how often each annotator is wrong about each question. bounds: (steps,), of log p(y, h), all items.
    """

    names: tuple[str, ...]
    posterior: FloatArray
    error_rates: FloatArray
    bounds: FloatArray
    state: State
    scaling: Scaling
    data: AnnotatedData
    seed: int

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """As `FitResult.parameters`."""
        return user_parameters(self.state, self.scaling)

    def prior(self, answers: Mapping[str, Any]) -> FloatArray:
        """P(z = 1 | h) of items with these answers, (T, K) each, by names of annotators; of others nothing is known."""
        h = self._stacked(answers)
        return torch.sigmoid(annotated_log_odds(h, self.state.error_rates)).numpy()

    def predict(self, answers: Mapping[str, Any], covariates: Any = None) -> FloatArray:
        """E[y | h, x], (T, D), in the user's units, averaged over z."""
        h = self._stacked(answers)
        return predictive_mean(self.state, self.scaling, h, check_covariates(covariates, len(h)), self.seed)

    def _stacked(self, answers: Mapping[str, Any]) -> Tensor:
        unknown = next((name for name in answers if name not in (*self.names, GOLD)), None)
        if unknown is not None:
            raise InputError(f"answers: the fit has no annotator {unknown!r}; it has {', '.join(self.names)}")
        one = next(iter(answers.values()), np.zeros((0, len(self.error_rates))))
        nobody = np.full(np.shape(one), np.nan)
        return stacked({name: answers.get(name, nobody) for name in (*self.names, GOLD)})


def fit_annotators(
    answers: Mapping[str, Any],
    targets: Any,
    covariates: Any = None,
    gold: Any = None,
    link: str = "linear",
    likelihood: str = "gaussian",
    steps: int = 50,
    seed: int = 0,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    calibration: float = 0.0,
    shrinkage: bool = False,
    n_classes: int | None = None,
) -> AnnotatedFit:
    """Fit p(y | z, x) p(h_1, ..., h_A | z) with one error rate for each question and annotator, z shared (Dawid and Skene 1979).

    answers: by the name of the annotator, (T, K) of 1, 0 and NaN where it was not asked. gold: (T, K), labels that are taken as
    z, NaN where there is none. targets, covariates, error_rate_prior, calibration, shrinkage: as in `fit`. An annotator's rates
    are drawn towards their common one. The last 20 steps have near-exact posteriors where there are closed forms. Raises
    InputError for data that do not fit, OptionError where nobody has answered.
    """
    if not answers:
        raise OptionError("annotators: expected answers of at least one, got none")
    names = tuple(str(name) for name in answers)
    first = np.shape(next(iter(answers.values())))
    labels = np.full(first, np.nan) if gold is None else gold
    h = stacked({**dict(zip(names, answers.values(), strict=True)), GOLD: labels})
    y, x = check_targets(targets, len(h)), check_covariates(covariates, len(h))
    scaling = Scaling.of(y, x, LIKELIHOODS[likelihood])
    with isolated(int(seed)):
        model = build_model(
            *(h.shape[1], y.shape[1], x.shape[1], link, likelihood, error_rate_prior),
            n_classes=class_count(y, likelihood, n_classes),
            calibration=calibration,
            shrinkage=shrinkage,
        )
        model.likelihood.check(y)
        if len(names) > 1 or gold is not None:
            model.features.pool_annotators(h.shape[2], known=1)
        plain = scaling.data(h, x, y)
        known = torch.tensor([name == GOLD for name in (*names, GOLD)])
        data = AnnotatedData(plain.answers, plain.covariates, plain.targets, known)
        model.likelihood.start(torch.nan_to_num(data.targets), data.observed)
        rates = torch.full(h.shape[1:], model.features.prior_mean, dtype=torch.float64)
        rates[:, known] = SMALLEST_ERROR_RATE
        state = State(model, rates, torch.sigmoid(annotated_log_odds(h, rates)))
        near = min(20, steps - 1) if model.has_closed_form else 0
        bounds = coordinate(state, data, steps - near)
        if near:
            bounds += coordinate(state, data, near, first=False, combinations=COMBINATIONS)
    shift = float(scaling.density_shift(y).sum())
    return AnnotatedFit(
        names=names,
        posterior=state.posterior.numpy(),
        error_rates=state.error_rates[:, :-1].numpy(),
        bounds=np.array([bound.total + shift for bound in bounds]),
        state=state,
        scaling=scaling,
        data=data,
        seed=int(seed),
    )


def stacked(answers: Mapping[str, Any]) -> Tensor:
    """(T, K, A) from (T, K) of each; InputError, with the annotator's name, for other values and sizes."""
    parts: list[Tensor] = []
    for name, values in answers.items():
        try:
            part = check_answers(values)
        except InputError as error:
            raise InputError(f"annotator {name}: {error}") from None
        if parts and part.shape != parts[0].shape:
            (n_items, n_features), found = parts[0].shape, " and ".join(map(str, part.shape))
            raise InputError(f"annotator {name}: expected answers about {n_items} items and {n_features} questions, got {found}")
        parts.append(part)
    return torch.stack(parts, dim=2)


def agreement(answers: Sequence[FloatArray]) -> FloatArray:
    """(A, A), the share of answers that two annotators give alike, of those that both give; NaN where there are none."""
    found = np.full((len(answers), len(answers)), np.nan)
    for i, one in enumerate(answers):
        for j, other in enumerate(answers):
            both = ~(np.isnan(one) | np.isnan(other))
            if both.any():
                found[i, j] = float((one[both] == other[both]).mean())
    return found
