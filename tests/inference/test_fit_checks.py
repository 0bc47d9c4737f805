"""What `fit` says when its input or an option is wrong: one line that names what came."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from genz_ppl.errors import GenzError, InputError, OptionError
from genz_ppl.inference import FitResult, fit
from genz_ppl.settings import DiscoverSettings, FitSettings

ANSWERS = np.array([[1.0, 0.0], [0.0, np.nan], [1.0, 1.0], [0.0, 0.0]])
TARGETS = np.array([[1.0, 2.0], [0.0, np.nan], [1.5, 1.0], [0.2, 0.0]])
COVARIATES = np.array([[1.0], [2.0], [3.0], [4.0]])


def changed(table: Any, row: int, column: int, value: float) -> Any:
    copy = table.copy()
    copy[row, column] = value
    return copy


INPUTS: dict[str, tuple[dict[str, Any], str]] = {
    "answer of 2": (
        {"answers": changed(ANSWERS, 2, 1, 2.0)},
        "answers: expected 1, 0 or NaN, got 2 at row 2, column 1; NaN stands for no valid answer",
    ),
    "answer of one half": ({"answers": changed(ANSWERS, 0, 0, 0.5)}, "answers: expected 1, 0 or NaN, got 0.5 at row 0, column 0"),
    "infinite answer": ({"answers": changed(ANSWERS, 0, 0, np.inf)}, "answers: expected 1, 0 or NaN, got inf at row 0, column 0"),
    "words for answers": ({"answers": np.array([["yes"]] * 4)}, "answers: expected numbers, got values of type <U3"),
    "ragged answers": ({"answers": [[1.0, 0.0], [1.0]]}, "answers: expected "),
    "answers in three dimensions": (
        {"answers": np.zeros((4, 2, 2))},
        "answers: expected a table of two dimensions, got 3",
    ),
    "a single number": ({"answers": 1.0}, "answers: expected a table of two dimensions, got 0"),
    "too few targets": ({"targets": TARGETS[:3]}, "targets: expected 4 rows, one an item of answers, got 3"),
    "one item": (
        {"answers": ANSWERS[:1], "targets": TARGETS[:1], "covariates": None},
        "targets: expected at least 2 items, got 1",
    ),
    "no items": (
        {"answers": ANSWERS[:0], "targets": TARGETS[:0], "covariates": None},
        "targets: expected at least 2 items, got 0",
    ),
    "infinite target": (
        {"targets": changed(TARGETS, 1, 0, -np.inf)},
        "targets: expected finite numbers or NaN, got an infinite one; remove or mark it as missing (NaN)",
    ),
    "empty target": (
        {"targets": np.column_stack([TARGETS, [np.nan] * 4])},
        "targets: column 2 has no value at all; leave it out",
    ),
    "constant target": (
        {"targets": np.column_stack([TARGETS, [7.0, 7.0, np.nan, 7.0]])},
        "targets: column 2 is constant, there is nothing to explain; leave it out",
    ),
    "words for targets": ({"targets": ["a", "b", "c", "d"]}, "targets: expected numbers, got values of type <U1"),
    "too many covariates": (
        {"covariates": np.zeros((5, 1))},
        "covariates: expected 4 rows, one an item of answers, got 5",
    ),
    "missing covariate": (
        {"covariates": changed(COVARIATES, 2, 0, np.nan)},
        "covariates: expected finite numbers, got NaN or an infinite one; fill in or remove those items",
    ),
    "half a count": (
        {"likelihood": "poisson"},
        "targets: expected counts (0, 1, 2, ...) for the poisson likelihood, got 1.5 at row 2, column 0",
    ),
    "negative count": (
        {"targets": [0.0, 3.0, -2.0, 5.0], "likelihood": "negative_binomial"},
        "targets: expected counts (0, 1, 2, ...) for the negative_binomial likelihood, got -2 at row 2, column 0",
    ),
    "neither yes nor no": (
        {"targets": [0.0, 1.0, 2.0, np.nan], "likelihood": "bernoulli"},
        "targets: expected 0 or 1 for the bernoulli likelihood, got 2 at row 2, column 0; correct it or use categorical",
    ),
    "class between classes": (
        {"likelihood": "categorical"},
        "targets: expected classes 0 to 2 for the categorical likelihood, got 1.5 at row 2, column 0; number the classes from 0",
    ),
    "class beyond the last": (
        {"targets": [0.0, 1.0, 7.0, 2.0], "likelihood": "categorical", "n_classes": 3},
        "targets: expected classes 0 to 2 for the categorical likelihood, got 7 at row 2, column 0",
    ),
    "identity numbers for classes": (
        {"targets": [10_001.0, 10_002.0, 10_003.0, 10_004.0], "likelihood": "categorical"},
        "targets: expected classes numbered from 0 for the categorical likelihood, got 10004; number the classes, or choose",
    ),
}
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "link": ({"link": "cubic"}, "link: expected one of linear, interaction, neural, got 'cubic'"),
    "likelihood": ({"likelihood": "cauchy"}, "likelihood: expected one of gaussian, isotropic, "),
    "inference": ({"inference": "magic"}, "inference: expected one of auto, coordinate, "),
    "expectation": ({"expectation": "mean"}, "expectation: expected one of auto, exact, mode, sample, got 'mean'"),
    "steps 0": ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
    "steps 2.5": ({"steps": 2.5}, "steps: expected a whole number of at least 1, got 2.5"),
    "steps True": ({"steps": True}, "steps: expected a whole number of at least 1, got True"),
    "steps nan": ({"steps": float("nan")}, "steps: expected a whole number of at least 1, got nan"),
    "steps word": ({"steps": "many"}, "steps: expected a whole number of at least 1, got 'many'"),
    "seed": ({"seed": -1}, "seed: expected a whole number from 0 to 4.29497e+09, got -1"),
    "prior zero": (
        {"error_rate_prior": (0.0, 9.0)},
        "error_rate_prior: expected two positive numbers (a, b) of a Beta prior, got (0.0, 9.0)",
    ),
    "prior of three": ({"error_rate_prior": (1, 2, 3)}, "error_rate_prior: expected two positive numbers (a, b) of a Beta prior"),
    "prior a number": ({"error_rate_prior": 5}, "error_rate_prior: expected two positive numbers (a, b) of a Beta prior, got 5"),
    "prior words": ({"error_rate_prior": ("a", "b")}, "error_rate_prior: expected two positive numbers (a, b) of a Beta prior"),
    "exact neural": (
        {"link": "neural", "expectation": "exact"},
        "expectation: 'exact' needs the linear or interaction link with a gaussian, isotropic, ",
    ),
    "exact with correlated targets": (
        {"likelihood": "low_rank_gaussian", "expectation": "exact"},
        "expectation: 'exact' needs the linear or interaction link with a gaussian, isotropic, ",
    ),
    "one class": ({"likelihood": "categorical", "n_classes": 1}, "n_classes: expected a whole number of at least 2, got 1"),
    "uncertain weights by points": ({"bayesian": True}, "bayesian: auto fits "),
    "batches of all": ({"batch_size": 2}, "batch_size: auto works on all items at once; choose inference svi "),
    "batch of none": ({"batch_size": 0, "inference": "svi"}, "batch_size: expected a whole number of at least 1, got 0"),
    "batch of more": (
        {"batch_size": 5, "inference": "svi"},
        "batch_size: expected at most the 4 items there are to fit, got 5; choose a smaller one or leave it out",
    ),
}


def check(kind: type[GenzError], message: str, call: Any) -> None:
    with pytest.raises(kind, match="^" + re.escape(message)) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("name", INPUTS)
def test_unusable_input(name: str) -> None:
    given, message = INPUTS[name]
    check(InputError, message, lambda: fit(**{"answers": ANSWERS, "targets": TARGETS, "covariates": COVARIATES, **given}))


@pytest.mark.parametrize("name", OPTIONS)
def test_wrong_option(name: str) -> None:
    given, message = OPTIONS[name]
    check(OptionError, message, lambda: fit(ANSWERS, TARGETS, **given))


@pytest.fixture(scope="module")
def result() -> FitResult:
    return fit(ANSWERS, TARGETS, COVARIATES, steps=2)


def test_prediction_for_other_features(result: FitResult) -> None:
    message = "answers: expected 2 columns, one a feature of the fit, got 3"
    for call in (result.predict, result.predict_interval):
        check(InputError, message, lambda call=call: call(np.zeros((4, 3)), COVARIATES))


def test_prediction_with_other_covariates(result: FitResult) -> None:
    check(InputError, "covariates: expected 1 columns as in the fit, got 0", lambda: result.predict(ANSWERS))
    two = np.zeros((4, 2))
    check(InputError, "covariates: expected 1 columns as in the fit, got 2", lambda: result.predict(ANSWERS, two))


def test_prediction_with_impossible_answers(result: FitResult) -> None:
    wrong = changed(ANSWERS, 3, 1, -1.0)
    check(InputError, "answers: expected 1, 0 or NaN, got -1 at row 3, column 1", lambda: result.predict(wrong, COVARIATES))


@pytest.mark.parametrize("targets", [TARGETS[:3], TARGETS[:, :1], np.zeros((4, 3))], ids=["rows", "one column", "columns"])
def test_log_likelihood_of_other_targets(result: FitResult, targets: Any) -> None:
    check(InputError, "targets: expected ", lambda: result.log_likelihood(ANSWERS, targets, COVARIATES))


def test_log_likelihood_of_a_class_that_the_fit_did_not_have() -> None:
    result = fit(ANSWERS, [0, 1, 1, 0], likelihood="categorical", steps=1)
    assert np.isfinite(result.log_likelihood(ANSWERS, [0, 1, np.nan, 0])).all()
    message = "targets: expected classes 0 to 1 for the categorical likelihood, got 2 at row 1, column 0; number the classes"
    check(InputError, message, lambda: result.log_likelihood(ANSWERS, [0, 2, 1, 0]))


def test_classes_that_do_not_occur_have_a_small_probability() -> None:
    result = fit(ANSWERS, [0, 1, 1, 0], likelihood="categorical", steps=1, n_classes=4)
    found = result.predict(ANSWERS)
    assert found.shape == (4, 4)
    assert found[:, 2:].max() < 0.01
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1])
def test_impossible_level(result: FitResult, level: float) -> None:
    check(OptionError, "level: expected ", lambda: result.predict_interval(ANSWERS, COVARIATES, level=level))


@pytest.mark.parametrize("steps", [3, np.int64(3)])
def test_whole_numbers_of_any_kind(steps: Any) -> None:
    assert len(fit(ANSWERS, TARGETS, steps=steps, seed=np.int64(1)).bounds) == 3  # type: ignore[arg-type]


DISCOVERY: dict[str, tuple[dict[str, Any], str]] = {
    "algorithm": ({"algorithm": "greedy"}, "algorithm: expected one of targeted, basic, got 'greedy'"),
    "polarity": ({"polarity": "neither"}, "polarity: expected one of both, positive, negative, got 'neither'"),
    "cycles": ({"cycles": 0}, "cycles: expected a whole number of at least 1, got 0"),
    "add": ({"add": 0}, "add: expected a whole number of at least 1, got 0"),
    "cut": ({"cut": -1}, "cut: expected a whole number of at least 0, got -1"),
    "proposals": ({"proposals": 1.5}, "proposals: expected a whole number of at least 1, got 1.5"),
    "exemplars": ({"exemplars": "all"}, "exemplars: expected a whole number of at least 1, got 'all'"),
    "inner_steps": ({"inner_steps": 0}, "inner_steps: expected a whole number of at least 1, got 0"),
    "refit_steps": ({"refit_steps": 0}, "refit_steps: expected a whole number of at least 1, got 0"),
    "smallest_share": ({"smallest_share": 0.6}, "smallest_share: expected a number from 0 to 0.5, got 0.6"),
    "max_features": ({"max_features": 0}, "max_features: expected a whole number of at least 1, got 0"),
    "seed": ({"seed": 2**32}, "seed: expected a whole number from 0 to 4.29497e+09, got 4294967296"),
    "link": ({"link": "cubic"}, "link: expected one of linear, interaction, neural, got 'cubic'"),
    "inference": ({"inference": "magic"}, "inference: expected one of auto, coordinate, "),
    "likelihood": ({"likelihood": "cauchy"}, "likelihood: expected one of gaussian, isotropic, "),
}


@pytest.mark.parametrize("name", DISCOVERY)
def test_wrong_discovery_setting(name: str) -> None:
    given, message = DISCOVERY[name]
    check(OptionError, message, lambda: DiscoverSettings(**given))


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        FitSettings().steps = 3  # type: ignore[misc]
