"""What each question adds to the prediction of an item, beside what is predicted where no question is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import mean_at
from genz_ppl.inference.start import Scaling
from genz_ppl.inference.state import State
from genz_ppl.models.counts import PoissonLikelihood
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class Contributions:
    """base: (T, L), with every question at the mean chance of a yes; parts: (T, K, L); exact: they and the base add up.

    Links that are linear in the features: in the units of effects (the target's, log-odds of classes, log rates of counts), and
    exact there (of a categorical target against the mean of its classes). A network: the change of the prediction, in its
    units, when the answer to this question alone is taken away; questions that work together share what they do, so that
    these need not add up.
    """

    base: FloatArray
    parts: FloatArray
    exact: bool


def contributions(state: State, scaling: Scaling, answers: Tensor, covariates: Tensor, usual: Tensor, seed: int) -> Contributions:
    """Of items with these answers, (T, K), and covariates, (T, P). usual: (K,), mean chances of a yes, of the training items."""
    chances, x, model = state.prior(answers), scaling.covariates(covariates), state.model.eval()

    def value(prior: Tensor) -> FloatArray:
        if not model.link.adds_up:
            return mean_at(state, scaling, prior, x, seed)
        found: FloatArray = scaling.location(model.link(prior, x)).numpy()
        if isinstance(model.likelihood, PoissonLikelihood):  # the link gives the logarithm relative to the mean count
            found = found + model.likelihood.base.numpy()
        if not model.likelihood.is_of_classes:
            return found
        classes = found.reshape(len(found), model.likelihood.n_targets, model.likelihood.n_classes)
        return np.asarray(classes - classes.mean(axis=2, keepdims=True)).reshape(found.shape)

    with torch.no_grad(), isolated(seed):
        whole, base, parts = value(chances), value(usual.expand_as(chances)), []
        for k in range(chances.shape[1]):
            without = chances.clone()
            without[:, k] = usual[k]
            parts.append(whole - value(without))
    stacked = np.stack(parts, axis=1) if parts else np.zeros((len(whole), 0, whole.shape[1]))
    return Contributions(base, stacked, bool(model.link.adds_up))
