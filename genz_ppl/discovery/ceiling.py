"""How much of what could be explained the questions explain: gradient boosting on all fields of the items, on the same split.

Needs scikit-learn (the extra `report`). How much is computed follows from the sizes of run and table, never from a clock, so that
the same run has the same ceiling: a tenth of the run's time at most, as `benchmarks/ceiling.py` measures it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from genz_ppl.data import Items, Split
from genz_ppl.diagnostics.summary import Ceiling
from genz_ppl.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Items that are learnt from, targets (those that vary most), words of a text that count.
MOST_ITEMS, MOST_TARGETS, MOST_WORDS = 20_000, 4, 200
TREES, FEWEST_TREES = 60, 10
# Processor seconds at the least of starting a run, of a step of it, and of that for each item.
START, STEP, ITEM = 4.0, 0.4, 2e-4
# Processor seconds of importing scikit-learn, of a tree, of it for each column and for each cell, and of embedding a text.
IMPORT, TREE, COLUMN, CELL, EMBED = 2.0, 1e-3, 6e-5, 2e-8, 0.02
# A field with more distinct values than this share of the items, several words in each, is a text.
TEXT_SHARE, MOST_LEVELS = 0.5, 200


def seconds_for(n_steps: int, n_items: int) -> float:
    """Processor seconds that a tenth of the time of a run of so many steps leaves after the import."""
    return (START + (STEP + ITEM * n_items) * n_steps) / 10 - IMPORT


def ceiling_of(
    items: Items, split: Split, targets: FloatArray, predicted: FloatArray, kind: str, seed: int, n_steps: int, encode: Any = None
) -> Ceiling | None:
    """The ceiling of a run; None without scikit-learn, without fields, where a class or the targets do not vary, and for a run of
    too few steps.

    targets: (n, D) as explained by the run, NaN where missing. predicted: (U, L), the run's own for the test items in the form
    of class probabilities or means. kind: "numbers", "counts" or "classes". encode: texts to vectors, or None.
    """
    if importlib.util.find_spec("sklearn") is None or len(split.test) == 0 or seconds_for(n_steps, len(items)) <= 0:
        return None
    columns = [*fields_of(items), *items.covariates.T]
    if items.varying_labels is not None:
        columns.append(_codes(items.varying_labels))
    if not columns:
        return None
    table = np.column_stack(columns)
    train = np.random.default_rng(seed).permutation(split.train)[:MOST_ITEMS]
    score = _of_classes if kind == "classes" else _of_numbers
    n_models = int(np.nanmax(targets[:, 0])) + 1 if kind == "classes" else min(targets.shape[1], MOST_TARGETS)
    seconds = seconds_for(n_steps, len(items))
    a_tree = n_models * (TREE + (COLUMN + CELL * len(train)) * table.shape[1])
    trees = min(TREES, int(seconds / a_tree))
    if trees < FEWEST_TREES:
        return None
    found = score(table, targets, train, split.test, predicted, kind, seed, trees)
    vectors = _vectors(items, encode) if seconds - trees * a_tree >= EMBED * len(items) else None
    if vectors is not None and kind == "numbers" and found is not None:
        ridge = _ridge(vectors, targets, train, split.test)
        if ridge > found[0]:
            return Ceiling("ridge on sentence embeddings", ridge, found[1])
    return None if found is None else Ceiling("gradient boosting on all fields", *found)


def fields_of(items: Items) -> list[FloatArray]:
    """Numbers as they are, words as numbers of their order, texts as how often each frequent word is in them."""
    columns: list[FloatArray] = []
    for name in items.schema.readable:
        values = [item.fields.get(name) for item in items]
        if all(isinstance(value, int | float | None) for value in values):
            columns.append(np.array([float(value) if isinstance(value, int | float) else np.nan for value in values]))
        elif _is_text(words := ["" if value is None else str(value) for value in values]):
            columns += _word_counts(words)
        else:
            columns.append(_codes(words))
    return columns


def _is_text(values: Sequence[str]) -> bool:
    distinct = set(values)
    return len(distinct) > TEXT_SHARE * len(values) and bool(np.mean([len(value.split()) for value in distinct]) > 2)


def _codes(values: Sequence[str]) -> FloatArray:
    """The most frequent values as 0, 1, ...; those beyond `MOST_LEVELS` share the last."""
    levels, position, counts = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True, return_counts=True)
    rank = np.empty(len(levels))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(levels))
    return np.minimum(rank, MOST_LEVELS)[position]


def _word_counts(texts: Sequence[str]) -> list[FloatArray]:
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        counts = CountVectorizer(max_features=MOST_WORDS, binary=True, min_df=2).fit_transform(texts)
    except ValueError:  # no word stands in two of them
        return []
    return list(counts.toarray().astype(np.float64).T)


def _of_numbers(
    table: FloatArray,
    targets: FloatArray,
    train: np.ndarray,
    test: np.ndarray,
    predicted: FloatArray,
    kind: str,
    seed: int,
    trees: int,
) -> tuple[float, float] | None:
    """(R2 of boosting, R2 of the run) for test items, the mean over the targets that vary most."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    best, ours = [], []
    for d in np.argsort(-np.nanvar(targets[train], axis=0), kind="stable")[:MOST_TARGETS].tolist():
        known, asked = (rows[~np.isnan(targets[rows, d])] for rows in (train, test))
        y = targets[asked, d]
        if len(known) < 2 or len(asked) < 2 or np.ptp(y) == 0:
            continue
        model = HistGradientBoostingRegressor(
            loss="poisson" if kind == "counts" and targets[known, d].sum() > 0 else "squared_error",
            max_iter=trees,
            min_samples_leaf=_leaf(len(known)),
            early_stopping=False,
            random_state=seed,
        ).fit(table[known], targets[known, d])
        total = ((y - y.mean()) ** 2).sum()
        there = np.isin(test, asked)
        best.append(1 - ((y - model.predict(table[asked])) ** 2).sum() / total)
        ours.append(1 - ((y - predicted[there, d]) ** 2).sum() / total)
    return (float(np.mean(best)), float(np.mean(ours))) if best else None


