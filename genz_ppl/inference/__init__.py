"""Inference strategies over one Pyro model: posteriors, error rates, parameters and the bound."""

from genz_ppl.inference.feature_effects import FeatureEffects
from genz_ppl.inference.fit import FitResult, fit
from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ, ExactGuide
from genz_ppl.inference.guided.guides import MeanFieldGuide, StructuredGuide
from genz_ppl.inference.guided.svi import EpochHook, Training, TrainingOptions
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import Prediction
from genz_ppl.inference.regression.table import effects
from genz_ppl.inference.state import Bound

__all__ = [
    "Bound",
    "EnumeratedGenZ",
    "EpochHook",
    "ExactGuide",
    "FeatureEffects",
    "FitResult",
    "MeanFieldGuide",
    "Prediction",
    "StructuredGuide",
    "TraceLocalExpectation_ELBO",
    "Training",
    "TrainingOptions",
    "effects",
    "fit",
    "isolated",
]
