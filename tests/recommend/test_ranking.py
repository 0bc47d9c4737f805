from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genz_ppl.errors import InputError
from genz_ppl.recommend import full_ranking, paired_t
from genz_ppl.recommend.ranking import ranked
from genz_ppl.recommend.significance import in_words


def by_hand(scores: np.ndarray, train: np.ndarray, test: np.ndarray, k: int) -> dict[str, float]:
    """The metrics, one user after another, by sorting."""
    found: dict[str, list[float]] = {"ndcg": [], "recall": [], "mrr": []}
    for score, seen, wanted in zip(scores, train, test, strict=True):
        if not wanted.any():
            continue
        listed = [item for item in np.argsort(-score) if not seen[item]]
        hits = [bool(wanted[item]) for item in listed]
        gain = sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits[:k]))
        ideal = sum(1 / np.log2(rank + 2) for rank in range(min(k, int(wanted.sum()))))
        found["ndcg"].append(gain / ideal)
        found["recall"].append(sum(hits[:k]) / wanted.sum())
        found["mrr"].append(1 / (1 + hits.index(True)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_metrics_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(40, 30))
    sides = random.choice(3, p=[0.6, 0.25, 0.15], size=(40, 30))
    train, test = sides == 1, sides == 2
    test[3] = False
    found = full_ranking(scores, train, sparse.csr_array(test), at=(5, 10))["all"]
    for k in (5, 10):
        expected = by_hand(scores, train, test, k)
        assert found[f"ndcg@{k}"] == pytest.approx(expected["ndcg"], abs=1e-12)
        assert found[f"recall@{k}"] == pytest.approx(expected["recall"], abs=1e-12)
    assert found["mrr"] == pytest.approx(by_hand(scores, train, test, 5)["mrr"], abs=1e-12)
    assert found["users"] == test.any(axis=1).sum()
    assert full_ranking(lambda users: scores[users], train, test, at=(5, 10))["all"] == found


def test_strata_count_some_items_in_lists_of_all() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    test = np.array([[0, 1, 0, 1]])
    first = np.array([True, True, False, False])
    found = full_ranking(scores, np.zeros((1, 4)), test, at=(2,), relevant={"first": first, "second": ~first})
    assert found["first"]["recall@2"] == 1
    assert found["second"]["recall@2"] == 0
    assert found["second"]["mrr"] == 1 / 4
    alone = full_ranking(scores, np.zeros((1, 4)), test, at=(2,), candidates=~first, relevant={"second": ~first})
    assert alone["second"]["mrr"] == 1 / 2


def test_equal_scores_know_nothing_of_the_order_of_items() -> None:
    test = np.zeros((1, 400))
    test[0, :10] = 1
    found = full_ranking(np.zeros((1, 400)), np.zeros((1, 400)), test, at=(10,))["all"]
    assert found["recall@10"] < 0.3, "the first items are not listed first"


def test_items_without_a_score_are_never_listed() -> None:
    scores = np.array([[1.0, np.nan, -np.inf, 0.5]])
    found = ranked(scores, np.zeros((1, 4)), np.array([[0, 1, 1, 0]]), at=(4,))["all"]
    assert found["recall@4"][0] == 0
    assert found["mrr"][0] == 0
    assert found["coverage@4"][0] == 0.5


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"scores \(2, 3\); give a score for each user and item"):
        full_ranking(np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="give both for the same users and items"):
        full_ranking(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 4)))


def test_worked_example_of_the_document() -> None:
    found = paired_t([0.30, 0.31, 0.32, 0.33, 0.34], [0.28, 0.30, 0.29, 0.31, 0.32])
    assert found.mean == pytest.approx(0.020)
    assert found.sd == pytest.approx(0.00707, abs=1e-5)
    assert found.t == pytest.approx(6.3, abs=0.05)
    assert found.p == pytest.approx(0.003, abs=0.0005)
    assert in_words(found, "ndcg@10", "no profiles") == "a gain over no profiles, p = 0.0032 (ndcg@10 +0.0200 ± 0.0071, n 5)"


def test_verdicts_in_words() -> None:
    assert in_words(paired_t([1, 2, 3.0], [3, 1, 2.9]), "mrr", "x").startswith("no gain over x, p = ")
    assert in_words(paired_t([1, 2, 3.0], [3, 4.1, 5]), "mrr", "x").startswith("worse than x, p < 0.001")
    same = paired_t([1, 2, 3.0], [1, 2, 3.0])
    assert same.p != same.p
    assert in_words(same, "mrr", "x") == "no difference from x, so there is nothing to test (mrr +0.0000 ± 0.0000, n 3)"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [2.0], "1 pair of values gives no test"),
        ([1.0, 2.0], [2.0], "got 2 and 1"),
        ([1.0, np.nan], [2.0, 1.0], "finite"),
    ],
)
def test_no_test_is_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_t(a, b)
