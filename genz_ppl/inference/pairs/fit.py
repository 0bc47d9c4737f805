"""The two-item model on given answers: factorise, fit features to the embeddings, and both together (eqs. 33-37)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.pairs.embedding import Embedding, balanced
from genz_ppl.inference.pairs.first import first_embeddings
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.pairs.spread import point_spread
from genz_ppl.inference.pairs.training import EmbeddingTraining, PairTensors
from genz_ppl.models import LIKELIHOODS, FeatureLayer, GenZ
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.settings import PairSettings

# Few pairs are cut into at least so many batches.
STEPS_AN_EPOCH = 8
# Gradient steps of a fit, unless its epochs are given, and the epochs that this may come to.
GRADIENT_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1200, 10, 150
# Gradient steps between two EM-steps of the sides.
EM_EVERY = 8

OnEpoch = Callable[[int, int, float], None]


@dataclass
class PairState:
    """A fitted two-item model: program, both sides, q(y) of their items, and the bound after every epoch of the last fit.

    The bound, the evidence lower bound of all pairs with the log prior of the error rates relative to its mode, is estimated
    from one draw of the embeddings a batch.
    """

    model: CoOccurrence
    rows: Side
    columns: Side
    embeddings: tuple[Embedding, Embedding]
    bounds: list[float]

    @property
    def sides(self) -> tuple[Side, Side]:
        """Rows and columns."""
        return self.rows, self.columns


def factorise(pairs: PairTensors, settings: PairSettings, on_epoch: OnEpoch | None = None) -> PairState:
    """The first step of a decoupled fit (eq. 35): embeddings without features, turned as eq. 36. Call inside `isolated`."""
    likelihood = LIKELIHOODS[settings.likelihood](1)
    likelihood.check(pairs.values)
    likelihood.start(pairs.values, torch.ones_like(pairs.values, dtype=torch.bool))
    embeddings = first_embeddings(pairs, likelihood, settings.dimensions)
    rows, columns = (Side.blank(embedding, settings.error_rate_prior) for embedding in embeddings)
    model = CoOccurrence(rows.state.model, columns.state.model, likelihood)
    state = PairState(model, rows, columns, embeddings, [])
    train(state, pairs, settings, on_epoch)
    state.embeddings = balanced(*state.embeddings, settings.alpha)
    return joined(state, *(Side.blank(embedding, settings.error_rate_prior) for embedding in state.embeddings))


def with_features(
    state: PairState, answers: tuple[Tensor, Tensor], covariates: tuple[Tensor, Tensor], settings: PairSettings
) -> PairState:
    """The second step (eq. 37): each side's features, fitted to its embeddings as they are. Call inside `isolated`."""
    rows, columns = (
        Side.start(h, x, embedding, settings) for h, x, embedding in zip(answers, covariates, state.embeddings, strict=True)
    )
    return joined(state, rows, columns)


def joined(state: PairState, rows: Side, columns: Side) -> PairState:
    """The same embeddings with other sides. Their models are copied: Pyro takes no submodule that has run on its own."""
    for side in (rows, columns):
        side.state.model = _unused(side.state.model)
    units = [(side.scaling.target_centre, side.scaling.target_spread) for side in (rows, columns)]
    model = CoOccurrence(rows.state.model, columns.state.model, state.model.likelihood, *units)
    model.offset = state.model.offset
    return replace(state, model=model, rows=rows, columns=columns)


def _unused(model: GenZ) -> GenZ:
    """The same model, never run."""
    likelihoods = [type(model.likelihood)(model.likelihood.n_targets) for _ in range(2)]
    for new, old in zip(likelihoods, (model.likelihood, model.marginal), strict=True):
        if old is not None:
            new.load_state_dict(old.state_dict())
    old = model.features
    features = FeatureLayer(old.n_features, tuple(old.concentration.tolist()), old.asymmetric)
    features.load_state_dict(old.state_dict())
    link = model.link.with_columns(list(range(model.features.n_features)), 0)
    unused = GenZ(features, link, likelihoods[0], model.shortcuts, model.calibration)
    unused.marginal = None if model.marginal is None else likelihoods[1]
    return unused


@one_thread()  # batches are small tensors: a second thread mostly waits
def train(state: PairState, pairs: PairTensors, settings: PairSettings, on_epoch: OnEpoch | None = None) -> None:
    """The joint fit (eqs. 33 and 34): gradient steps of q(y) with EM-steps of either side in between; in place.

    With blank sides it is a factorisation whose priors are learned. on_epoch: called after each with its number,
    their number and the bound. Call inside `isolated`.
    """
    batch_size, epochs = schedule(len(pairs), settings)
    n_batches = pairs.n_batches(batch_size)
    training = EmbeddingTraining(state.model, state.embeddings, settings.guide, settings.learning_rate, epochs * n_batches)
    priors = (state.rows.prior(), state.columns.prior())
    state.bounds, done = [], 0
    for epoch in range(epochs):
        estimates = []
        for batch in pairs.batches(batch_size):
            estimates.append(training.step(*priors, batch) + sum(side.feature_bound() for side in state.sides))
            done += 1
            if done % EM_EVERY == 0 or done == epochs * n_batches:
                state.embeddings = training.embeddings()
                if settings.guide == "point":
                    state.embeddings = point_spread(state.model, pairs, state.embeddings, priors)
                for side, embedding in zip(state.sides, state.embeddings, strict=True):
                    side.explain(embedding)
                priors = (state.rows.prior(), state.columns.prior())
        state.bounds.append(sum(estimates) / len(estimates))
        if on_epoch is not None:
            on_epoch(epoch + 1, epochs, state.bounds[-1])


def schedule(n_pairs: int, settings: PairSettings) -> tuple[int, int]:
    """The batch size and the number of epochs for so many pairs."""
    batch_size = min(settings.batch_size, max(1, -(-n_pairs // STEPS_AN_EPOCH)))
    n_batches = max(1, round(n_pairs / batch_size))
    wanted = min(MOST_EPOCHS, max(FEWEST_EPOCHS, -(-GRADIENT_STEPS // n_batches)))
    return batch_size, settings.epochs or wanted
