"""The generative model p(z | h) p(y | z, x) as Pyro modules: features, links, likelihoods and their composition."""

from genz_ppl.models.bayesian import BayesianGenZ
from genz_ppl.models.classes import BernoulliLikelihood, CategoricalLikelihood
from genz_ppl.models.combined import CombinedLink
from genz_ppl.models.counts import NegativeBinomialLikelihood, PoissonLikelihood
from genz_ppl.models.features import FeatureLayer
from genz_ppl.models.gaussian import GaussianLikelihood, IsotropicLikelihood, LowRankGaussianLikelihood
from genz_ppl.models.genz import GenZ
from genz_ppl.models.interaction import InteractionLink
from genz_ppl.models.known_likelihoods import LIKELIHOODS, add_likelihood, name_of
from genz_ppl.models.likelihoods import Likelihood, ScaleMixtureLikelihood
from genz_ppl.models.links import LINKS, LinearLink, Link, add_link
from genz_ppl.models.network import NeuralLink
from genz_ppl.models.priors import released
from genz_ppl.models.robust import LaplaceLikelihood, StudentTLikelihood

__all__ = [
    "LIKELIHOODS",
    "LINKS",
    "BayesianGenZ",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "CombinedLink",
    "FeatureLayer",
    "GaussianLikelihood",
    "GenZ",
    "InteractionLink",
    "IsotropicLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "LinearLink",
    "Link",
    "LowRankGaussianLikelihood",
    "NegativeBinomialLikelihood",
    "NeuralLink",
    "PoissonLikelihood",
    "ScaleMixtureLikelihood",
    "StudentTLikelihood",
    "add_likelihood",
    "add_link",
    "name_of",
    "released",
]
