"""What a report holds, computed from a fit: examples, effects, contradictions, predictions, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from genz_ppl.diagnostics.checks import LOOSE, contradicted_answers, coverage, predicted_targets, predictive_check
from genz_ppl.diagnostics.class_measures import ClassTarget, class_targets
from genz_ppl.diagnostics.measures import kind_of
from genz_ppl.diagnostics.report.draws import report_draws, shown_items
from genz_ppl.diagnostics.report.facts import Column, Contradiction, Example, FeatureFacts, GroupLevels, ReportData, RunFacts
from genz_ppl.diagnostics.report.steps import steps_of
from genz_ppl.inference.feature_effects import FeatureEffects, feature_effects, mean_changes
from genz_ppl.inference.group_table import group_effects
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws
from genz_ppl.models.features import mean_rates
from genz_ppl.types import GOLD, FloatArray

EXAMPLES = 3
MOST_CONTRADICTIONS = 50
MOST_BINS = 24
LONGEST_TEXT = 1500


def report_contents(train: FittedItems, test: FittedItems, facts: RunFacts) -> ReportData:
    """The contents of a report on a fit: of the training items, and of the test items with their prior as posterior."""
    likelihood = train.state.model.likelihood
    draws = report_draws(train)
    kind = kind_of(likelihood)
    columns = _columns(train, test, draws)
    sure = replace(train, state=draws.state)
    contradicted = contradicted_answers(train)
    examples = _Examples(train, facts.texts)
    answers = train.votes.numpy()
    return ReportData(
        facts=facts,
        kind=kind,
        link=str(train.state.model.link.name),
        unit="" if kind == "numbers" else train.state.model.effect_unit,
        metric=str(facts.curve["metric"].iloc[-1]),
        target_names=train.target_names,
        covariate_names=train.covariate_names,
        varying=train.varying,
        groups=_groups(train),
        item_ids={"train": train.item_ids, "test": test.item_ids},
        features=_features(train, kind, facts.features, examples),
        steps=steps_of(facts.curve, facts.features),
        contradictions=tuple(
            Contradiction(examples.of(str(row["item"])), str(row["feature"]), int(row["answer"]), float(row["q"]))
            for row in contradicted.head(MOST_CONTRADICTIONS).to_dict("records")
        ),
        n_contradictions=len(contradicted),
        n_answers=int(np.isfinite(answers).sum()),
        n_unanswered=int(np.isnan(answers).sum()),
        columns=columns,
        classes={side: _classes(part, columns, side) for side, part in (("train", train), ("test", test))},
        check=predictive_check(shown_items(train), draws),
        coverage={} if kind == "classes" else {"train": coverage(sure), "test": coverage(test.with_parameters_of(sure))},
    )


def _groups(train: FittedItems) -> GroupLevels | None:
    with isolated(train.seed):
        effects = group_effects(train.state, train.scaling, lambda: train)
    return None if effects is None else GroupLevels(train.levels, effects.level, effects.level_sd)


class _Examples:
    """Items as a reader sees them."""

    def __init__(self, fitted: FittedItems, texts: Mapping[str, str]) -> None:
        self.position = {name: row for row, name in enumerate(fitted.item_ids)}
        self.texts, self.fitted = texts, fitted

    def of(self, name: str) -> Example:
        text = self.texts.get(name, "")
        shown = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …"
        return Example(name, shown, self._target(self.position[name]))

    def _target(self, row: int) -> str:
        if len(self.fitted.target_names) > 1:
            return ""
        value = float(self.fitted.targets[row, 0])
        labels = self.fitted.class_names[0] if self.fitted.class_names else ()
        if np.isnan(value):
            return "missing"
        return labels[int(value)] if labels else f"{value:.5g}"


def _changes(train: FittedItems, effects: FeatureEffects, kind: str) -> FloatArray:
    """(K, L), what yes instead of no changes predictions by: the effects, where they are not on another scale."""
    if kind == "numbers" or not train.state.model.effect_unit:
        return effects.mean
    with isolated(train.seed):
        return mean_changes(train)


def _features(train: FittedItems, kind: str, table: pd.DataFrame, examples: _Examples) -> tuple[FeatureFacts, ...]:
    effects = feature_effects(train)
    changes, (effect, lower, upper) = _changes(train, effects, kind), effects.table
    q, errors = train.state.posterior.numpy(), train.state.answer_errors
    together = torch.from_numpy(errors.overall) if train.state.model.features.annotators else mean_rates(train.state.error_rates)
    rates, loose = errors.overall, together >= LOOSE
    apart, several = train.state.model.features.asymmetric, [name for name in train.raters if name != GOLD]
    gains = dict(zip(table.loc[table["active"], "text"], table.loc[table["active"], "gain"], strict=True))
    order = np.argsort(-effects.strength, kind="stable")
    found = []
    for number, k in enumerate(order.tolist(), start=1):
        ranked = np.argsort(-q[:, k], kind="stable")
        yes = [row for row in ranked[:EXAMPLES] if q[row, k] > 0.5]
        no = [row for row in ranked[::-1][:EXAMPLES] if q[row, k] <= 0.5]
        found.append(
            FeatureFacts(
                number=number,
                text=train.feature_texts[k],
                error_rate=float(rates[k]),
                prevalence=float(q[:, k].mean()),
                gain=float(gains.get(train.feature_texts[k], float("nan"))),
                loose=bool(loose[k]),
                wrong=(float(errors.of_yes[k]), float(errors.of_no[k])) if apart else (),
                raters=tuple((name, float(train.state.error_rates[k, a])) for a, name in enumerate(several)),
                effect=float(effect[k]),
                lower=float(lower[k]),
                upper=float(upper[k]),
                effects=tuple(effects.mean[k].tolist()),
                effect_sd=tuple(effects.sd[k].tolist()),
                changes=tuple(changes[k].tolist()),
                yes=tuple(examples.of(train.item_ids[row]) for row in yes),
                no=tuple(examples.of(train.item_ids[row]) for row in no),
            )
        )
    return tuple(found)


def _columns(train: FittedItems, test: FittedItems, draws: PosteriorDraws) -> tuple[Column, ...]:
    actual, predicted = {}, {}
    shown = train.state.model.likelihood.comparable(shown_items(train).targets).numpy()
    for side, items in (("train", train), ("test", test)):
        actual[side], predicted[side] = predicted_targets(items)
    found, counts = [], kind_of(train.state.model.likelihood) == "counts"
    for position, name in enumerate(train.column_names):
        y = shown[:, position]
        there = ~np.isnan(y)
        edges = _edges(y[there], counts)
        drawn = np.stack([np.histogram(draw, edges)[0] for draw in draws.replicated[:, there, position]]).astype(np.float64)
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        found.append(
            Column(
                name=name,
                actual={side: values[:, position] for side, values in actual.items()},
                predicted={side: values[:, position] for side, values in predicted.items()},
                edges=edges,
                observed=np.histogram(y[there], edges)[0].astype(np.float64),
                drawn=drawn.mean(axis=0),
                low=low,
                high=high,
            )
        )
    return tuple(found)


def _edges(values: FloatArray, counts: bool) -> FloatArray:
    """Edges of bins: one for each value where there are few whole numbers, else up to 24 of equal width (counts: a whole one)."""
    low, high = float(values.min()), float(values.max())
    if counts:
        width = (high - low) // MOST_BINS + 1
        return np.arange(low - 0.5, high + width, width)
    if bool((values == np.round(values)).all()) and high - low < MOST_BINS:
        return np.arange(low - 0.5, high + 1.0)
    edges: FloatArray = np.linspace(low, high, 1 + min(MOST_BINS, max(5, round(2 * len(values) ** 0.4))))
    return edges


def _classes(items: FittedItems, columns: Sequence[Column], side: str) -> tuple[ClassTarget, ...]:
    """Targets that are classes, with what was predicted; none where they are not."""
    likelihood = items.state.model.likelihood
    if kind_of(likelihood) != "classes":
        return ()
    actual, predicted = (np.stack([getattr(one, what)[side] for one in columns], axis=1) for what in ("actual", "predicted"))
    return tuple(class_targets(likelihood, actual, predicted, items.target_names, items.class_names))
