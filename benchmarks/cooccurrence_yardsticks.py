"""What a model of two sets of items is measured against: means, factors, regressions, trees.

All have `fit(train, row_features, column_features)` and `predict(rows, columns)`, which takes any positions: an item without a
pair in `train` is new, and what cannot be known about it is left out. `cooccurrence_baselines.py` runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import optimize, sparse

from genz_ppl.types import FloatArray, IntArray, Pairs


class Yardstick(Protocol):
    """fit: learns from pairs and the (n_rows, P) and (n_columns, Q) features. predict: (N,) expected values of N pairs."""

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""

    def predict(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Expected values."""


@dataclass
class Means:
    """The mean of all, of the rows, of the columns, or of both: b_r = sum (x - mean - c) / (n_r + shrinkage), and so c."""

    sides: str = "both"
    shrinkage: float = 5.0
    mean: float = 0.0

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""
        self.mean = float(train.values.mean())
        self.rows, self.columns = np.zeros(train.n_rows), np.zeros(train.n_columns)
        for _ in range(10 if self.sides == "both" else 1):
            if self.sides in ("rows", "both"):
                self.rows = self._effects(train.rows, train.values - self.mean - self.columns[train.columns], train.n_rows)
            if self.sides in ("columns", "both"):
                self.columns = self._effects(train.columns, train.values - self.mean - self.rows[train.rows], train.n_columns)

    def predict(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Expected values."""
        return np.asarray(self.mean + self.rows[rows] + self.columns[columns])

    def _effects(self, positions: IntArray, values: FloatArray, size: int) -> FloatArray:
        counts = np.bincount(positions, minlength=size) + self.shrinkage
        return np.asarray(np.bincount(positions, values, minlength=size) / np.maximum(counts, 1e-9))


@dataclass
class Factors:
    """mean + b_r + c_c + u_r'v_c by alternating least squares.

    ridge: the penalty of each b, c, u and v, towards 0 or, with feature_ridge, towards a ridge regression of them on the
    features of their side; new items get what it says. absent_weight: the weight of pairs that are not listed (listed ones
    have 1); they count as absent_value, None for the mean. centre: what the mean is, None for that of the listed pairs.
    """

    rank: int = 10
    ridge: float = 5.0
    feature_ridge: float | None = None
    absent_weight: float = 0.0
    absent_value: float | None = None
    centre: float | None = None
    rounds: int = 10

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""
        self.mean = float(train.values.mean()) if self.centre is None else self.centre
        shape = (train.n_rows, train.n_columns)
        values = sparse.csr_array((train.values - self.mean, (train.rows, train.columns)), shape=shape)
        listed = sparse.csr_array((np.ones(len(train)), (train.rows, train.columns)), shape=shape)
        views = ((values, listed), (values.T.tocsr(), listed.T.tocsr()))
        features = (row_features, column_features)
        known = [np.diff(view[1].indptr) > 0 for view in views]
        start = 0.1 * np.random.RandomState(0).standard_normal((train.n_columns, self.rank))
        sides = [np.zeros((train.n_rows, 1 + self.rank)), np.column_stack([np.zeros(train.n_columns), start])]
        priors = [np.zeros_like(side) for side in sides]
        for _ in range(self.rounds):
            for side in (0, 1):
                sides[side] = self._solve(views[side], sides[1 - side], known[1 - side], priors[side])
                if self.feature_ridge is not None:
                    priors[side] = _ridge(features[side], sides[side], known[side], self.feature_ridge)
                sides[side][~known[side]] = priors[side][~known[side]]
        self.sides = sides

    def predict(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Expected values."""
        first, second = self.sides[0][rows], self.sides[1][columns]
        return np.asarray(self.mean + first[:, 0] + second[:, 0] + (first[:, 1:] * second[:, 1:]).sum(axis=1))

    def _solve(
        self, view: tuple[sparse.csr_array, sparse.csr_array], others: FloatArray, known: FloatArray, prior: FloatArray
    ) -> FloatArray:
        values, listed = view
        design = np.column_stack([np.ones(len(others)), others[:, 1:]])
        size = design.shape[1]
        outer = (design[:, :, None] * design[:, None, :]).reshape(len(others), size * size)
        weight = self.absent_weight
        matrices = (1 - weight) * (listed @ outer)
        sums = values @ design - listed @ (design * others[:, :1])
        if weight:
            absent = ((0.0 if self.absent_value is None else self.absent_value - self.mean) - others[:, :1]) * design
            matrices += weight * outer[known].sum(axis=0)
            sums += weight * (absent[known].sum(axis=0) - listed @ absent)
        matrices = matrices.reshape(-1, size, size) + self.ridge * np.eye(size)
        return np.asarray(np.linalg.solve(matrices, (sums + self.ridge * prior)[:, :, None])[:, :, 0])


class Implicit(Factors):
    """Factors that see only which pairs are present (value 1): all others count as 0, with absent_weight."""

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""
        present = train.select(train.values > 0.5)
        cells = len(np.unique(train.rows)) * len(np.unique(train.columns))
        self.absent_value, self.centre = 0.0, len(present) / cells
        super().fit(present, row_features, column_features)


def _ridge(features: FloatArray, targets: FloatArray, known: FloatArray, penalty: float) -> FloatArray:
    design = np.column_stack([np.ones(len(features)), features])
    matrix = design[known].T @ design[known] + np.diag([1e-6] + [penalty] * features.shape[1])
    return np.asarray(design @ np.linalg.solve(matrix, design[known].T @ targets[known]))


@dataclass
class Regression:
    """s = x'Wz + x'e_c + z'f_r + u_r'v_c, with x and z the features of both sides and a 1; the value is s or its logistic.

    W is for all pairs; e_c and f_r are each column's and each row's own and stay 0 for new ones, as u and v do. The squared
    error or log loss plus common_ridge/2 |W|^2 + own_ridge/2 (|e|^2 + |f|^2 + |u|^2 + |v|^2) is minimised by `steps` of L-BFGS.
    """

    logistic: bool
    own_ridge: float = 3.0
    common_ridge: float = 1.0
    rank: int = 0
    steps: int = 150
    _shapes: list[tuple[int, ...]] = field(default_factory=list)

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""
        mean = float(train.values.mean())
        self.offset = float(np.log(mean / (1 - mean))) if self.logistic else mean
        self.first, self.second = (np.column_stack([np.ones(len(x)), x]) for x in (row_features, column_features))
        n, m, p, q = train.n_rows, train.n_columns, self.first.shape[1], self.second.shape[1]
        self._shapes = [(p, q), (m, p), (n, q), (n, self.rank), (m, self.rank)]
        start = np.zeros(sum(int(np.prod(shape)) for shape in self._shapes))
        n_factors = (n + m) * self.rank
        start[len(start) - n_factors :] = 0.1 * np.random.RandomState(0).standard_normal(n_factors)
        found = optimize.minimize(self._loss, start, (train,), "L-BFGS-B", jac=True, options={"maxiter": self.steps})
        self.scores = self._scores(*self._parts(found.x))

    def predict(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Expected values."""
        scores = self.scores[rows, columns]
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * scores) if self.logistic else scores)

    def _parts(self, parameters: FloatArray) -> Iterator[FloatArray]:
        start = 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            yield parameters[start : start + size].reshape(shape)
            start += size

    def _scores(self, common: FloatArray, own: FloatArray, other: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray:
        return np.asarray(self.offset + self.first @ (common @ self.second.T + own.T) + other @ self.second.T + u @ v.T)

    def _loss(self, parameters: FloatArray, train: Pairs) -> tuple[float, FloatArray]:
        common, own, other, u, v = self._parts(parameters)
        scores = self._scores(common, own, other, u, v)
        listed = scores[train.rows, train.columns]
        if self.logistic:
            expected = 0.5 + 0.5 * np.tanh(0.5 * listed)
            loss = float((np.logaddexp(0, listed) - train.values * listed).sum())
        else:
            expected = listed
            loss = 0.5 * float(((train.values - listed) ** 2).sum())
        slopes = scores  # no longer needed: its memory is used again
        slopes[:] = 0.0
        slopes[train.rows, train.columns] = expected - train.values
        left, right = self.first.T @ slopes, slopes @ self.second
        gradients = (self.first.T @ right, left.T, right, slopes @ v, slopes.T @ u)
        penalties = [self.common_ridge] + [self.own_ridge] * 4
        parts = (common, own, other, u, v)
        loss += sum(0.5 * penalty * float((part**2).sum()) for penalty, part in zip(penalties, parts, strict=True))
        flat = [(slope + penalty * part).ravel() for slope, penalty, part in zip(gradients, penalties, parts, strict=True)]
        return loss, np.concatenate(flat)


@dataclass
class Trees:
    """Gradient boosting of scikit-learn on the features of both sides, the row's mean and the column's mean.

    The means that it learns from leave out the pair's own fifth of the pairs, and a fifth of them is hidden, as those of new
    items will be. most: pairs drawn to learn from.
    """

    logistic: bool
    leaves: int = 31
    most: int = 60_000

    def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
        """Learns from the pairs."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        random = np.random.RandomState(0)
        self.features = row_features, column_features
        chosen = np.sort(random.permutation(len(train))[: self.most])
        fold = random.randint(5, size=len(train))
        means = np.empty((len(train), 2))
        for part in range(5):
            self._learn_means(train.select(fold != part))
            means[fold == part] = self._means(train.rows[fold == part], train.columns[fold == part])
        means[random.random_sample(means.shape) < 0.2] = np.nan
        self._learn_means(train)
        kind = HistGradientBoostingClassifier if self.logistic else HistGradientBoostingRegressor
        self.model = kind(max_leaf_nodes=self.leaves, max_iter=200, early_stopping=True, random_state=0)
        listed = train.select(chosen)
        self.model.fit(self._design(listed.rows, listed.columns, means[chosen]), listed.values)

    def predict(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Expected values."""
        design = self._design(rows, columns, self._means(rows, columns))
        return np.asarray(self.model.predict_proba(design)[:, 1] if self.logistic else self.model.predict(design))

    def _learn_means(self, train: Pairs) -> None:
        self.both = Means()
        self.both.fit(train, *self.features)
        self.known = (
            np.bincount(train.rows, minlength=train.n_rows) > 0,
            np.bincount(train.columns, minlength=train.n_columns) > 0,
        )

    def _means(self, rows: IntArray, columns: IntArray) -> FloatArray:
        first = np.where(self.known[0][rows], self.both.rows[rows], np.nan)
        return np.column_stack([first, np.where(self.known[1][columns], self.both.columns[columns], np.nan)])

    def _design(self, rows: IntArray, columns: IntArray, means: FloatArray) -> FloatArray:
        return np.column_stack([self.features[0][rows], self.features[1][columns], means]).astype(np.float32)
