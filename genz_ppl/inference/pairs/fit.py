"""`fit_cooccurrence`: the two-item model for given answers, decoupled (eqs. 35-37) or joint (eqs. 33-34)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.data_checks import check_answers, check_covariates
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.pairs.embedding import Embedding, balanced
from genz_ppl.inference.pairs.first import first_embeddings
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.pairs.spread import point_spread
from genz_ppl.inference.pairs.training import GUIDE_NAMES, EmbeddingTraining, PairTensors
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.models.features import check_error_rate_prior
from genz_ppl.settings import LINK_NAMES, check_choice, check_number

PAIR_LIKELIHOODS = ("gaussian", "bernoulli", "poisson")
FIT_NAMES = ("joint", "decoupled")
# At least so many gradient steps an epoch, so that few pairs are seen as often as they need.
STEPS_AN_EPOCH = 8


@dataclass(frozen=True)
class PairSettings:
    """How the two-item model is fitted.

    dimensions: D. likelihood: gaussian, bernoulli or poisson. fit: "joint" or "decoupled". guide: of the embeddings, "normal"
    or "point". epochs: passes over the pairs, for the factorisation and once more for a joint fit. batch_size: pairs in a
    minibatch. link: of both sides. alpha: which side gets the singular values (eq. 36). error_rate_prior: (a, b) of the Beta.
    """

    dimensions: int = 8
    likelihood: str = "gaussian"
    fit: str = "joint"
    guide: str = "normal"
    epochs: int = 100
    batch_size: int = 65536
    learning_rate: float = 0.05
    link: str = "linear"
    alpha: float = 0.5
    error_rate_prior: tuple[float, float] = (1.0, 9.0)
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("likelihood", self.likelihood, PAIR_LIKELIHOODS)
        check_choice("fit", self.fit, FIT_NAMES)
        check_choice("guide", self.guide, GUIDE_NAMES)
        check_choice("link", self.link, LINK_NAMES)
        for option in ("dimensions", "epochs", "batch_size"):
            check_number(option, getattr(self, option), 1)
        check_number("alpha", self.alpha, 0, 1, whole=False)
        check_number("seed", self.seed, 0, 2**32 - 1)
        check_error_rate_prior(self.error_rate_prior)


@dataclass
class PairState:
    """A fitted two-item model: program, both sides, q(y) of their items, and the bound after every epoch."""

    model: CoOccurrence
    rows: Side
    columns: Side
    embeddings: tuple[Embedding, Embedding]
    bounds: list[float]


def factorise(pairs: PairTensors, settings: PairSettings) -> PairState:
    """The first step of a decoupled fit (eq. 35): embeddings without features, turned as eq. 36. Call inside `isolated`."""
    likelihood = LIKELIHOODS[settings.likelihood](1)
    likelihood.check(pairs.values)
    likelihood.start(pairs.values, torch.ones_like(pairs.values, dtype=torch.bool))
    embeddings = first_embeddings(pairs, likelihood, settings.dimensions)
    sides = [Side.blank(embedding, settings.error_rate_prior) for embedding in embeddings]
    model = CoOccurrence(sides[0].state.model, sides[1].state.model, likelihood)
    state = PairState(model, sides[0], sides[1], embeddings, [])
    train(state, pairs, settings)
    state.embeddings = balanced(*state.embeddings, settings.alpha)
    return state


def with_features(
    state: PairState, answers: tuple[Tensor, Tensor], covariates: tuple[Tensor, Tensor], settings: PairSettings
) -> PairState:
    """The second step (eq. 37): each side's features, fitted to its embeddings as they are. Call inside `isolated`."""
    sides = [
        Side.start(h, x, embedding, settings.link, settings.error_rate_prior)
        for h, x, embedding in zip(answers, covariates, state.embeddings, strict=True)
    ]
    return joined(state, sides[0], sides[1])


def joined(state: PairState, rows: Side, columns: Side) -> PairState:
    """The same embeddings with other sides."""
    units = [(side.scaling.target_centre, side.scaling.target_spread) for side in (rows, columns)]
    model = CoOccurrence(rows.state.model, columns.state.model, state.model.likelihood, *units)
    model.offset = state.model.offset
    return replace(state, model=model, rows=rows, columns=columns, bounds=[])


def train(state: PairState, pairs: PairTensors, settings: PairSettings) -> None:
    """Epochs of q(y), each followed by one EM-step of either side (eqs. 33 and 34); in place. Call inside `isolated`."""
    batch_size = min(settings.batch_size, -(-len(pairs) // STEPS_AN_EPOCH))
    steps = settings.epochs * max(1, round(len(pairs) / batch_size))
    training = EmbeddingTraining(
        state.model, pairs, state.embeddings, settings.guide, batch_size, settings.learning_rate, steps
    )
    priors = (state.rows.prior(), state.columns.prior())
    for _ in range(settings.epochs):
        given = training.epoch(*priors)
        state.embeddings = training.embeddings()
        if settings.guide == "point":
            state.embeddings = point_spread(state.model, pairs, tuple(one.mean for one in state.embeddings), priors)
        state.bounds.append(given)
        for side, embedding in zip((state.rows, state.columns), state.embeddings, strict=True):
            side.explain(embedding)
        priors = (state.rows.prior(), state.columns.prior())
