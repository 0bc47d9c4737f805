"""Predictors of house prices beside discovery, trained on the same items: ridge, gradient boosting and a Gaussian process.

Each takes the houses' fields (numbers, zip code, annotations), the log prices and the positions of the training items, and gives
predictions for all items. What is chosen (strength, number of trees, hyperparameters) is chosen on the training items alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.data import Items
from genz_ppl.llm.rules.words import words_of
from genz_ppl.types import FloatArray, IntArray

METADATA, ZIP, TEXT = ("area", "bedrooms", "bathrooms"), "zipcode", "description"
RIDGES = np.geomspace(0.3, 3000, 30)
# A word, as a statement of discovery, must be true of so many training items, and of no more than all but as many.
SMALLEST_SHARE = 0.02
FOLDS, MOST_TREES = 5, 300
BOOSTING = [{"loss": loss, "min_samples_leaf": leaf} for loss in ("squared_error", "absolute_error") for leaf in (5, 20)]


def fields_frame(items: Items) -> pd.DataFrame:
    """One row an item: counts and grades as float64, NaN where missing; the text as it is; everything else categories."""
    columns: dict[str, Any] = {}
    for name in items[0].fields:
        values = [item.fields.get(name) for item in items]
        known = [value for value in values if value is not None]
        if name == TEXT:
            columns[name] = ["" if value is None else str(value) for value in values]
        elif known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        else:
            columns[name] = pd.Categorical([None if value is None else str(value) for value in values])
    return pd.DataFrame(columns)


def named(frame: pd.DataFrame, *without: str) -> list[str]:
    """The columns but some."""
    return [str(name) for name in frame.columns if name not in without]


def number_columns(frame: pd.DataFrame, train: IntArray) -> FloatArray:
    """(T, P): the numbers, with the mean of the training items' known ones where one is missing."""
    numbers = frame.select_dtypes("number").to_numpy(dtype=np.float64)
    return np.where(np.isnan(numbers), np.nanmean(numbers[train], axis=0), numbers)


def indicator_columns(frame: pd.DataFrame, names: list[str]) -> FloatArray:
    """(T, P): one column for each category of each of the named columns, and one for each in which some are missing."""
    columns = []
    for name in names:
        missing = frame[name].isna().to_numpy()
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            columns += [(frame[name] == category).to_numpy() & ~missing for category in frame[name].cat.categories]
        if missing.any():
            columns.append(missing)
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(frame)).T


def word_columns(texts: list[str], train: IntArray) -> FloatArray:
    """(T, P): which words each text holds, of those neither too rare nor too common among the training items."""
    held = [set(words_of(text)) for text in texts]
    columns = np.array([[word in words for words in held] for word in sorted(set().union(*held))], dtype=np.float64)
    columns = columns.reshape(-1, len(texts)).T
    shares = columns[train].mean(0)
    kept: FloatArray = columns[:, np.minimum(shares, 1 - shares) >= SMALLEST_SHARE]
    return kept


def ridge(frame: pd.DataFrame, y: FloatArray, train: IntArray) -> FloatArray:
    """Numbers, zip codes and categories, standardised; one strength, the best by leave-one-out squared errors."""
    return ridge_on(all_columns(frame, train), y, train)


def ridge_with_words(frame: pd.DataFrame, y: FloatArray, train: IntArray) -> FloatArray:
    """The same with the words of the description beside them, which discovery may ask about, too."""
    words = word_columns(list(frame.get(TEXT, [""] * len(frame))), train)
    return ridge_on(np.hstack([all_columns(frame, train), words]), y, train)


def all_columns(frame: pd.DataFrame, train: IntArray) -> FloatArray:
    """(T, P): numbers and indicators of everything but the text."""
    return np.hstack([number_columns(frame, train), indicator_columns(frame, named(frame, TEXT))])


def ridge_on(columns: FloatArray, y: FloatArray, train: IntArray) -> FloatArray:
    """Predictions for all rows of the columns; those that do not vary among the training items count for nothing."""
    centre, size = columns[train].mean(0), columns[train].std(0)
    varied = size > 1e-9
    scaled = (columns[:, varied] - centre[varied]) / size[varied]
    location = y[train].mean()
    left, values, right = np.linalg.svd(scaled[train], full_matrices=False)
    along = left.T @ (y[train] - location)

    def error(strength: float) -> float:
        shrunk = values**2 / (values**2 + strength)
        leverage = (left**2) @ shrunk + 1 / len(train)
        return float((((y[train] - location - left @ (shrunk * along)) / (1 - leverage)) ** 2).mean())

    strength = min(RIDGES, key=error)
    predicted: FloatArray = scaled @ (right.T @ (values / (values**2 + strength) * along)) + location
    return predicted


