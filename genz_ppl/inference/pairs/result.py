"""`fit_cooccurrence`: the two-item model for given answers of both sides, numpy in and numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genz_ppl.errors import InputError
from genz_ppl.inference.data_checks import check_answers, check_covariates
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import OnEpoch, PairState, factorise, train, with_features
from genz_ppl.inference.pairs.prediction import PairPrediction, pair_densities, predict_pairs
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.pairs.training import PairTensors
from genz_ppl.models import LinearLink
from genz_ppl.settings import PairSettings
from genz_ppl.types import FloatArray, Pairs


@dataclass(frozen=True)
class SideFit:
    """One side of a fitted two-item model, N items with K features and E = 1 + D embedding entries, the bias first.

    mean, sd: (N, E), posterior of the embeddings. posterior: (N, K), q(z = 1). error_rates: (K,). weights: (K, E), of a link
    linear in the features, else None. scale: (E,), how far embeddings lie around what features say.
    """

    mean: FloatArray
    sd: FloatArray
    posterior: FloatArray
    error_rates: FloatArray
    weights: FloatArray | None
    scale: FloatArray

    @classmethod
    def of(cls, side: Side, embedding: Embedding) -> SideFit:
        """From tensors."""
        with isolated(0):
            prior = side.prior()
        return cls(
            embedding.mean.numpy(),
            embedding.sd.numpy(),
            side.state.posterior.numpy(),
            side.state.answer_errors.overall,
            weights_of(side),
            prior.scale.numpy(),
        )


@dataclass(frozen=True)
class CoOccurrenceFit:
    """A fitted two-item model. bounds: after every epoch of the last fit, estimated from draws of the embeddings."""

    rows: SideFit
    columns: SideFit
    bounds: FloatArray
    settings: PairSettings
    state: PairState

    @property
    def affinity(self) -> FloatArray | None:
        """(K1, K2): how much the location of a pair rises when the row has the one feature and the column the other.

        W1 W2' without the biases; no rotation of the embeddings changes it. None where a link is not linear.
        """
        first, second = self.rows.weights, self.columns.weights
        return None if first is None or second is None else first[:, 1:] @ second[:, 1:].T

    def predict(
        self,
        rows: Any,
        columns: Any,
        new_rows: Embedding | None = None,
        new_columns: Embedding | None = None,
        level: float = 0.9,
    ) -> PairPrediction:
        """x of the pairs (rows[r], columns[r]): positions among the items of the fit, or among the new items if given."""
        first, second = self._embeddings(new_rows, new_columns)
        positions = _positions(rows, len(first.mean), "rows"), _positions(columns, len(second.mean), "columns")
        return predict_pairs(self.state.model, first, second, *positions, level=level, seed=self.settings.seed)

    def log_likelihood(self, pairs: Pairs, new_rows: Embedding | None = None, new_columns: Embedding | None = None) -> FloatArray:
        """log p(x) of every pair given what is known of its items, (R,)."""
        first, second = self._embeddings(new_rows, new_columns)
        data = tensors(pairs)
        return pair_densities(self.state.model, first, second, data.rows, data.columns, data.values)

    def new_rows(self, answers: Any, covariates: Any = None) -> Embedding:
        """Embeddings of rows of which only answers, (N, K), and covariates, (N, P), are known."""
        return _predicted(self.state.rows, answers, covariates, self.settings.seed)

    def new_columns(self, answers: Any, covariates: Any = None) -> Embedding:
        """The same for columns."""
        return _predicted(self.state.columns, answers, covariates, self.settings.seed)

    def _embeddings(self, rows: Embedding | None, columns: Embedding | None) -> tuple[Embedding, Embedding]:
        return rows or self.state.embeddings[0], columns or self.state.embeddings[1]


def fit_cooccurrence(
    pairs: Pairs,
    row_answers: Any = None,
    column_answers: Any = None,
    row_covariates: Any = None,
    column_covariates: Any = None,
    on_epoch: OnEpoch | None = None,
    **settings: Any,
) -> CoOccurrenceFit:
    """Fit x ~ p(x | b_i + c_j + y1'y2), y ~ N(f(z), Sigma), z given answers, on observed pairs (Appendix C).

    row_answers: (N1, K1) of 1, 0 and NaN, column_answers: (N2, K2); None: the side is undescribed, its embeddings are free.
    row_covariates, column_covariates: (N, P). settings: see `PairSettings`. on_epoch: called with (epoch, epochs, bound).
    Raises InputError for data that do not fit each other or the likelihood, OptionError for options.
    """
    chosen = PairSettings(**settings)
    data = tensors(pairs)
    answers = (_answers("row", row_answers, pairs.n_rows), _answers("column", column_answers, pairs.n_columns))
    covariates = (check_covariates(row_covariates, pairs.n_rows), check_covariates(column_covariates, pairs.n_columns))
    with isolated(chosen.seed):
        state = factorise(data, chosen, on_epoch)
        state = with_features(state, answers, covariates, chosen)
        if chosen.fit == "joint":
            train(state, data, chosen, on_epoch)
    sides = [SideFit.of(side, embedding) for side, embedding in zip(state.sides, state.embeddings, strict=True)]
    return CoOccurrenceFit(sides[0], sides[1], np.array(state.bounds), chosen, state)


def tensors(pairs: Pairs) -> PairTensors:
    """Pairs for training. Raises InputError if there are none, or for positions out of range."""
    if not len(pairs):
        raise InputError("there are no pairs; at least one is needed")
    for what, positions, size in (("row", pairs.rows, pairs.n_rows), ("column", pairs.columns, pairs.n_columns)):
        if positions.min() < 0 or positions.max() >= size:
            raise InputError(
                f"pairs: expected {what} positions from 0 to {size - 1}, found {positions.min()} to {positions.max()}"
            )
    if not np.isfinite(pairs.values).all():
        raise InputError(
            f"pairs: expected finite values, found {pairs.values[~np.isfinite(pairs.values)][0]}; leave the pair out"
        )
    rows, columns = (torch.from_numpy(np.ascontiguousarray(part, dtype=np.int64)) for part in (pairs.rows, pairs.columns))
    return PairTensors(
        rows, columns, torch.from_numpy(np.asarray(pairs.values, dtype=np.float64))[:, None], pairs.n_rows, pairs.n_columns
    )


def weights_of(side: Side) -> FloatArray | None:
    """(K, E): the effect of each feature on an embedding, in its units; None where the link is not linear."""
    link = side.state.model.link
    if type(link) is not LinearLink:
        return None
    weights: FloatArray = (link.weights.detach() * side.scaling.target_spread).numpy()
    return weights


def _answers(what: str, answers: Any, n_items: int) -> Tensor:
    if answers is None:
        return torch.zeros(n_items, 0, dtype=torch.float64)
    checked = check_answers(answers)
    if len(checked) != n_items:
        raise InputError(f"{what}_answers: expected {n_items} rows, one an item, got {len(checked)}")
    return checked


def _predicted(side: Side, answers: Any, covariates: Any, seed: int) -> Embedding:
    h = check_answers(answers)
    if h.shape[1] != side.answers.shape[1]:
        raise InputError(f"answers: expected {side.answers.shape[1]} columns, one a feature of the fit, got {h.shape[1]}")
    x = check_covariates(covariates, len(h))
    if x.shape[1] != side.covariates.shape[1]:
        raise InputError(f"covariates: expected {side.covariates.shape[1]} columns as in the fit, got {x.shape[1]}")
    with isolated(seed):
        return side.predict(h, x, seed=seed)


def _positions(positions: Any, size: int, what: str) -> Tensor:
    chosen = torch.as_tensor(np.asarray(positions, dtype=np.int64))
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < size:
        raise InputError(f"{what}: expected positions from 0 to {size - 1}, got {int(chosen.min())} to {int(chosen.max())}")
    return chosen
