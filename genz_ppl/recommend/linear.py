"""Backbones in closed form: popularity, EASE, and EASE pulled towards what profiles say of two items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from genz_ppl.recommend.factors import Factors, Matrix


def popularity_factors(train: sparse.csr_array) -> Factors:
    """Every user alike: an item's score is how often it was chosen."""
    counts = np.asarray(train.sum(axis=0), dtype=np.float32).reshape(-1, 1)
    return Factors(np.ones((train.shape[0], 1), np.float32), counts, counts[:, 0] > 0)


def ease_factors(
    train: sparse.csr_array,
    ridge: float,
    balance: float,
    features: NDArray[np.floating] | None = None,
    pull: float = 0.0,
    feature_ridge: float = 3.0,
) -> Factors:
    """EASE, or with features L3AE: see `item_weights`. Users are what they chose, items the columns of the weights.

    With `pull` an item that nobody has chosen has a score, too: what the items like it, by their features, give it.
    """
    scored = np.asarray(train.sum(axis=0)).ravel() > 0
    semantic = None if features is None else semantic_weights(features, feature_ridge)
    taken = np.ones_like(scored) if semantic is not None and pull else scored
    items = np.zeros((train.shape[1], train.shape[1]), np.float32)
    items[np.ix_(taken, taken)] = item_weights(train[:, taken], ridge, balance, semantic, pull).T
    return Factors(train, items, taken)


def item_weights(
    train: sparse.csr_array,
    ridge: float,
    balance: float = 0.0,
    semantic: NDArray[np.floating] | None = None,
    pull: float = 0.0,
) -> Matrix:
    """(I, I) float32 item-item weights B with a zero diagonal; a user's scores are the sum of the rows of what was chosen.

    train: (U, I) X. ridge: λ. EASE (Steck 2019): B minimises |X - X B|² + λ |B|². balance: users count by the number of their
    pairs to the power of -balance, scaled so that the mean over pairs is 1; 0 is EASE as published. semantic: (I, I) S, which
    B is pulled to by `pull` |B - S|² (L3AE, Moon et al. 2025). In closed form, with P = (X'X + (λ + pull) I)^-1,
    B = I - (λ + pull) P + pull P S - P M with the diagonal M that makes that of B zero.
    """
    counts = np.asarray(train.sum(axis=1), dtype=np.float64).ravel()
    weights_of = np.where(counts > 0, counts, 1.0) ** -balance
    weights_of /= (weights_of * counts).sum() / counts.sum()
    gram = (train.T @ sparse.csr_array(sparse.diags_array(weights_of) @ train)).toarray().astype(np.float64)
    size, total = len(gram), ridge + pull
    gram[np.diag_indices(size)] += total
    inverse = _inverse(gram)
    weights = -total * inverse
    if semantic is not None and pull:
        weights += pull * (inverse @ semantic)
    weights[np.diag_indices(size)] += 1.0
    weights -= inverse * (np.diag(weights) / np.diag(inverse))
    weights[np.diag_indices(size)] = 0.0
    return weights.astype(np.float32)


def semantic_weights(features: NDArray[np.floating], ridge: float) -> NDArray[np.float64]:
    """(I, I) float64: the weights by which items' features, (I, D), are best written as sums of other items'; zero diagonal."""
    rows = np.asarray(features, dtype=np.float64)
    gram = rows @ rows.T
    gram[np.diag_indices(len(gram))] += ridge
    inverse = _inverse(gram)
    weights: NDArray[np.float64] = -inverse / np.diag(inverse)
    weights[np.diag_indices(len(weights))] = 0.0
    return weights


def _inverse(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a symmetric positive matrix."""
    lower, info = linalg.lapack.dpotrf(gram, lower=1)
    assert info == 0
    inverse, info = linalg.lapack.dpotri(lower, lower=1)
    assert info == 0
    found: NDArray[np.float64] = inverse + np.tril(inverse, -1).T
    return found
