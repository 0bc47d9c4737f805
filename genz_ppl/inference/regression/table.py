"""`effects`: the table of what yes instead of no to each question does to each target, with intervals to publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.data_checks import (
    check_answers,
    check_covariates,
    check_labels,
    check_targets,
    column_names,
    matrix,
)
from genz_ppl.inference.regression.adjusted import benjamini_hochberg, holm
from genz_ppl.inference.regression.estimates import DRAWS, Estimates, Sample, as_answered, assumed, debiased
from genz_ppl.setting_fields import check_number
from genz_ppl.types import FloatArray

#: The columns of the table.
EFFECT_COLUMNS = ("feature", "target", "effect", "lower", "upper", "method", "p", "p_holm", "p_bh")
# Gold items, or items, beyond one a coefficient.
LEAST_FREEDOM = 10
# What an interval rests on, by what is known beside the answers.
WITH_GOLD = (
    "the gold labels are true, and their items a random sample of all (or drawn with the probabilities in sampling); "
    "nothing is assumed of wrong answers, nor of the distribution of the target"
)
WITHOUT_GOLD = (
    "no gold labels: answers are wrong with probabilities drawn from {prior}, not more often where the target is higher or "
    "lower or other answers are wrong, given what is true; the targets are not asked how often that is, which they hardly tell. "
    "Where wrong answers go with the target, no interval without gold labels can be trusted"
)
AS_ANSWERED = "the effect of what was answered, not of what is true: nothing is said about wrong answers"


def effects(
    answers: Any,
    targets: Any,
    covariates: Any = None,
    gold: Any = None,
    level: float = 0.95,
    *,
    sampling: Any = None,
    groups: Any = None,
    error_rate_prior: Any = (1.0, 9.0),
    features: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The effect of every question on every target, least squares beside the other questions and the covariates.

    answers: (T, K) of 1, 0 and NaN; targets: (T, D), numbers, of classes one column of 0 and 1 a class; covariates: (T, P).
    gold: (T, K), what people found, 1, 0, and NaN where nobody looked; items count where all K questions have a label. They must
    be a random sample, or with sampling, (T,), drawn one by one with these probabilities. error_rate_prior: without gold, (a, b)
    or (K, 2): Beta distributions of how often answers are wrong, as after a wrong and b right ones; None: the effect of the
    answers as they are. groups: (T,), a label an item, alike for items that are not independent (the pupils of a class).
    features, target_names: the names of rows; else those of DataFrames' columns, or numbers. seed: of draws.

    Returns a row a feature and target: feature, target; effect, in the target's units (of a class: its probability); lower and
    upper, which hold the effect with probability level; method; p, of no effect, and p_holm, p_bh, adjusted for all rows.
    `attrs` has level, items, gold_items and what is assumed, in words. Effects that the items do not tell apart are NaN.
    Whether the questions were chosen on these items is not known here: see `Discovery.effects`.
    Raises InputError and OptionError for what cannot be used.
    """
    check_number("level", level, 0.0, 1.0, whole=False)
    if not 0 < level < 1:
        raise OptionError(f"level: expected a number between 0 and 1, got {level:g}")
    h = check_answers(answers).numpy()
    y, x = check_targets(targets, len(h)).numpy(), _spanned(check_covariates(covariates, len(h)).numpy())
    texts = _names("features", features, answers, h.shape[1])
    columns = _names("target_names", target_names, targets, y.shape[1])
    labels = None if gold is None else _gold(gold, h.shape, texts)
    weights = _weights(sampling, labels)
    kin = check_labels("groups", groups, len(h))
    codes = None if kin is None else np.unique(kin, return_inverse=True)[1]
    rates = None if error_rate_prior is None else _rates(error_rate_prior, h.shape[1])
    rows, looked = [], 0.0
    for d, name in enumerate(columns):
        seen = ~np.isnan(y[:, d])
        sample = _sample(h, x, y[:, d], labels, weights, seen)
        sample = sample if codes is None else replace(sample, groups=codes[seen])
        _check_size(sample, labels is not None, name, texts)
        found = _found(sample, labels is not None, rates, level, seed)
        looked = max(looked, len(sample.labelled))
        rows += _rows(found, texts, name)
    table = pd.DataFrame(rows, columns=list(EFFECT_COLUMNS[:7]))
    p = table["p"].to_numpy(dtype=np.float64)
    table = table.assign(p_holm=holm(p), p_bh=benjamini_hochberg(p))
    table.attrs = {"level": level, "items": len(h), "gold_items": int(looked), "assumed": _words(labels is not None, rates)}
    return table


