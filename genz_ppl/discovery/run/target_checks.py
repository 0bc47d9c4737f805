"""Whether the targets of items suit a likelihood, said in terms of the user's columns and ids, before any call is paid for."""

from __future__ import annotations

import numpy as np
import torch

from genz_ppl.data import Items, Split
from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.fit import class_count
from genz_ppl.inference.isolation import isolated
from genz_ppl.mapped import let_go
from genz_ppl.models import LIKELIHOODS, Likelihood
from genz_ppl.settings import AUTO, DiscoverSettings
from genz_ppl.types import FloatArray, Numbers

# Items whose targets are looked at together.
_AT_ONCE = 1 << 16


def count_classes(items: Items, likelihood: str) -> int:
    """How many classes the targets have, over all items; 2 where the likelihood has none."""
    if items.targets is None:
        return 2
    named = max((len(names) for names in items.class_names), default=2)
    return max(named, class_count(torch.tensor(items.targets), likelihood)) if LIKELIHOODS[likelihood].is_of_classes else named


def check_targets(items: Items, likelihood: str, n_classes: int) -> None:
    """Raise InputError, naming column, item and value, unless the likelihood is defined for all targets."""
    if items.targets is None:
        return
    with isolated(0):
        kind = LIKELIHOODS[likelihood].sized(items.targets.shape[1], n_classes)
        wrong = _refused(kind, items.targets)
        expected, remedy = kind.requirement
    if items.class_names and kind.standardised:
        raise InputError(
            f"{items.name}: target {items.target_names[0]!r} holds classes, and the {likelihood} likelihood is for numbers; "
            "choose bernoulli or categorical"
        )
    if wrong is not None:
        row, column = wrong
        name, value = items.target_names[column], float(items.targets[row, column])
        names = items.class_names[column] if items.class_names else ()
        shown = f"{names[int(value)]!r}, one of {len(names)} classes" if names else f"{value:g}"
        raise InputError(f"{items.name}: target {name!r}: expected {expected}, got {shown} for item {items.ids[row]!r}; {remedy}")


def _refused(kind: Likelihood, targets: Numbers) -> tuple[int, int] | None:
    """The row and column of the first target that a likelihood refuses, None where it takes all; a part of them at a time."""
    for start in range(0, len(targets), _AT_ONCE):
        part = torch.tensor(targets[start : start + _AT_ONCE], dtype=torch.float64)
        wrong = torch.nonzero(kind.refused(part))
        if len(wrong):
            return start + int(wrong[0, 0]), int(wrong[0, 1])
    let_go(targets)
    return None


def check_training_targets(items: Items, split: Split) -> None:
    """Raise InputError for a target that is constant or absent among the training items, though it varies over the table."""
    if items.targets is None:
        return
    for name, values in zip(items.target_names, items.targets[split.train].T, strict=True):
        present = values[~np.isnan(values)]
        if not present.size or bool((present == present[0]).all()):
            found = f"is {present[0]:g} wherever it has a value" if present.size else "has no values"
            raise InputError(f"{items.name}: target '{name}' {found} among the training items; choose another split or target")


def explains_direction(items: Items, settings: DiscoverSettings) -> bool:
    """The setting `direction`; where it is left open, whether the targets are an embedding with a direction at every item."""
    if settings.direction is not None or items.targets is None:
        return bool(settings.direction)
    if not items.schema.embedding or items.targets.shape[1] < 2:
        return False
    fits = settings.likelihood == AUTO or LIKELIHOODS[settings.likelihood].standardised
    return fits and bool((items.targets != 0).any(1).all()) and not np.isnan(items.targets).any()


def explained(items: Items, direction: bool | None) -> FloatArray:
    """The targets that a run explains, (T, D) float64: those of the items, or with `direction` each vector over its length.

    An item without targets stays one.
    """
    if items.targets is None:
        raise ValueError("discovery needs targets")
    targets = np.asarray(items.targets, dtype=np.float64)
    if not direction:
        return targets
    length = np.linalg.norm(targets, axis=1, keepdims=True)
    divided: FloatArray = targets / np.where(length > 0, length, 1.0)
    return divided


def check_direction(items: Items, likelihood: str) -> None:
    """Raise OptionError or InputError unless the targets, (T, D), have directions: vectors of numbers, none 0 or incomplete."""
    if items.targets is None:
        return
    if not LIKELIHOODS[likelihood].standardised:
        raise OptionError(f"direction: is for vectors of numbers, and the {likelihood} likelihood is not; leave one of them out")
    if items.targets.shape[1] < 2:
        raise OptionError(f"direction: expected at least two targets, got {items.target_names[0]!r} alone; leave direction out")
    missing = np.isnan(items.targets)
    incomplete = (missing.any(1) & ~missing.all(1), "some targets are missing")
    for wrong, found in (incomplete, ((items.targets == 0).all(1), "all targets are 0")):
        if wrong.any():
            item = items.ids[int(np.flatnonzero(wrong)[0])]
            expected = "direction needs a vector of targets of each item"
            raise InputError(f"{items.name}: {expected}, but {found} for item {item!r}; leave the item out")
