"""Lists judged in full: every item that a user has not chosen in training is a candidate, none is sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from genz_ppl.errors import InputError
from genz_ppl.types import FloatArray, IntArray

# Users whose scores of all items are held at once.
USERS_AT_ONCE = 1024
Scores = Callable[[IntArray], NDArray[np.floating]]


def full_ranking(
    scores: ArrayLike | Scores,
    train: sparse.sparray | ArrayLike,
    test: sparse.sparray | ArrayLike,
    *,
    at: Sequence[int] = (10, 20),
    relevant: Mapping[str, ArrayLike] | None = None,
    candidates: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    """The metrics of the lists that scores give, {stratum: {"ndcg@10", "recall@10", …, "mrr", "coverage@10", …, "users"}}.

    scores: (U, I), or a function of positions (n,) that gives (n, I). NaN and -inf: never listed. train, test: (U, I), not
    zero where a user chose an item; items of `train` are no candidates. at: the lengths K of lists. relevant: by stratum,
    (I,) booleans of the items that count in it (None: one stratum "all"); lists are the same for all. candidates: (I,)
    booleans of the items that may be listed; None: all.

    NDCG@K: hits at rank r count 1 / log2(r + 1), over what min(K, test items) hits at the top would. Recall@K: hits over test
    items. MRR: 1 over the rank of the first hit in the list of all candidates. Each is the mean over the users with a test
    item in the stratum. Coverage@K: the share of candidates that are in anybody's list. Equal scores are ranked in an order
    that knows nothing of the items (a fixed permutation). NaN where no user has a test item.

    Raises InputError for shapes that do not fit.
    """
    return {
        name: {metric: float(np.mean(values)) if len(values) else float("nan") for metric, values in found.items()}
        for name, found in ranked(scores, train, test, at=at, relevant=relevant, candidates=candidates).items()
    }


def ranked(
    scores: ArrayLike | Scores,
    train: sparse.sparray | ArrayLike,
    test: sparse.sparray | ArrayLike,
    *,
    at: Sequence[int] = (10, 20),
    relevant: Mapping[str, ArrayLike] | None = None,
    candidates: ArrayLike | None = None,
) -> dict[str, dict[str, FloatArray]]:
    """As `full_ranking`, by user: (V,) of the V users with a test item in the stratum; coverage and users as (1,)."""
    seen, wanted = sparse.csr_array(train), sparse.csr_array(test)
    score, n_items = _function(scores, seen.shape), seen.shape[1]
    if wanted.shape != seen.shape:
        raise InputError(
            f"full_ranking: train has the shape {seen.shape}, test {wanted.shape}; give both for the same users and items"
        )
    order = np.random.RandomState(0).permutation(n_items)
    allowed = np.ones(n_items, bool) if candidates is None else np.asarray(candidates, bool)
    strata = {name: np.asarray(mask, bool)[order] for name, mask in (relevant or {"all": np.ones(n_items, bool)}).items()}
    found: dict[str, dict[str, list[FloatArray]]] = {name: {} for name in strata}
    listed = {k: np.zeros(n_items, bool) for k in at}
    everyone = np.flatnonzero(np.diff(wanted.indptr))
    for start in range(0, len(everyone), USERS_AT_ONCE):
        users = everyone[start : start + USERS_AT_ONCE]
        block = np.array(score(users), dtype=np.float32)
        block[np.isnan(block) | (seen[users].toarray() != 0) | ~allowed] = -np.inf
        block, hits = block[:, order], wanted[users].toarray()[:, order] != 0
        top = top_places(block, max(at))
        shown = np.take_along_axis(block, top, 1) > -np.inf
        for k in at:
            listed[k][top[:, :k][shown[:, :k]]] = True
        for name, mask in strata.items():
            for metric, values in _metrics(block, hits & mask, top, shown, at).items():
                found[name].setdefault(metric, []).append(values)
    covered = {f"coverage@{k}": np.array([listed[k].sum() / max(allowed.sum(), 1)]) for k in at}
    done: dict[str, dict[str, FloatArray]] = {}
    for name, parts in found.items():
        values_of = {metric: np.concatenate(some) for metric, some in parts.items()}
        done[name] = {**values_of, **covered, "users": np.array([float(len(values_of.get("mrr", ())))])}
    return done


def _metrics(
    block: NDArray[np.float32], wanted: NDArray[np.bool_], top: IntArray, shown: NDArray[np.bool_], at: Sequence[int]
) -> dict[str, FloatArray]:
    """Of the users of a block that have something wanted."""
    counts = wanted.sum(axis=1)
    some = np.flatnonzero(counts)
    if not len(some):
        return {}
    block, wanted, counts = block[some], wanted[some], counts[some]
    hits = np.take_along_axis(wanted, top[some], 1) & shown[some]
    discounts = 1 / np.log2(np.arange(2, max(at) + 2))
    gains, ideal = np.cumsum(hits * discounts, axis=1), np.cumsum(discounts)
    found: dict[str, FloatArray] = {}
    for k in at:
        short = min(k, hits.shape[1])
        found[f"ndcg@{k}"] = gains[:, short - 1] / ideal[np.minimum(counts, k) - 1]
        found[f"recall@{k}"] = hits[:, :short].sum(axis=1) / counts
    best = np.where(wanted, block, -np.inf).max(axis=1)
    first = np.argmax(wanted & (block == best[:, None]), axis=1)
    before = (block > best[:, None]).sum(axis=1) + ((block == best[:, None]) & (np.arange(block.shape[1]) < first[:, None])).sum(
        axis=1
    )
    found["mrr"] = np.where(best > -np.inf, 1 / (1 + before), 0.0)
    return found


def top_places(block: NDArray[np.floating], k: int) -> IntArray:
    """(n, min(k, I)) places of the largest scores of each row, the largest first, of equals the first."""
    k = min(k, block.shape[1])
    if k < block.shape[1]:
        chosen = np.sort(np.argpartition(-block, k - 1, axis=1)[:, :k], axis=1)
    else:
        chosen = np.broadcast_to(np.arange(k), block.shape)
    order = np.argsort(-np.take_along_axis(block, chosen, 1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, 1)


def _function(scores: ArrayLike | Scores, shape: tuple[int, int]) -> Scores:
    if callable(scores):
        return scores
    given = np.asarray(scores)
    if given.shape != shape:
        raise InputError(f"full_ranking: train has the shape {shape}, scores {given.shape}; give a score for each user and item")
    return lambda users: given[users]
