"""Which link predicts items best that had no say in the choice of questions: densities of folds, the choice made again in each.

Leave-one-out after the choice cannot tell: the questions were chosen on all items, by one of the links. Here the choice is made
without a fold (`selection`), each link is fitted to the same questions there, and the fold is predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.inference.engines.plug_in import train
from genz_ppl.inference.isolation import isolated, one_thread
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.selection import FOLDS, base_of, densities, filled, folds_of, predicted, scale_of, selected
from genz_ppl.models.interaction import INTERACTION_SPREAD
from genz_ppl.types import FloatArray, IntArray

LINEAR, INTERACTION, NEURAL = "linear", "interaction", "neural"
# What a network might see is looked for by a regression with kernels on so many items first, which takes no time.
MOST_IN_KERNEL = 1500
# Squared kernel widths, in features that differ, and the noise of values beside what the kernel explains.
WIDTH, RIDGES = 4.0, (0.3, 1.0, 3.0, 10.0)
Prediction = Callable[[FloatArray, IntArray, IntArray], FloatArray]


@dataclass(frozen=True)
class LinkScore:
    """By how many nats a link predicts all items, each out of its fold, better than the linear one does; and their error."""

    gain: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Whether it is better by more than two standard errors."""
        return self.gain > 2 * self.standard_error


@one_thread()
def link_scores(state: State, data: Data, wordings: FloatArray, seed: int) -> dict[str, LinkScore]:
    """The links `interaction` and `neural` beside `linear`, as far as they apply, each with as many questions as the state has.

    wordings: (T, N), answers to all that the state's K features were chosen from, NaN where there are none. The state has linear
    effects and noise of numbers. `interaction` applies where there are covariates. Networks are trained in the folds only if a
    regression with kernels on what the linear link leaves over predicts clearly better, too; no groups may be there.
    """
    n_items, n_chosen = state.posterior.shape
    if n_chosen == 0 or n_items < 4 * FOLDS:
        return {}
    folds = _Folds.of(state, data, filled(wordings), seed)
    linear = folds.errors(folds.linear)
    found = {}
    if folds.n_covariates:
        found[INTERACTION] = folds.score(linear, folds.errors(folds.products))
    if state.model.link.pooling is None and folds.n_inputs > 1:
        found[NEURAL] = folds.score(linear, folds.errors(folds.kernels))
        if found[NEURAL].is_clear:
            with isolated(seed):
                found[NEURAL] = folds.score_of(linear, folds.network)
    return found


