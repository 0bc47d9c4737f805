"""scikit-learn's own checks of estimators, all of them. With answers=True they make no sense: their data are not answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from genz_ppl import GenZClassifier, GenZRegressor
from genz_ppl.errors import GenzWarning

checks = pytest.importorskip("sklearn.utils.estimator_checks")

SHORT: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0, "settings": {"proposals": 4, "patience": 1}}


@checks.parametrize_with_checks([GenZRegressor(**SHORT), GenZClassifier(**SHORT)])  # type: ignore[untyped-decorator]
@pytest.mark.slow
def test_of_runs(estimator: Any, check: Callable[[Any], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GenzWarning)  # of columns that tell all of the target: the checks' data are made so
        check(estimator)