def _of_classes(
    table: FloatArray,
    targets: FloatArray,
    train: np.ndarray,
    test: np.ndarray,
    predicted: FloatArray,
    kind: str,
    seed: int,
    trees: int,
) -> tuple[float, float] | None:
    """(share of the log loss of guessing that boosting takes away, the same of the run), for test items of the first target."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, test, there = train[~np.isnan(targets[train, 0])], test[~np.isnan(targets[test, 0])], ~np.isnan(targets[test, 0])
    y, known = targets[test, 0].astype(int), targets[train, 0].astype(int)
    classes, counts = np.unique(known, return_counts=True)
    if len(classes) < 2 or not np.isin(y, classes).all() or len(y) == 0:
        return None
    model = HistGradientBoostingClassifier(
        max_iter=trees, min_samples_leaf=_leaf(len(train)), early_stopping=False, random_state=seed
    ).fit(table[train], known)
    own = predicted[there]
    own = np.column_stack([1 - own[:, 0], own[:, 0]]) if own.shape[1] == 1 else own[:, : classes.max() + 1]
    place = np.searchsorted(classes, y)
    guess = _log_loss((counts / counts.sum())[place])
    boosted = _log_loss(model.predict_proba(table[test])[np.arange(len(y)), place])
    return 1 - boosted / guess, 1 - _log_loss(own[np.arange(len(y)), y]) / guess


def _leaf(n_items: int) -> int:
    """Items in a leaf: scikit-learn's 20, or fewer where that would leave a small table without a split."""
    return min(20, max(2, n_items // 10))


def _log_loss(chances: FloatArray) -> float:
    return float(-np.log(np.clip(chances, 1e-12, 1.0)).mean())


def _vectors(items: Items, encode: Callable[[Sequence[str]], Any] | None) -> FloatArray | None:
    """Embeddings of the items' texts, where there is an encoder and any field is a text."""
    if encode is None:
        return None
    values = {
        name: ["" if item.fields.get(name) is None else str(item.fields[name]) for item in items]
        for name in items.schema.readable
    }
    if not any(_is_text(column) for column in values.values()):
        return None
    return np.asarray(encode([item.text for item in items]), dtype=np.float64)


def _ridge(vectors: FloatArray, targets: FloatArray, train: np.ndarray, test: np.ndarray) -> float:
    from sklearn.linear_model import RidgeCV

    values = []
    for d in range(min(targets.shape[1], MOST_TARGETS)):
        known, asked = (rows[~np.isnan(targets[rows, d])] for rows in (train, test))
        y = targets[asked, d]
        if len(known) > 10 and len(asked) > 1 and np.ptp(y) > 0:
            fitted = RidgeCV(np.logspace(-2, 3, 11)).fit(vectors[known], targets[known, d])
            values.append(1 - ((y - fitted.predict(vectors[asked])) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return float(np.mean(values)) if values else float("-inf")