@dataclass(frozen=True)
class _Folds:
    """base: (T, 1 + P); columns: (T, N); targets: (T, D), 0 where missing. folds: rows and fold of each, and what was chosen."""

    state: State
    data: Data
    base: FloatArray
    columns: FloatArray
    targets: FloatArray
    folds: list[tuple[IntArray, IntArray, list[int]]]

    @classmethod
    def of(cls, state: State, data: Data, columns: FloatArray, seed: int) -> _Folds:
        base, targets = base_of(state, data)
        n_chosen = state.posterior.shape[1]
        chosen = [
            (rows, fold, selected(base[rows], columns[rows], targets[rows], n_chosen))
            for rows, fold in folds_of(len(targets), [seed, 0])
        ]
        return cls(state, data, base, columns, targets, chosen)

    @property
    def n_covariates(self) -> int:
        return int(self.base.shape[1]) - 1

    @property
    def n_inputs(self) -> int:
        """Of a network."""
        return int(self.n_covariates + self.state.posterior.shape[1])

    def errors(self, predictions: Prediction) -> FloatArray:
        """Of all items, (T, D), each predicted without its fold."""
        errors = np.empty_like(self.targets)
        for rows, fold, chosen in self.folds:
            errors[fold] = self.targets[fold] - predictions(self.columns[:, chosen], rows, fold)
        return errors

    def score_of(self, linear: FloatArray, predictions: Prediction) -> LinkScore:
        """The score of predictions that take time: of the first two folds alone where it is not above 0 there."""
        errors, seen = np.empty_like(self.targets), np.zeros(len(self.targets), dtype=np.bool_)
        for number, (rows, fold, chosen) in enumerate(self.folds):
            errors[fold], seen[fold] = self.targets[fold] - predictions(self.columns[:, chosen], rows, fold), True
            if number == 1 and (score := self.score(linear, errors, seen)).gain <= 0:
                return score
        return self.score(linear, errors)

    def score(self, linear: FloatArray, other: FloatArray, seen: NDArray[np.bool_] | None = None) -> LinkScore:
        likelihood, observed = self.state.model.likelihood, self.data.observed.cpu()
        if seen is not None:
            linear, other, observed = linear[seen], other[seen], observed[torch.from_numpy(seen)]
        each = []
        for errors in (linear[None], other[None]):
            scale = scale_of(likelihood, errors, observed)
            each.append(densities(likelihood, errors / scale, observed)[0] - np.log(scale) * observed.sum(1).numpy())
        gains = each[1] - each[0]
        return LinkScore(float(gains.sum()), float(gains.std() * np.sqrt(len(gains))))

    def linear(self, answers: FloatArray, rows: IntArray, fold: IntArray) -> FloatArray:
        return predicted(self.base, answers, self.targets, rows, fold)

    def products(self, answers: FloatArray, rows: IntArray, fold: IntArray) -> FloatArray:
        """Products of answers and covariates have their prior: rows more that ask them to be 0."""
        products = (answers[:, :, None] * self.base[:, None, 1:]).reshape(len(answers), -1)
        left = self.targets[rows] - self.linear(answers, rows, rows)
        beside = np.concatenate([self.base, answers], axis=1)
        design = np.concatenate([beside, products], axis=1)
        predictions = np.empty((len(fold), self.targets.shape[1]))
        for column, spread in enumerate(left.std(axis=0).tolist()):
            held = np.zeros((products.shape[1], design.shape[1]))
            held[:, beside.shape[1] :] = np.eye(products.shape[1]) * spread / INTERACTION_SPREAD
            wanted = np.concatenate([self.targets[rows, column], np.zeros(len(held))])
            weights = np.linalg.lstsq(np.concatenate([design[rows], held]), wanted, rcond=None)[0]
            predictions[:, column] = design[fold] @ weights
        return predictions

    def kernels(self, answers: FloatArray, rows: IntArray, fold: IntArray) -> FloatArray:
        """Linear, and of what is left over what near items have, the ridge by leave-one-out."""
        inputs = np.concatenate([2 * answers, self.base[:, 1:]], axis=1)
        near = rows[:: -(-len(rows) // MOST_IN_KERNEL)]
        left = self.targets[near] - self.linear(answers, rows, near)

        def kernel(one: FloatArray, other: FloatArray) -> FloatArray:
            squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
            return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2 * WIDTH)))

        values, vectors = np.linalg.eigh(kernel(inputs[near], inputs[near]))
        values, along = np.maximum(values, 0.0), vectors.T @ left
        losses = []
        for ridge in RIDGES:
            shares = values / (values + ridge)
            fitted, leverage = vectors @ (shares[:, None] * along), (vectors**2) @ shares
            losses.append(float((((left - fitted) / np.maximum(1 - leverage, 1e-3)[:, None]) ** 2).sum()))
        ridge = RIDGES[int(np.argmin(losses))]
        weights = vectors @ (along / (values + ridge)[:, None])
        found: FloatArray = self.linear(answers, rows, fold) + kernel(inputs[fold], inputs[near]) @ weights
        return found

    def network(self, answers: FloatArray, rows: IntArray, fold: IntArray) -> FloatArray:
        """The network of a run, trained as there, on the answers as they are."""
        data = Data(torch.from_numpy(answers), self.data.covariates.cpu(), self.data.targets.cpu())
        model = build_model(answers.shape[1], self.targets.shape[1], self.n_covariates, NEURAL, self.state.model.likelihood.name)
        z, part = data.answers, data.items(torch.from_numpy(rows))
        model.likelihood.start(torch.nan_to_num(part.targets), part.observed)
        rates = model.features.rates(answers.shape[1])
        train(State(model, rates, z[rows]), z[rows], part, 1.0)
        model.eval()
        with torch.no_grad():
            found: FloatArray = model.link(z[fold], data.covariates[fold]).numpy()
        return found
