"""A joint normal distribution fitted where values are missing, whatever known thing the choice of them depended on."""

from __future__ import annotations

import numpy as np
import pytest

from genz_ppl.inference.joint_normal import JointNormal, fit_joint_normal
from genz_ppl.types import FloatArray

WEIGHTS = np.array([1.5, -1.0, 0.5])


def made(n: int, seed: int = 0) -> FloatArray:
    """Three answers and a target that they explain, noise 1."""
    random = np.random.default_rng(seed)
    answers = (random.random((n, 3)) < 0.4).astype(np.float64)
    return np.column_stack([answers, answers @ WEIGHTS + random.normal(size=n)])


def test_of_whole_data_it_is_least_squares() -> None:
    values = made(200)
    weights, intercept, rest = fit_joint_normal(values, 0.0).regression(3)
    design = np.column_stack([values[:, :3], np.ones(200)])
    solution = np.linalg.lstsq(design, values[:, 3:], rcond=None)[0]
    np.testing.assert_allclose(weights, solution[:3], atol=1e-9)
    np.testing.assert_allclose(intercept, solution[3], atol=1e-9)
    np.testing.assert_allclose(rest, ((values[:, 3:] - design @ solution) ** 2).mean(), atol=1e-9)


def test_answers_that_were_asked_for_by_the_target_are_no_harm() -> None:
    values = made(4000)
    middle = np.abs(values[:, 3] - np.median(values[:, 3])) < np.quantile(np.abs(values[:, 3] - np.median(values[:, 3])), 0.7)
    values[middle, 1] = np.nan  # the second question was asked at the two ends only
    found = fit_joint_normal(values, 0.0).regression(3)[0][:, 0]
    # Answers of yes and no are no normal numbers: with seven of ten missing in the middle weights are off by up to a tenth, and
    # by their standard errors, 1 / sqrt(4000 x 0.24) and twice that where few answers are there.
    assert found == pytest.approx(WEIGHTS, abs=0.25)
    design = np.column_stack([np.where(np.isnan(values[:, :3]), np.nanmean(values[:, :3], axis=0), values[:, :3]), np.ones(4000)])
    naive = np.linalg.lstsq(design, values[:, 3], rcond=None)[0]
    assert naive[1] < WEIGHTS[1] - 0.5


def test_what_is_missing_is_expected_from_what_is_there() -> None:
    joint = JointNormal(np.array([1.0, 2.0, 3.0]), np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 1.0]]))
    values = np.array([[1.5, np.nan, 2.0], [np.nan, np.nan, np.nan], [0.0, 1.0, 2.0], [0.5, np.nan, 3.0]])
    found, doubt = joint.filled(values)
    there, cross = joint.covariance[np.ix_([0, 2], [0, 2])], joint.covariance[[0, 2], 1]
    for row in (0, 3):
        expected = 2.0 + cross @ np.linalg.solve(there, values[row, [0, 2]] - joint.mean[[0, 2]])
        np.testing.assert_allclose(found[row], [values[row, 0], expected, values[row, 2]])
    np.testing.assert_allclose(found[1], joint.mean)
    np.testing.assert_array_equal(found[2], values[2])
    own = np.zeros((3, 3))
    own[1, 1] = 2 * (3.0 - cross @ np.linalg.solve(there, cross))
    np.testing.assert_allclose(doubt, joint.covariance + own)


def test_the_prior_says_that_nothing_has_to_do_with_anything() -> None:
    values = made(100)
    sizes = [np.abs(fit_joint_normal(values, strength).regression(3)[0]).sum() for strength in (0.0, 100.0, 1e6)]
    assert sizes[0] > 1.5 * sizes[1] > 0
    assert sizes[2] < 1e-3
