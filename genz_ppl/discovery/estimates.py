"""Effects of a run's questions, estimated on items that had no part in choosing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items
from genz_ppl.discovery.gold import gold_labels
from genz_ppl.discovery.matching import RULES
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.regression.table import EFFECT_COLUMNS, effects
from genz_ppl.output import plural
from genz_ppl.settings import AUTO, DiscoverSettings
from genz_ppl.types import FloatArray

#: What the items are called that had no part in the choice.
FRESH = {"test": "test items", "held": "items held back"}


def fresh_items(run: RunView, items: Items | None = None) -> list[tuple[str, FittedItems]]:
    """The sides of a run's split that had no part in choosing, those without an item left out."""
    sides = [(side, run.fitted(items, side)) for side in FRESH]
    return [(side, part) for side, part in sides if len(part.item_ids)]


def run_effects(
    run: RunView,
    progress: Progress,
    gold: pd.DataFrame | None = None,
    level: float = 0.95,
    error_rate_prior: Any = AUTO,
    items: Items | None = None,
) -> pd.DataFrame:
    """Effects of the questions on the test items and those held back (`honest`), none of which had a part in choosing them.

    gold: labels by people, see `gold_labels`; those of training items are left out. error_rate_prior: without gold, as in
    `genz_ppl.inference.effects`; auto: that of the run, but None for the model rules, whose answers are facts. items: those of
    the run, where its folder does not hold them. Of classes effects are on their probabilities, of counts on their means; a
    varying column counts by the levels of its groups; rows that a group column keeps together are not taken as independent.
    Columns as in `genz_ppl.inference.effects`; attrs has chosen_on and estimated_on, too. Raises OptionError before the end of a
    run, InputError for unusable labels and too few items.
    """
    if progress.status != "done":
        raise OptionError("effects: the run was stopped before its end, and its questions may change; resume it first")
    sides, record = fresh_items(run, items), run.record
    if not progress.active:
        return pd.DataFrame({name: [] for name in EFFECT_COLUMNS})
    parts = [part for _, part in sides]
    first = parts[0]
    answers, targets, numbers = (torch.cat([getattr(part, name) for part in parts]) for name in ("votes", "targets", "numbers"))
    ids = [name for part in parts for name in part.item_ids]
    labels = chances = None
    if gold is not None:
        known = {name: side for side in ("train", *FRESH) for name in getattr(record.split, side)}
        labels, chances = gold_labels(gold, ids, known, progress.active)
        _check_labels(labels, gold, ids)
    table = effects(
        answers,
        first.state.model.likelihood.comparable(targets),
        np.concatenate([numbers.numpy(), _groups(parts)], axis=1),
        labels,
        level,
        sampling=chances,
        groups=_kin(run, ids, items),
        error_rate_prior=_prior(record.settings) if error_rate_prior == AUTO else error_rate_prior,
        features=first.feature_texts,
        target_names=first.column_names,
        seed=record.settings.seed,
    )
    table.attrs["chosen_on"] = f"{plural(len(record.split.train), 'training item')}"
    table.attrs["estimated_on"] = " and ".join(f"{len(part.item_ids)} {FRESH[side]}" for side, part in sides)
    return table


def _prior(settings: DiscoverSettings) -> tuple[float, float] | None:
    return None if settings.model == RULES else settings.error_rate_prior


def _kin(run: RunView, ids: list[str], items: Items | None) -> list[str] | None:
    """The groups whose rows stay together in the split: they are not independent. None where the run has no such column."""
    column, known = run.record.roles.group, run.items if items is None else items
    if column is None:
        return None
    if known.group_labels is None:
        raise InputError(
            f"effects: rows of one {column!r} go together, and the run's folder does not hold it; pass the run's items"
        )
    label = dict(zip(known.ids, known.group_labels, strict=True))
    return [label[name] for name in ids]


def _groups(parts: list[FittedItems]) -> FloatArray:
    """Indicators of the groups of the varying column that are among these items, but of one, (T, G)."""
    first = parts[0]
    if not first.levels:
        return np.zeros((sum(len(part.item_ids) for part in parts), 0))
    found: FloatArray = np.concatenate([part.covariates[:, -len(first.levels) :].numpy() for part in parts])
    return found[:, found.any(axis=0)][:, 1:]


def _check_labels(labels: FloatArray, gold: pd.DataFrame, ids: list[str]) -> None:
    """Raise InputError where no label is of these items."""
    if np.isnan(labels).any(axis=1).all():
        raise InputError(
            f"gold: none of its {plural(len(gold), 'row')} has a label of every question on one of the {len(ids)} items that had "
            "no part in choosing the questions; draw items to label with 'genz effects DIR --sample N --output FILE'"
        )


def sample_to_label(run: RunView, progress: Progress, count: int, seed: int, items: Items | None = None) -> pd.DataFrame:
    """A table for people to fill in: so many items drawn at random of those that had no part in choosing, a column a question.

    id, text (empty where the run's folder does not keep what a model reads), and an empty column for each question. Raises
    OptionError for more items than there are.
    """
    known = run.items if items is None else items
    texts = {item.id: item.text for item in known}
    ids = [name for _, part in fresh_items(run, items) for name in part.item_ids]
    if not 1 <= count <= len(ids):
        raise OptionError(f"sample: expected a number from 1 to {len(ids)}, the items to draw from, got {count}")
    drawn = sorted(np.random.default_rng(seed).permutation(len(ids))[:count].tolist())
    table = pd.DataFrame({"id": [ids[row] for row in drawn], "text": [texts.get(ids[row], "") for row in drawn]})
    return table.assign(**{record.text: "" for record in progress.active})
