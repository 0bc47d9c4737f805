"""Measures of classes and counts: against scikit-learn where it is, hand-worked values, and what must hold of any data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from genz_ppl.diagnostics.class_measures import (
    CLASS_MEASURES,
    ClassTarget,
    auc,
    brier,
    calibration,
    class_auc,
    class_measures,
    class_tables,
    class_targets,
    confusion,
)
from genz_ppl.diagnostics.measures import deviance, error_metric, measures, negative_binomial_deviance, rootogram
from genz_ppl.inference.isolation import isolated
from genz_ppl.models import BernoulliLikelihood, CategoricalLikelihood, NegativeBinomialLikelihood, PoissonLikelihood

Floats = NDArray[np.float64]
#: Outcomes and probabilities of two classes, with ties among these.
pairs = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.25, 0.5, 0.8, 1.0])), min_size=1, max_size=40)


def of_two(came: Floats, chances: Floats) -> ClassTarget:
    (found,) = class_targets(BernoulliLikelihood(1), came[:, None], chances[:, None], ["y"], [("no", "yes")])
    return found


def columns(found: list[tuple[bool, float]]) -> tuple[Floats, Floats]:
    return np.array([float(came) for came, _ in found]), np.array([chance for _, chance in found])


def simulated(n: int, n_classes: int, seed: int = 0) -> tuple[NDArray[np.int64], Floats]:
    random = np.random.default_rng(seed)
    chances = random.dirichlet(np.ones(n_classes), n)
    return np.array([random.choice(n_classes, p=row) for row in chances]), chances


@given(pairs)
def test_auc_is_the_chance_that_a_one_is_ranked_above_a_zero(found: list[tuple[bool, float]]) -> None:
    came, chances = columns(found)
    ones, zeros = chances[came == 1], chances[came == 0]
    if not len(ones) or not len(zeros):
        assert math.isnan(auc(came, chances))
        return
    above = (ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean()
    assert auc(came, chances) == pytest.approx(above)
    assert auc(came, np.exp(3 * chances) - 7) == auc(came, chances)  # only the order counts
    assert auc(came, -chances) == pytest.approx(1 - above)
    assert auc(1 - came, 1 - chances) == pytest.approx(above)


@given(pairs)
def test_the_brier_score_is_reliability_less_resolution_plus_uncertainty(found: list[tuple[bool, float]]) -> None:
    """Murphy's decomposition, exact where all probabilities of a tenth are alike, as here."""
    came, chances = columns(found)
    curve = np.array(calibration(came, chances))
    assert curve[:, 2].sum() == len(came)
    share, weight = came.mean(), curve[:, 2] / len(came)
    reliability = (weight * (curve[:, 0] - curve[:, 1]) ** 2).sum()
    resolution = (weight * (curve[:, 1] - share) ** 2).sum()
    assert brier(of_two(came, chances)).mean() == pytest.approx(reliability - resolution + share * (1 - share))
    assert brier(of_two(came, chances)) == pytest.approx((chances - came) ** 2)


@given(pairs)
def test_two_classes_measure_alike_with_either_likelihood(found: list[tuple[bool, float]]) -> None:
    came, chances = columns(found)
    one = class_measures([of_two(came, chances)])
    both = [np.stack([1 - values, values], axis=1) for values in (came, chances)]
    other = measures(CategoricalLikelihood(1, 2), *both)
    for name in CLASS_MEASURES:
        assert other[name] == pytest.approx(one[name], nan_ok=True), name
    assert other["cross_entropy"] == pytest.approx(one["log_loss"])


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 1000))
def test_confusion_adds_up_to_items_and_accuracy(n_classes: int, n: int, seed: int) -> None:
    actual, chances = simulated(n, n_classes, seed)
    target = ClassTarget("y", tuple("abcde"[:n_classes]), actual, chances)
    matrix, found = confusion(target), class_measures([target])
    assert matrix.sum(axis=1).tolist() == np.bincount(actual, minlength=n_classes).tolist()
    assert found["accuracy"] == pytest.approx(np.trace(matrix) / n)
    there = matrix.sum(axis=1) > 0
    assert found["balanced_accuracy"] == pytest.approx((np.diag(matrix)[there] / matrix.sum(axis=1)[there]).mean())
    order = np.random.default_rng(seed).permutation(n_classes)  # names and order of the classes do not matter
    turned = ClassTarget("y", target.labels, np.argsort(order)[actual], chances[:, order])
    assert class_measures([turned]) == pytest.approx(found, nan_ok=True)


