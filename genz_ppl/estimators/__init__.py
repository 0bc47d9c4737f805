"""Estimators for scikit-learn: `GenZRegressor` and `GenZClassifier`."""

from importlib.util import find_spec

if find_spec("sklearn") is None:
    raise ImportError("GenZRegressor and GenZClassifier need scikit-learn: pip install 'genz-ppl[sklearn]'", name="sklearn")

from genz_ppl.estimators.classifier import GenZClassifier
from genz_ppl.estimators.regressor import GenZRegressor

__all__ = ["GenZClassifier", "GenZRegressor"]