def _found(sample: Sample, has_gold: bool, rates: FloatArray | None, level: float, seed: int) -> Estimates:
    if has_gold:
        return debiased(sample, level)
    if rates is None:
        return as_answered(sample, level)
    found = assumed(sample, rates, level, seed)
    if found is None:
        raise InputError(
            f"error_rate_prior: hardly any of {DRAWS} drawn rates can be with these answers, of which fewer are yes, or no, "
            "than there would be by mistake alone; give one of fewer wrong answers, or gold labels"
        )
    return found


def _rows(found: Estimates, texts: Sequence[str], target: str) -> list[tuple[Any, ...]]:
    values = zip(found.effect.tolist(), found.lower.tolist(), found.upper.tolist(), found.method, found.p.tolist(), strict=True)
    return [(text, target, *row) for text, row in zip(texts, values, strict=True)]


def _words(has_gold: bool, rates: FloatArray | None) -> str:
    if has_gold:
        return WITH_GOLD
    if rates is None:
        return AS_ANSWERED
    shown = [f"Beta({a:g}, {b:g})" for a, b in np.unique(rates, axis=0)]
    return WITHOUT_GOLD.format(prior=shown[0] if len(shown) == 1 else "a Beta distribution a question")


def _spanned(covariates: FloatArray) -> FloatArray:
    """Columns at right angles that say the same beside a constant; what repeats others or is constant is left out."""
    centred = covariates - covariates.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    varied = size > 1e-12 * np.abs(covariates).max(axis=0, initial=0.0)
    left, values, _ = np.linalg.svd(centred[:, varied] / size[varied], full_matrices=False)
    found: FloatArray = left[:, values > 1e-9] * np.sqrt(len(covariates))
    return found


def _names(what: str, given: Sequence[str] | None, table: Any, size: int) -> tuple[str, ...]:
    names = column_names(table) if given is None else tuple(map(str, given))
    if given is not None and len(names) != size:
        raise OptionError(f"{what}: expected {size} names, one a column, got {len(names)}")
    return names or tuple(map(str, range(size)))


def _gold(gold: Any, shape: tuple[int, ...], texts: Sequence[str]) -> FloatArray:
    """(T, K). Raises InputError for another form, for what is no label, and for a question that nobody looked at."""
    labels: FloatArray = matrix("gold", gold).numpy()
    if labels.shape != shape:
        raise InputError(f"gold: expected a table as answers, {shape[0]} x {shape[1]}, got {labels.shape[0]} x {labels.shape[1]}")
    wrong = np.argwhere(~(np.isnan(labels) | (labels == 0) | (labels == 1)))
    if len(wrong):
        row, column = wrong[0]
        said = f"got {labels[row, column]:g} at row {row}, question {texts[column]!r}"
        raise InputError(f"gold: expected 1, 0 or NaN, {said}; leave what nobody is sure of out (NaN)")
    unseen = [text for text, column in zip(texts, labels.T, strict=True) if np.isnan(column).all()]
    if unseen:
        raise InputError(
            f"gold: question {unseen[0]!r} has no label; effects are beside all other questions, so each needs labels on the "
            "same items: label it there, or leave it out of answers and gold"
        )
    return labels