def test_hand_worked_classes() -> None:
    actual = np.array([0, 0, 1, 2])
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]])
    target = ClassTarget("y", ("a", "b", "c"), actual, chances)
    found = class_measures([target])
    assert confusion(target).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.6, 0.2, 0.8, 0.4]).mean())
    assert found["brier"] == pytest.approx(
        np.mean([0.16 + 0.09 + 0.01, 0.64 + 0.25 + 0.09, 0.01 + 0.04 + 0.01, 0.25 + 0.01 + 0.36])
    )
    # a: 3 of 4 pairs in order; b: all three; c: 0.4 is above all others.
    assert found["auc"] == pytest.approx((0.75 + 1 + 1) / 3)
    assert class_tables([target])["confusion"] == {"y": {"classes": ["a", "b", "c"], "counts": confusion(target).tolist()}}
    assert class_tables([target])["calibration"]["y"]["b"][-1] == (0.8, 1.0, 1)


def test_perfect_and_constant_predictions() -> None:
    actual = np.repeat([0, 1, 2], [5, 3, 2])
    perfect = class_measures([ClassTarget("y", ("a", "b", "c"), actual, np.eye(3)[actual])])
    assert perfect == {"accuracy": 1.0, "balanced_accuracy": 1.0, "auc": 1.0, "log_loss": 0.0, "brier": 0.0}
    shares = np.broadcast_to([0.5, 0.3, 0.2], (10, 3))
    constant = class_measures([ClassTarget("y", ("a", "b", "c"), actual, shares)])
    assert (constant["accuracy"], constant["auc"]) == (0.5, 0.5)
    assert constant["balanced_accuracy"] == pytest.approx(1 / 3)
    assert constant["log_loss"] == pytest.approx(-(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2)))
    assert constant["brier"] == pytest.approx(1 - 0.5**2 - 0.3**2 - 0.2**2)


def test_a_class_that_no_item_has_is_left_out() -> None:
    actual, chances = np.array([0, 0, 1, 1]), np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    found = class_measures([ClassTarget("y", ("a", "b", "never"), actual, chances)])
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert found["auc"] == pytest.approx((0.5 + 1) / 2)  # of a and of b
    assert math.isnan(class_auc(ClassTarget("y", ("a", "b"), np.zeros(4, dtype=np.int64), chances[:, :2])))


def test_one_item_and_none() -> None:
    one = class_measures([of_two(np.array([1.0]), np.array([0.8]))])
    assert (one["accuracy"], one["balanced_accuracy"], one["brier"]) == pytest.approx((1.0, 1.0, 0.04))
    assert math.isnan(one["auc"])
    none = class_measures([of_two(np.full(3, np.nan), np.full(3, 0.5))])
    assert all(math.isnan(value) for value in none.values())
    assert confusion(of_two(np.array([np.nan]), np.array([0.5]))).tolist() == [[0, 0], [0, 0]]
    assert calibration(np.array([np.nan]), np.array([0.5])) == []


def test_the_metric_of_a_number_is_by_how_many_values_it_has() -> None:
    random = np.random.default_rng(0)
    ratings = random.integers(0, 11, 300).astype(float)
    ratings[:9] = np.nan
    assert error_metric(ratings[:, None]) == "rmse"
    assert error_metric(random.normal(size=(300, 1))) == "median_absolute_error"
    assert error_metric(np.arange(12.0)[:, None]) == "median_absolute_error"  # few items, not few values


def test_the_metric_of_several_numbers_is_by_whether_they_are_one_vector() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 3))
    assert error_metric(vectors) == "cosine"
    assert error_metric(np.where(random.random((300, 3)) < 0.1, np.nan, vectors)) == "cosine"
    assert error_metric(vectors * [1, 2, 5]) == "cosine"
    assert error_metric(vectors * [1, 2, 50]) == "r2"  # an angle is that of the largest alone
    assert error_metric(np.add(vectors, [0, 3, 3])) == "r2"  # all point the same way
    assert error_metric(vectors * [1, 2, 50], is_embedding=True) == "cosine"
    assert error_metric(np.ones((5, 2))) == error_metric(np.full((5, 2), np.nan)) == "cosine"


def test_missing_targets_count_nowhere() -> None:
    actual, chances = simulated(50, 3)
    came = np.eye(3)[actual]
    gaps = came.copy()
    gaps[::4] = np.nan
    kept = np.isfinite(gaps[:, 0])
    likelihood = CategoricalLikelihood(1, 3)
    assert measures(likelihood, gaps, chances) == pytest.approx(measures(likelihood, came[kept], chances[kept]))