def boosting(frame: pd.DataFrame, y: FloatArray, train: IntArray) -> FloatArray:
    """Trees on all fields but the text; loss, leaf size and number of trees by mean absolute error over five inner folds."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    inputs = frame[named(frame, TEXT)]
    common: dict[str, Any] = {"learning_rate": 0.06, "max_leaf_nodes": 12, "early_stopping": False, "random_state": 0}
    common["categorical_features"] = "from_dtype"

    def errors(options: dict[str, Any]) -> FloatArray:
        """(MOST_TREES,): mean absolute error on the items left out, by the number of trees."""
        total = np.zeros(MOST_TREES)
        for inside, outside in KFold(FOLDS, shuffle=True, random_state=0).split(train):
            model = HistGradientBoostingRegressor(max_iter=MOST_TREES, **common, **options)
            model.fit(inputs.iloc[train[inside]], y[train[inside]])
            stages = model.staged_predict(inputs.iloc[train[outside]])
            total += [np.abs(predicted - y[train[outside]]).sum() for predicted in stages]
        return total / len(train)

    with threadpool_limits(1):  # the items are few: threads would only wait for each other
        found = [errors(options) for options in BOOSTING]
        best = int(np.argmin([values.min() for values in found]))
        trees = int(found[best].argmin()) + 1
        model = HistGradientBoostingRegressor(max_iter=trees, **common, **BOOSTING[best]).fit(inputs.iloc[train], y[train])
        predicted: FloatArray = model.predict(inputs)
    return predicted


def gaussian_process(frame: pd.DataFrame, y: FloatArray, train: IntArray) -> FloatArray:
    """A sum of kernels, strengths and length scales by the marginal likelihood of the training items, noise among them.

    Linear and squared exponential in log area, bedrooms and bathrooms (a length scale each); same zip code; same zip code
    times a squared exponential in log area; where there are annotations, linear and squared exponential (one scale) in them.
    """
    import torch
    from scipy.optimize import minimize

    size = np.column_stack([np.log(frame[name]) if name == "area" else frame[name] for name in METADATA])
    rest = frame[named(frame, *METADATA, ZIP, TEXT)]
    notes = np.zeros((len(frame), 0))
    if rest.shape[1]:
        notes = np.hstack([number_columns(rest, train), indicator_columns(rest, named(rest))])
    numbers, other = (torch.from_numpy(standardised(columns, train)) for columns in (size, notes))
    codes = frame[ZIP].cat.codes.to_numpy()
    same = torch.from_numpy((codes[:, None] == codes[None]).astype(np.float64))
    location, scale = y[train].mean(), y[train].std()
    targets = torch.from_numpy((y[train] - location) / scale)
    shares = [numbers @ numbers.T / 3, other @ other.T / max(other.shape[1], 1)]
    gaps = (numbers[:, None] - numbers[None]) ** 2
    far = torch.cdist(other, other) ** 2 / max(other.shape[1], 1)

    def covariance(log: torch.Tensor) -> torch.Tensor:
        """(T, T) without the noise; log: six variances, length scales of sizes (3), area by zip code, annotations."""
        variances, lengths = log[:6].exp(), log[6:11].exp()
        of_size = torch.exp(-0.5 * (gaps / lengths[: gaps.shape[-1]] ** 2).sum(-1))
        of_area = torch.exp(-0.5 * gaps[..., 0] / lengths[3] ** 2)
        of_notes = torch.exp(-0.5 * far / lengths[4] ** 2)
        terms = (shares[0], of_size, same, same * of_area, shares[1], of_notes)
        return sum((variance * term for variance, term in zip(variances, terms, strict=True)), torch.zeros_like(same))

    def objective(log: FloatArray) -> tuple[float, FloatArray]:
        """The negative log marginal likelihood and its gradient; weak normal priors keep the logs within reason."""
        values = torch.from_numpy(log).requires_grad_()
        inside = covariance(values)[train][:, train] + values[11].exp() * torch.eye(len(train))
        lower = torch.linalg.cholesky(inside)
        white = torch.linalg.solve_triangular(lower, targets[:, None], upper=False)
        loss = 0.5 * (white**2).sum() + lower.diagonal().log().sum() + 0.5 * ((values - start) ** 2).sum() / 9
        loss.backward()
        assert values.grad is not None
        return float(loss.detach()), values.grad.numpy()

    start = torch.tensor([-1.0] * 6 + [0.7] * 5 + [-1.5], dtype=torch.float64)
    bounds = [(-9.0, 4.0)] * 6 + [(-2.0, 4.0)] * 5 + [(-7.0, 1.0)]
    best = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    log = torch.from_numpy(best.x)
    whole = covariance(log)
    inside = whole[train][:, train] + log[11].exp() * torch.eye(len(train))
    predicted: FloatArray = (whole[:, train] @ torch.linalg.solve(inside, targets)).numpy() * scale + location
    return predicted


def standardised(columns: FloatArray, train: IntArray) -> FloatArray:
    """By the training items; columns that do not vary among them are left out."""
    size = columns[train].std(0)
    scaled: FloatArray = (columns[:, size > 1e-9] - columns[train][:, size > 1e-9].mean(0)) / size[size > 1e-9]
    return scaled


YARDSTICKS: dict[str, Callable[[pd.DataFrame, FloatArray, IntArray], FloatArray]] = {
    "ridge": ridge,
    "ridge, words too": ridge_with_words,
    "gradient boosting": boosting,
    "Gaussian process": gaussian_process,
}