def _weights(sampling: Any, labels: FloatArray | None) -> FloatArray | None:
    """(T,), one over the probability of a label; None where all are alike."""
    if sampling is None:
        return None
    if labels is None:
        raise OptionError("sampling: the probabilities with which items got gold labels, and there is no gold; leave it out")
    chances = matrix("sampling", sampling).numpy()[:, 0]
    if len(chances) != len(labels):
        raise InputError(f"sampling: expected {len(labels)} probabilities, one an item, got {len(chances)}")
    known = ~np.isnan(labels).any(axis=1)
    wrong = np.flatnonzero(known & ~((chances > 0) & (chances <= 1)))
    if len(wrong):
        raise InputError(
            f"sampling: expected a probability above 0 and up to 1 for every item with labels, got {chances[wrong[0]]:g} at row "
            f"{wrong[0]}; write the probability with which it was drawn"
        )
    return np.where(known, 1 / np.where(known, chances, 1.0), 0.0)


def _rates(error_rate_prior: Any, n_features: int) -> FloatArray:
    """(K, 2)."""
    try:
        rates = np.broadcast_to(np.asarray(error_rate_prior, dtype=np.float64), (n_features, 2))
    except (TypeError, ValueError):
        raise OptionError(
            f"error_rate_prior: expected two numbers (a, b), or {n_features} x 2, one pair a question; got {error_rate_prior!r}"
        ) from None
    if not ((rates > 0) & np.isfinite(rates)).all():
        raise OptionError(
            "error_rate_prior: expected finite numbers above 0, as many wrong answers and right ones as were counted"
        )
    return rates


def _sample(
    h: FloatArray, x: FloatArray, y: FloatArray, labels: FloatArray | None, weights: FloatArray | None, seen: NDArray[np.bool_]
) -> Sample:
    """The items whose target is there."""
    gold = np.full((int(seen.sum()), h.shape[1]), np.nan) if labels is None else labels[seen]
    labelled = np.flatnonzero(~np.isnan(gold).any(axis=1)) if labels is not None else np.zeros(0, dtype=np.int64)
    each = np.ones(len(gold)) if weights is None else weights[seen]
    chosen = each[labelled]
    return Sample(h[seen], x[seen], y[seen], gold[labelled], labelled, chosen / chosen.sum() if len(chosen) else chosen)


def _check_size(sample: Sample, has_gold: bool, target: str, texts: Sequence[str]) -> None:
    """Raise InputError where items are too few for so many coefficients."""
    n_features, needed = len(texts), len(texts) + sample.covariates.shape[1] + 1 + LEAST_FREEDOM
    if len(sample.target) < needed:
        raise InputError(
            f"answers: {len(sample.target)} items have target {target!r}, at least {needed} are needed for the effects of "
            f"{n_features} questions; add items, or leave questions out"
        )
    rows = sample.labelled if has_gold else np.arange(len(sample.target))
    if sample.groups is not None and (found := len(np.unique(sample.groups[rows]))) < LEAST_FREEDOM:
        kind = "gold labels" if has_gold else "items"
        raise InputError(
            f"groups: the {kind} are of {found} groups, at least {LEAST_FREEDOM} are needed; add some of other groups"
        )
    if has_gold and sample.n_gold < needed:
        worth = "" if sample.n_gold > len(sample.labelled) - 1e-6 else f" (worth {sample.n_gold:.0f} by their sampling)"
        raise InputError(
            f"gold: {len(sample.labelled)} items have a label of every question and target {target!r}{worth}, at least {needed} "
            f"are needed for {n_features} questions; label more items, each for all questions, or leave questions out"
        )
    for text, column in zip(texts, sample.gold.T if has_gold else (), strict=False):
        if (column == column[0]).all():
            said = "yes" if column[0] == 1 else "no"
            raise InputError(
                f"gold: every label of {text!r} is {said}, so that there is nothing to compare; label more items, or leave it out"
            )
