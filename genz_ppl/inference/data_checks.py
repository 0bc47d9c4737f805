"""Answers, targets and covariates as tensors, or the error that says what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genz_ppl.errors import InputError, did_you_mean


def check_answers(answers: Any) -> Tensor:
    """answers as a (T, K) float64 tensor of 1, 0 and NaN; InputError otherwise."""
    values = matrix("answers", answers)
    wrong = ~(torch.isnan(values) | (values == 0) | (values == 1))
    if bool(wrong.any()):
        row, column = (int(part[0]) for part in torch.nonzero(wrong, as_tuple=True))
        raise InputError(
            f"answers: expected 1, 0 or NaN, got {float(values[row, column]):g} at row {row}, column {column}; "
            "NaN stands for no valid answer"
        )
    return values


def check_targets(targets: Any, n_items: int) -> Tensor:
    """targets as a (T, D) float64 tensor with NaN where missing; InputError otherwise."""
    values = matrix("targets", targets)
    if len(values) != n_items:
        raise InputError(f"targets: expected {n_items} rows, one an item of answers, got {len(values)}")
    if n_items < 2:
        raise InputError(f"targets: expected at least 2 items, got {n_items}")
    if bool(torch.isinf(values).any()):
        raise InputError("targets: expected finite numbers or NaN, got an infinite one; remove or mark it as missing (NaN)")
    for column, present in enumerate(values.T):
        seen = present[~torch.isnan(present)]
        if len(seen) == 0:
            raise InputError(f"targets: column {column} has no value at all; leave it out")
        if bool((seen == seen[0]).all()):
            raise InputError(f"targets: column {column} is constant, there is nothing to explain; leave it out")
    return values


def check_covariates(covariates: Any, n_items: int) -> Tensor:
    """covariates as a (T, P) float64 tensor, P = 0 for None; InputError otherwise."""
    if covariates is None:
        return torch.zeros(n_items, 0, dtype=torch.float64)
    values = matrix("covariates", covariates)
    if len(values) != n_items:
        raise InputError(f"covariates: expected {n_items} rows, one an item of answers, got {len(values)}")
    if not bool(torch.isfinite(values).all()):
        raise InputError("covariates: expected finite numbers, got NaN or an infinite one; fill in or remove those items")
    return values


def matrix(name: str, values: Any) -> Tensor:
    """values as a float64 tensor of two dimensions; InputError, with this name, otherwise."""
    if isinstance(values, Tensor):
        array = values.detach().cpu().numpy()
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            raise InputError(f"{name}: expected a table whose rows have one length, got rows of several") from None
    try:
        matrix = np.array(array, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers, got values of type {array.dtype}") from None
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2:
        raise InputError(f"{name}: expected a table of two dimensions, got {matrix.ndim}")
    return torch.from_numpy(matrix)


def column_names(values: Any) -> tuple[str, ...]:
    """The names of a DataFrame's columns; () of other tables, and where a name is there twice."""
    names = tuple(str(name) for name in getattr(values, "columns", ()))
    return names if len(set(names)) == len(names) else ()


def in_order(what: str, values: Any, names: tuple[str, ...]) -> Any:
    """A DataFrame's columns of these names, in this order; other tables as they are. InputError for a column that is missing."""
    there = column_names(values)
    missing = next((name for name in names if name not in there), None)
    if not names or not there:
        return values
    if missing is not None:
        raise InputError(
            f"{what}: expected the column {missing!r} of the fit, which is missing; {did_you_mean(missing, there)}add it"
        )
    return values.iloc[:, [there.index(name) for name in names]]


def check_labels(what: str, labels: Any, n_items: int) -> tuple[str, ...] | None:
    """One label an item as text, (T,), or None for None; InputError for another number of them, and for missing ones."""
    if labels is None:
        return None
    given = list(labels)
    if len(given) != n_items:
        raise InputError(f"{what}: expected {n_items} labels, one an item of answers, got {len(given)}")
    for row, label in enumerate(given):
        if label is None or label != label:
            raise InputError(f"{what}: expected a label in row {row}, got {label!r}; fill it in or remove the item")
    return tuple(str(label) for label in given)
