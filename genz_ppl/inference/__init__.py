"""Inference strategies over one Pyro model: posteriors, error rates, parameters and the bound."""

from genz_ppl.inference.fit import FitResult, fit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import Prediction
from genz_ppl.inference.state import Bound

__all__ = ["Bound", "FitResult", "Prediction", "fit", "isolated"]
