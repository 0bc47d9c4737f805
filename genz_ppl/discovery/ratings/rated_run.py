"""A run whose targets are embeddings of ratings, together with the ratings: what warm starts and the simulation need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items
from genz_ppl.data.embeddings import item_embeddings
from genz_ppl.data.sources import RatingTable, open_ratings, open_source
from genz_ppl.data.values import shorten
from genz_ppl.discovery.conclusion import widen_noise
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.inference.fit import fit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.ratings.fold_in import Factors, HeldWeights, Weights, fold_in
from genz_ppl.inference.ratings.gaussian_posterior import GaussianPosterior
from genz_ppl.inference.ratings.warm_start import WarmStart, residual_covariance
from genz_ppl.settings import FitSettings
from genz_ppl.types import FloatArray, IntArray

# Training items taken out of the matrix, one after the other, to learn how ratings add up.
MOST_LEARNED_FROM = 100
_CLOSE = 1e-6
OnItem = Callable[[int, int], None]
Predictor = Callable[[Items], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, eq=False)
class HeldItem:
    """An item of the matrix taken out of it. users: (n,) columns. values: (n,) ratings. embedding: (D,), with all ratings."""

    users: IntArray
    values: FloatArray
    weights: HeldWeights
    embedding: FloatArray

    def parts(self) -> FloatArray:
        """What each rating adds to the embedding, (n, D)."""
        parts: FloatArray = self.values[:, None] * self.weights.at(self.users)
        return parts


@dataclass(frozen=True, eq=False)
class RatedRun:
    """Everything here is learned from the run, from the training items' ratings and embeddings, and from users' other ratings.

    factors: of all items' ratings. rows: id to row of the matrix, users: number of the user to its column. warm: see `WarmStart`.
    stretch: (D,): an item's embedding by the embedding folded in with the item taken out, by least squares on training items;
    1 in the first dimensions, more in the last, which owe most to single items. errors: (D, D), covariance of what predictions
    miss on training items. sd: (D,), root mean square of the predictive standard deviations there. predict: see `predictor`.
    """

    run: RunView
    items: Items
    factors: Factors
    rows: Mapping[str, int]
    users: Mapping[int, int]
    warm: WarmStart
    stretch: FloatArray
    errors: FloatArray
    sd: FloatArray
    predict: Predictor

    @classmethod
    def recorded(cls, run: RunView, seed: int = 0, on_item: OnItem | None = None) -> RatedRun:
        """With the ratings read again from where the run had them.

        Raises OptionError where the run's targets are not embeddings of ratings, InputError if the ratings have changed.
        """
        source = run.record.source
        if run.record.baseline is not None:
            raise OptionError("the run is a 0-shot baseline; name a run of genz fit")
        if source is None:
            raise RunDirectoryError("the run was started from Python on a table in memory; pass its ratings: RatedRun.of(run, …)")
        table = open_ratings(source)
        if table is None:
            raise OptionError(
                f"the run was started on {shorten(source)}, and its targets are not embeddings of ratings; "
                "name a run of genz fit on movielens:DIR or netflix:DIR"
            )
        return cls.of(run, open_source(source), table, seed, on_item)

    @classmethod
    def of(cls, run: RunView, items: Items, table: RatingTable, seed: int = 0, on_item: OnItem | None = None) -> RatedRun:
        """items: those of the run. table: their ratings. seed: of the training items learned from. on_item: (done, all)."""
        train = run.record.split_of(_same_ids(items, run)).train
        factors = decompose(table)
        rows = {name: row for row, name in enumerate(table.items)}
        _check(items, train, rows, factors)
        places = np.array([rows[items.ids[position]] for position in train], dtype=np.int64)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:MOST_LEARNED_FROM])
        parts = []
        for done, row in enumerate(places[chosen].tolist()):
            parts.append(_held(factors, row).parts())
            if on_item is not None:
                on_item(done + 1, len(chosen))
        full, folded = factors.embeddings[places[chosen]], np.array([part.sum(axis=0) for part in parts])
        squares = (folded**2).sum(axis=0)
        stretch = np.where(squares > 0, (folded * full).sum(axis=0) / np.where(squares > 0, squares, 1.0), 1.0)
        numbers = np.array([len(part) for part in parts], dtype=np.float64)
        remainder = np.mean((full - stretch * folded) ** 2 / np.maximum(numbers, 1.0)[:, None], axis=0)
        totals = np.diff(table.ratings.indptr)[places].astype(np.int64)
        predict, ratio = predictor(run, items.take(train))
        mean, sd = predict(items.take(train))
        # On these items predictions are better than on new ones: the questions were chosen there, and the weights fitted.
        missed = ratio * (factors.embeddings[places] - mean)
        errors = residual_covariance(missed, n_fitted=0 if ratio > 1 else _n_fitted(run))
        warm = WarmStart.of([stretch * part for part in parts], totals, missed, errors, remainder)
        users = {int(user): column for column, user in enumerate(table.users.tolist())}
        return cls(run, items, factors, rows, users, warm, stretch, errors, np.sqrt(np.mean(sd**2, axis=0)), predict)

    def held(self, item: str) -> HeldItem:
        """An item of the matrix, taken out."""
        return _held(self.factors, self.rows[item])

    def priors(self, items: Items) -> list[GaussianPosterior]:
        """N(f(z), Sigma) for items: predictive means, and the covariance of the errors on training items.

        Each target's error is scaled by how sure the prediction is, next to those of the training items: noise and the spread
        of f(z) over p(z | h).
        """
        mean, sd = self.predict(items)
        ratio = np.where(self.sd > 0, sd / np.where(self.sd > 0, self.sd, 1.0), 1.0)
        return [
            GaussianPosterior.of(centre, self.errors * np.outer(scale, scale)) for centre, scale in zip(mean, ratio, strict=True)
        ]

    def update(self, item: str | Items, ratings: Mapping[Any, float] | pd.DataFrame) -> pd.DataFrame:
        """The embedding of an item after some ratings: mean and sd by target. See `Discovery.update`."""
        items = self._one(item)
        columns, values = self._ratings(ratings)
        (prior,) = self.priors(items)
        row = self.rows.get(items.ids[0])
        weights: Weights = self.factors if row is None else self.factors.without(row)
        summed = fold_in(weights, columns, values) * (1.0 if row is None else self.stretch)
        mean, covariance = self.warm.after(prior, len(values), summed)
        found = {"mean": mean, "sd": np.sqrt(covariance.diagonal())}
        return pd.DataFrame(found, index=pd.Index(self.items.target_names, name="target"))

    def _one(self, item: str | Items) -> Items:
        if isinstance(item, Items):
            if len(item) != 1:
                raise InputError(f"{item.name}: expected one item, found {len(item)}; update them one after the other")
            return item
        if item not in self.items.ids:
            raise InputError(f"item {shorten(item)}: the run has no item of this id; pass its row as Items")
        return self.items.take([self.items.ids.index(item)])

    def _ratings(self, ratings: Mapping[Any, float] | pd.DataFrame) -> tuple[IntArray, FloatArray]:
        """Columns of the matrix and ratings, (n,) each."""
        if isinstance(ratings, pd.DataFrame):
            missing = [name for name in ("user", "rating") if name not in ratings.columns]
            if missing:
                raise InputError(f"ratings: expected the columns user and rating, there is no {missing[0]!r}; add it")
            pairs = list(zip(ratings["user"].tolist(), ratings["rating"].tolist(), strict=True))
        else:
            pairs = list(ratings.items())
        columns: dict[int, float] = {}
        for user, rating in pairs:
            column = self.users.get(_whole(user))
            if column is None:
                raise InputError(f"ratings: user {shorten(user)} is not in the data of the run; leave the rating out")
            if column in columns:
                raise InputError(f"ratings: user {shorten(user)} is there twice; keep one of the two ratings")
            columns[column] = _number(rating)
            if not np.isfinite(columns[column]):
                raise InputError(f"ratings: user {shorten(user)}: expected a finite number, found {shorten(rating)}; correct it")
        return np.array(list(columns), dtype=np.int64), np.array(list(columns.values()), dtype=np.float64)


def decompose(table: RatingTable) -> Factors:
    """The factors with twice as many directions as the embedding has, or as there are: see `Factors.without`."""
    count = min(2 * table.dimensions, *table.ratings.shape)
    try:
        left = item_embeddings(table.ratings, count)
    except OptionError:  # the matrix has not so many
        left = item_embeddings(table.ratings, table.dimensions)
    return Factors.of(table.ratings, left, table.dimensions, table.alpha)


def predictor(run: RunView, train: Items) -> tuple[Predictor, float]:
    """What gives predictive means and standard deviations of embeddings, (T, D) each, and its noise ratio, see `Summary`.

    The run; where that explains their direction only, a fit of its questions to the training items' embeddings as they are.
    """
    settings = run.record.settings
    if not settings.direction:
        return lambda items: predicted(run, items), run.summary.noise_ratio
    both = set(FitSettings.__dataclass_fields__) & set(type(settings).__dataclass_fields__)
    given: dict[str, Any] = {name: getattr(settings, name) for name in both if getattr(settings, name) is not None}
    answers = run.answers(train)
    found = fit(answers, train.targets, train.covariates, steps=settings.final_steps, **given)
    tensors = (torch.tensor(part) for part in (answers, train.covariates, train.targets))
    with isolated(settings.seed):
        ratio = widen_noise(run.progress, found.scaling.data(*tensors), settings.seed, found.state)

    def predict(items: Items) -> tuple[FloatArray, FloatArray]:
        outcome = found.predict_interval(run.answers(items), items.covariates)
        return outcome.mean, outcome.sd

    return predict, ratio


def predicted(run: RunView, items: Items) -> tuple[FloatArray, FloatArray]:
    """Predictive means and standard deviations, (T, D) each."""
    table = run.predict(items, progress=False)
    mean, sd = (table[[name for name in table.columns if name.endswith(part)]].to_numpy() for part in ("mean", "sd"))
    return mean, sd


def _held(factors: Factors, row: int) -> HeldItem:
    users, values = factors.rated(row)
    return HeldItem(users, values, factors.without(row), factors.embeddings[row])


def _same_ids(items: Items, run: RunView) -> Items:
    split = run.record.split
    if sorted(items.ids) != sorted(split.train + split.test + split.held):
        raise InputError(f"{items.name}: the items are not those of the run; give the data it was started on")
    return items


def _check(items: Items, train: IntArray, rows: Mapping[str, int], factors: Factors) -> None:
    """Raise InputError unless the ratings give the training items the targets they had in the run."""
    missing = next((name for name in items.ids if name not in rows), None)
    if missing is not None:
        raise InputError(f"{items.name}: item {shorten(missing)} has no ratings; give the ratings of all items of the run")
    made = factors.embeddings[[rows[items.ids[position]] for position in train]]
    known = np.zeros((0, 0)) if items.targets is None else items.targets[train]
    if known.shape != made.shape or not np.allclose(known, made, rtol=0.0, atol=_CLOSE * float(np.abs(made).max())):
        raise InputError(f"{items.name}: the targets are not embeddings of these ratings; give the data the run was started on")


def _n_fitted(run: RunView) -> int:
    """Coefficients a target has in a linear model: one a question, one, one a covariate."""
    return int(run.features["active"].sum()) + 1 + len(run.schema.covariates)


def _whole(user: object) -> int:
    """-1 for what is no whole number."""
    try:
        number = float(user)  # type: ignore[arg-type]  # whatever a caller has as a key
        return int(number) if number == int(number) else -1
    except (TypeError, ValueError, OverflowError):
        return -1


def _number(rating: object) -> float:
    try:
        return float(rating)  # type: ignore[arg-type]  # whatever a caller has as a value
    except (TypeError, ValueError):
        return float("nan")
