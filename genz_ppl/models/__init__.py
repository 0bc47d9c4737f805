"""The generative model p(z | h) p(y | z, x) as Pyro modules: features, links, likelihoods and their composition."""

from genz_ppl.models.features import FeatureLayer
from genz_ppl.models.genz import GenZ
from genz_ppl.models.likelihoods import LIKELIHOODS, GaussianLikelihood, IsotropicLikelihood, Likelihood
from genz_ppl.models.links import LINKS, LinearLink, Link, NeuralLink

__all__ = [
    "LIKELIHOODS",
    "LINKS",
    "FeatureLayer",
    "GaussianLikelihood",
    "GenZ",
    "IsotropicLikelihood",
    "Likelihood",
    "LinearLink",
    "Link",
    "NeuralLink",
]
