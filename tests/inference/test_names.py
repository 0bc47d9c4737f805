"""A fit on DataFrames knows their columns by name; arrays are taken as they come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genz_ppl.errors import InputError
from genz_ppl.inference import fit
from genz_ppl.inference.fit import FitResult


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(0)
    answers = pd.DataFrame(random.integers(0, 2, (80, 3)).astype(float), columns=["a?", "b?", "c?"])
    return answers, pd.DataFrame(random.normal(size=(80, 2)), columns=["area", "beds"])


@pytest.fixture(scope="module")
def result(tables: tuple[pd.DataFrame, pd.DataFrame]) -> FitResult:
    answers, covariates = tables
    y = answers["a?"] * 3 + covariates["area"] - 2 * covariates["beds"]
    return fit(answers, y + 0.1 * np.random.default_rng(1).normal(size=80), covariates, steps=10)


def test_columns_are_matched_by_name(result: FitResult, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    answers, covariates = tables
    expected = result.predict(answers, covariates)
    turned = result.predict(answers[["c?", "a?", "b?"]], covariates.assign(more=1.0)[["more", "beds", "area"]])
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(result.predict(answers.to_numpy(), covariates.to_numpy()), expected)
    with pytest.raises(InputError, match=r"covariates: expected the column 'beds' of the fit.*did you mean 'Beds'\?"):
        result.predict(answers, covariates.rename(columns={"beds": "Beds"}))
    with pytest.raises(InputError, match=r"answers: expected the column 'b\?' of the fit"):
        result.predict(answers.drop(columns="b?").assign(elsewhere=1.0), covariates)


def test_it_says_what_it_is(result: FitResult) -> None:
    assert repr(result).startswith("<FitResult: 80 items, 3 features, 2 covariates, 1 targets; linear link, gaussian likelihood")
    assert len(repr(result)) < 200