def test_several_targets() -> None:
    """Accuracy and log loss are over all entries, balanced accuracy and AUC averages over targets; fewer classes than others."""
    (first, a), (second, b) = simulated(30, 3), simulated(30, 2, seed=1)
    came = np.hstack([np.eye(3)[first], np.eye(3)[second]])
    came[:10, 3:] = np.nan
    chances = np.hstack([a, b, np.zeros((30, 1))])
    labels = [("x", "y", "z"), ("no", "yes")]
    found = class_targets(CategoricalLikelihood(2, 3), came, chances, ["one", "two"], labels)
    assert [target.labels for target in found] == labels
    assert [len(target.actual) for target in found] == [30, 20]
    parts = [class_measures([target]) for target in found]
    both = class_measures(found)
    for name, weights in (("accuracy", [30, 20]), ("log_loss", [30, 20]), ("balanced_accuracy", [1, 1]), ("auc", [1, 1])):
        assert both[name] == pytest.approx(np.average([part[name] for part in parts], weights=weights)), name
    assert set(class_tables(found)["calibration"]["two"]) == {"yes"}
    unnamed = class_targets(CategoricalLikelihood(2, 3), came, chances)
    assert [(target.name, target.labels) for target in unnamed] == [("0", ("0", "1", "2")), ("1", ("0", "1", "2"))]


@pytest.mark.parametrize("n_classes", [2, 4])
def test_they_are_those_of_scikit_learn(n_classes: int) -> None:
    known: Any = pytest.importorskip("sklearn.metrics")
    actual, chances = simulated(300, n_classes)
    target = ClassTarget("y", tuple("abcd"[:n_classes]), actual, chances)
    found, best = class_measures([target]), chances.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(known.accuracy_score(actual, best))
    assert found["balanced_accuracy"] == pytest.approx(known.balanced_accuracy_score(actual, best))
    assert found["log_loss"] == pytest.approx(known.log_loss(actual, chances))
    given_chances = chances[:, 1] if n_classes == 2 else chances
    assert found["auc"] == pytest.approx(known.roc_auc_score(actual, given_chances, multi_class="ovr"))
    came = np.eye(n_classes)[actual]
    halves = 2 if n_classes == 2 else 1
    assert found["brier"] == pytest.approx(((chances - came) ** 2).sum(axis=1).mean() / halves)
    assert confusion(target).tolist() == known.confusion_matrix(actual, best).tolist()


def test_poisson_deviance_is_that_of_scikit_learn() -> None:
    known: Any = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    rates = random.gamma(2.0, size=100)
    counts = random.poisson(rates).astype(float)
    assert deviance(counts, rates) == pytest.approx(known.mean_poisson_deviance(counts, rates))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.01, 50)), min_size=1, max_size=20), st.floats(0.05, 20))
def test_deviances_are_twice_what_is_lost_beside_the_counts_themselves(found: list[tuple[int, float]], k: float) -> None:
    counts, means = (np.array([pair[place] for pair in found], dtype=float)[:, None] for place in (0, 1))
    with isolated(0):
        likelihood = NegativeBinomialLikelihood(1)
        likelihood.concentration = torch.tensor([k], dtype=torch.float64)
        logs = (torch.from_numpy(np.log(np.maximum(mean, 1e-12))) for mean in (counts, means))
        best, own = (likelihood(log).log_prob(torch.from_numpy(counts)).mean().item() for log in logs)
    got = measures(likelihood, counts, means)
    assert got["negative_binomial_deviance"] == pytest.approx(2 * (best - own), rel=1e-6, abs=1e-8)
    assert got["deviance"] == pytest.approx(measures(PoissonLikelihood(1), counts, means)["deviance"])
    assert negative_binomial_deviance(counts, np.maximum(counts, 0), np.array([k])) == pytest.approx(0, abs=1e-9)
    assert negative_binomial_deviance(counts, means, np.array([1e9])) == pytest.approx(got["deviance"], rel=1e-4, abs=1e-6)


def test_a_rootogram_has_what_is_expected_of_a_model() -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(2.0, 500).astype(float)
    counts[:50] = np.nan
    found = rootogram(counts, random.poisson(2.0, (400, 500)).astype(float))
    highest = int(np.nanmax(counts))
    assert found["from"] == list(range(highest + 1))
    assert found["observed"] == [float((counts == count).sum()) for count in range(highest + 1)]
    chances = [math.exp(-2.0) * 2.0**count / math.factorial(count) for count in range(highest)]
    expected = 450 * np.array([*chances, 1 - sum(chances)])
    # The mean of 400 sets of 450 items.
    assert np.all(np.abs(np.array(found["expected"]) - expected) < 5 * np.sqrt(expected / 400))
    assert sum(found["expected"]) == pytest.approx(450)


def test_a_rootogram_of_large_counts_has_few_bars() -> None:
    counts = np.array([0.0, 99.0, 100.0, 240.0])
    found = rootogram(counts, np.array([counts + 100]))
    assert found["from"] == list(range(0, 241, 11))
    assert sum(found["observed"]) == sum(found["expected"]) == 4
    assert found["observed"][9] == 2  # 99 to 109
    assert rootogram(np.array([np.nan]), np.ones((3, 1))) == {"from": [0], "observed": [0.0], "expected": [0.0]}
