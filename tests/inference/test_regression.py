"""Effects with gold labels and without: what they are, that they hold, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference import effects
from genz_ppl.inference.regression.adjusted import benjamini_hochberg, holm
from genz_ppl.inference.regression.least_squares import least_squares
from genz_ppl.types import FloatArray

WEIGHTS = np.array([1.0, -0.6, 0.0])


def world(seed: int, n_items: int = 1200, tilt: float = 0.0) -> tuple[FloatArray, FloatArray, FloatArray, np.random.Generator]:
    """Answers, the target and the truth; a tenth of the answers is wrong, with tilt more or fewer by the target."""
    random = np.random.default_rng(seed)
    truth = (random.random((n_items, 3)) < 0.4).astype(float)
    target = truth @ WEIGHTS + random.normal(size=n_items)
    wrong = 0.1 + tilt * np.tanh(target)[:, None] * np.where(truth == 1, -1, 1)
    return np.where(random.random(truth.shape) < wrong, 1 - truth, truth), target, truth, random


def some(truth: FloatArray, rows: Any) -> FloatArray:
    labels = np.full(truth.shape, np.nan)
    labels[rows] = truth[rows]
    return labels


def test_least_squares_is_numpys_with_the_variance_hc3() -> None:
    random = np.random.default_rng(0)
    design, target = random.normal(size=(50, 3)), random.normal(size=50)
    found = least_squares(design, target)
    np.testing.assert_allclose(found.coefficients, np.linalg.lstsq(design, target)[0])
    inverse = np.linalg.inv(design.T @ design)
    residual = target - design @ found.coefficients
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    meat = (design * (residual / (1 - leverage))[:, None] ** 2).T @ design
    np.testing.assert_allclose(found.shares.T @ found.shares, inverse @ meat @ inverse)
    assert found.told.all()


def test_what_the_items_do_not_tell_apart_is_nan_and_the_rest_is_not() -> None:
    answers, target, _, _ = world(1)
    doubled = np.column_stack([answers, answers[:, 0], np.ones(len(answers))])
    table = effects(doubled, target, error_rate_prior=None)
    assert table["effect"].isna().tolist() == [True, False, False, True, True]
    assert table["method"].tolist()[0] == "not told apart"
    alone = effects(answers, target, error_rate_prior=None)
    np.testing.assert_allclose(table["effect"][1:3], alone["effect"][1:])
    assert table["p_holm"].notna().sum() == 2


def test_labels_of_all_items_leave_nothing_to_the_answers() -> None:
    answers, target, truth, _ = world(2)
    table = effects(answers, target, gold=truth)
    design = np.column_stack([truth, np.ones(len(truth))])
    np.testing.assert_allclose(table["effect"], np.linalg.lstsq(design, target)[0][:3], atol=1e-12)


@pytest.mark.parametrize("tilt", [0.0, 0.09])
def test_intervals_with_labels_hold_and_are_narrower_than_those_of_labels_alone(tilt: float) -> None:
    held, naive, widths, alone = [], [], [], []
    for seed in range(60):
        answers, target, truth, random = world(100 + seed, tilt=tilt)
        labels = some(truth, random.choice(len(truth), 200, replace=False))
        table, plain = effects(answers, target, gold=labels), effects(answers, target, error_rate_prior=None)
        inside = [(one["lower"] <= WEIGHTS) & (one["upper"] >= WEIGHTS) for one in (table, plain)]
        held.append(inside[0])
        naive.append(inside[1])
        widths.append(table["upper"] - table["lower"])
        rows = ~np.isnan(labels[:, 0])
        few = effects(labels[rows], target[rows], error_rate_prior=None)
        alone.append(few["upper"] - few["lower"])
        assert (widths[-1].to_numpy() <= alone[-1].to_numpy() * 1.05).all()
    # 180 intervals of 95 %: four standard deviations below are 0.885.
    assert np.mean(held) > 0.885
    assert np.mean(naive) < 0.7
    assert np.mean(widths) < 0.85 * np.mean(alone)


def test_labels_drawn_with_probabilities_that_go_with_the_target_need_them_said() -> None:
    right, wrong = [], []
    for seed in range(40):
        answers, target, truth, random = world(300 + seed, 3000)
        chance = np.where((target > 1) & (truth[:, 0] == 1), 0.3, 0.05)
        labels = some(truth, random.random(len(target)) < chance)
        right.append(effects(answers, target, gold=labels, sampling=chance)["effect"])
        wrong.append(effects(answers, target, gold=labels)["effect"])
    spread = np.std(right, axis=0) / np.sqrt(40)
    assert (np.abs(np.mean(right, axis=0) - WEIGHTS) < 4 * spread).all()
    assert abs(np.mean(wrong, axis=0)[0] - 1) > 0.2


def test_without_labels_known_error_rates_give_back_the_truth() -> None:
    answers, target, _, _ = world(4, 20_000)
    table = effects(answers, target, error_rate_prior=(1000, 9000))
    assert (np.abs(table["effect"] - WEIGHTS) < 0.07).all()
    assert ((table["lower"] < WEIGHTS) & (table["upper"] > WEIGHTS)).all()
    vague = effects(answers, target)
    wider = (vague["upper"] - vague["lower"]) / (table["upper"] - table["lower"])
    assert (wider[:2] > 3).all()  # what has no effect has none whatever the rates
    assert "Beta(1, 9)" in vague.attrs["assumed"]
    pd.testing.assert_frame_equal(vague, effects(answers, target))


def test_covariates_are_beside_and_missing_targets_left_out() -> None:
    answers, target, truth, random = world(5, 3000)
    driver = truth[:, 0] + random.normal(size=3000)
    moved, labels = target + 2 * driver, some(truth, np.arange(0, 3000, 5))
    table = effects(answers, np.stack([moved, np.where(np.arange(3000) < 2000, moved, np.nan)], 1), driver[:, None], labels)
    assert ((table["lower"] < [*WEIGHTS] * 2) & (table["upper"] > [*WEIGHTS] * 2)).all()
    assert table["target"].tolist() == ["0"] * 3 + ["1"] * 3
    width = (table["upper"] - table["lower"]).to_numpy()
    assert (width[3:] > width[:3]).all()


def test_names_come_from_frames() -> None:
    answers, target, _, _ = world(6)
    table = effects(pd.DataFrame(answers, columns=["a", "b", "c"]), pd.DataFrame({"y": target}), error_rate_prior=None)
    assert table["feature"].tolist() == ["a", "b", "c"]
    assert set(table["target"]) == {"y"}


def test_p_values_are_adjusted_as_published() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, np.nan, 0.04, 0.02])
    assert len(holm(np.zeros(0))) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"level": 1.0}, "level: expected a number between 0 and 1, got 1"),
        ({"gold": np.zeros((3, 3))}, "gold: expected a table as answers, 1200 x 3, got 3 x 3"),
        ({"gold": "half"}, "gold: expected 1, 0 or NaN, got 0.5 at row 0, question '0'"),
        ({"gold": "one"}, "gold: question '1' has no label"),
        ({"gold": "few"}, "gold: 8 items have a label of every question and target '0', at least 14 are needed for 3 questions"),
        ({"gold": "all yes"}, "gold: every label of '0' is yes"),
        ({"sampling": np.ones(1200)}, "there is no gold; leave it out"),
        ({"gold": "many", "sampling": np.zeros(1200)}, "sampling: expected a probability above 0"),
        ({"error_rate_prior": (0.0, 9.0)}, "error_rate_prior: expected finite numbers above 0"),
        ({"error_rate_prior": (1, 2, 3)}, "error_rate_prior: expected two numbers"),
        ({"error_rate_prior": (900.0, 100.0)}, "error_rate_prior: hardly any"),
        ({"features": ["a"]}, "features: expected 3 names"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(changed: dict[str, Any], message: str) -> None:
    answers, target, truth, _ = world(7)
    made = {
        "half": np.full(truth.shape, 0.5),
        "one": np.where([True, False, False], truth, np.nan),
        "few": some(truth, slice(0, 8)),
        "many": some(truth, slice(0, 80)),
        "all yes": some(np.where([True, False, False], 1.0, truth), slice(0, 80)),
    }
    given: dict[str, Any] = {name: made.get(value, value) if isinstance(value, str) else value for name, value in changed.items()}
    with pytest.raises((InputError, OptionError), match=message.replace("(", r"\(").replace(")", r"\)")):
        effects(answers, target, **given)


def test_too_few_items_are_refused() -> None:
    answers, target, _, _ = world(8)
    with pytest.raises(InputError, match="answers: 12 items have target '0', at least 14 are needed"):
        effects(answers[:12], target[:12])


@pytest.mark.parametrize("prior", [None, (10.0, 90.0)])
def test_covariates_that_repeat_others_or_are_constant_do_no_harm(prior: Any) -> None:
    answers, target, _, random = world(9)
    driver = random.normal(size=(1200, 1))
    clumsy = np.column_stack([driver, 1000 + 1e-3 * driver, np.ones(1200), np.zeros(1200)])
    plain, more = (effects(answers, target, x, error_rate_prior=prior) for x in (driver, clumsy))
    np.testing.assert_allclose(plain["effect"], more["effect"], rtol=1e-6)
    np.testing.assert_allclose(plain["upper"], more["upper"], rtol=1e-6)


@pytest.mark.parametrize("way", ["answers", "gold", "assumed"])
def test_items_of_one_group_are_not_taken_as_independent(way: str) -> None:
    held: list[FloatArray] = []
    for seed in range(25):
        random = np.random.default_rng(500 + seed)
        groups = np.repeat(np.arange(60), 20)
        truth = np.repeat((random.random((60, 1)) < 0.5).astype(float), 20, axis=0)
        target = truth[:, 0] + np.repeat(random.normal(size=60), 20) + random.normal(size=1200)
        gold: dict[str, Any] = {"gold": some(truth, random.choice(1200, 600, replace=False))} if way == "gold" else {}
        prior: dict[str, Any] = {"error_rate_prior": (0.01, 99.0) if way == "assumed" else None}
        tables = [effects(truth, target, **gold, **prior, groups=kin) for kin in (groups, None)]
        held.append(np.array([bool((one["lower"].iloc[0] <= 1) & (one["upper"].iloc[0] >= 1)) for one in tables]))
    together, apart = np.mean(held, axis=0)
    assert together >= 0.8
    assert apart < 0.65
