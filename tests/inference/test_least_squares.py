"""Least squares on uncertain features against numpy's on all assignments, one row each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from genz_ppl.inference.engines.least_squares import least_squares

Array = NDArray[np.float64]

sizes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "n_features": st.integers(0, 4),
        "n_targets": st.integers(1, 3),
        "n_covariates": st.integers(0, 2),
        "products": st.booleans(),
        "weighted": st.booleans(),
        "dependent": st.booleans(),
        "penalised": st.booleans(),
    }
)


def columns_of(table: Array, modifiers: Array, covariates: Array) -> Array:
    """One row an item and assignment, (T 2^K, K M + 1 + P): what multiplies coefficients, intercept and slopes."""
    n_items = len(modifiers)
    products = np.einsum("ak,tm->takm", table, modifiers).reshape(n_items * len(table), -1)
    others = np.column_stack([np.ones(n_items), covariates])
    return np.column_stack([products, np.repeat(others, len(table), axis=0)])


@settings(max_examples=80)
@given(size=sizes)
def test_it_is_least_squares_over_all_assignments(size: dict[str, Any], bits: Any) -> None:
    random, n_items = np.random.default_rng(size["seed"]), 40
    table = bits(size["n_features"]).numpy()
    x = random.normal(size=(n_items, size["n_covariates"]))
    modifiers = np.column_stack([np.ones(n_items), x]) if size["products"] else np.ones((n_items, 1))
    y = random.normal(size=(n_items, size["n_targets"]))
    q = random.uniform(size=(n_items, size["n_features"]))
    chance = np.where(table == 1, q[:, None], 1 - q[:, None]).prod(-1)  # (T, 2^K)
    covariance = None
    if size["dependent"]:
        chance = random.dirichlet(np.ones(len(table)), size=n_items)
        q = chance @ table
        covariance = np.einsum("ta,ak,aj->tkj", chance, table, table) - q[:, :, None] * q[:, None]
    # Penalties are on the scale of the weights, and so need some.
    weighted = size["weighted"] or size["penalised"]
    weights = random.choice([0.0, 0.5, 1.0, 3.0], size=y.shape) if weighted else np.ones(y.shape)
    ridge = random.uniform(0, 5, size=(size["n_features"], modifiers.shape[1])) if size["penalised"] else None

    def tensor(values: Array | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values)

    coefficients, intercept, slopes = least_squares(
        torch.from_numpy(q),
        torch.from_numpy(modifiers),
        torch.from_numpy(x),
        torch.from_numpy(y),
        tensor(weights) if weighted else None,
        covariance=tensor(covariance),
        ridge=tensor(ridge),
    )
    assert coefficients.shape == (size["n_features"], modifiers.shape[1], size["n_targets"])
    assert intercept.shape == (size["n_targets"],)
    assert slopes.shape == (size["n_covariates"], size["n_targets"])
    found = torch.cat([coefficients.flatten(0, 1), intercept[None], slopes]).numpy()

    design = columns_of(table, modifiers, x)
    for d in range(size["n_targets"]):
        root = np.sqrt((weights[:, [d]] * chance).ravel())
        left, right = design * root[:, None], np.repeat(y[:, d], len(table)) * root
        if ridge is not None:
            penalty = np.zeros((coefficients[..., 0].numel(), design.shape[1]))
            np.fill_diagonal(penalty, np.sqrt(ridge.ravel()))
            left, right = np.vstack([left, penalty]), np.append(right, np.zeros(len(penalty)))
        expected, *_ = np.linalg.lstsq(left, right)
        np.testing.assert_allclose(found[:, d], expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("products", [False, True])
def test_whole_weights_are_repeated_items(products: bool) -> None:
    random = np.random.default_rng(0)
    z = (random.random((60, 3)) < 0.5).astype(np.float64)
    x, y = random.normal(size=(60, 2)), random.normal(size=(60, 2))
    y[random.random(y.shape) < 0.2] = 99.0  # weight 0: any number
    weights = np.where(y == 99.0, 0, random.integers(1, 4, size=y.shape))
    modifiers = np.column_stack([np.ones(60), x]) if products else np.ones((60, 1))
    coefficients, intercept, slopes = least_squares(*map(torch.from_numpy, (z, modifiers, x, y, weights.astype(np.float64))))
    for d in range(2):
        rows = np.repeat(np.arange(60), weights[:, d])
        design = np.column_stack([np.einsum("tk,tm->tkm", z, modifiers).reshape(60, -1), np.ones(60), x])[rows]
        expected, *_ = np.linalg.lstsq(design, y[rows, d])
        found = np.concatenate([coefficients[..., d].flatten().numpy(), intercept[[d]].numpy(), slopes[:, d].numpy()])
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("products", [False, True])
def test_collinear_features_get_a_finite_solution(products: bool, weighted: bool) -> None:
    random = np.random.default_rng(0)
    z = (random.random((40, 3)) < 0.5).astype(np.float64)
    z[:, 1], z[:, 2] = z[:, 0], 0.0
    x, y = random.normal(size=(40, 1)), random.normal(size=(40, 2))
    modifiers = np.column_stack([np.ones(40), x]) if products else np.ones((40, 1))
    weights = torch.ones(40, 2, dtype=torch.float64) if weighted else None
    inputs = [torch.from_numpy(part) for part in (z, modifiers, x, y)]
    coefficients, intercept, slopes = least_squares(inputs[0], inputs[1], inputs[2], inputs[3], weights)
    found = torch.cat([coefficients.flatten(0, 1), intercept[None], slopes]).numpy()
    design = np.column_stack([np.einsum("tk,tm->tkm", z, modifiers).reshape(40, -1), np.ones(40), x])
    expected, *_ = np.linalg.lstsq(design, y)
    np.testing.assert_allclose(design @ found, design @ expected, atol=1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-8)  # both the shortest of all solutions
