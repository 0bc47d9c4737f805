"""What a fit says about its own questions and answers, and whether data drawn from it look like the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.diagnostics.measures import kind_of, measures
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws, held_out_draws
from genz_ppl.inference.prediction import predict, predictive_mean
from genz_ppl.types import GOLD, AnswerErrors, FloatArray

# At p_e = 0.5 an answer says nothing about its feature; from here on the feature has left its wording behind.
LOOSE = 0.3
LEVELS = (0.5, 0.9)


def loose_features(fitted: FittedItems, draws: PosteriorDraws) -> pd.DataFrame:
    """Features that have cut loose from their wording: p_e of at least 0.3, or a 95 % interval that reaches 0.5."""
    rates = draws.error_rates if draws.error_rates.ndim == 2 else draws.error_rates.mean(2)  # 0.5: answers say nothing
    if learned := sum(name != GOLD for name in fitted.raters):
        rates = np.stack([AnswerErrors.together(one[:, :learned], one[:, 0]).overall for one in draws.error_rates])
    mean, upper = rates.mean(0), np.quantile(rates, 0.975, axis=0)
    table = pd.DataFrame({"feature": fitted.feature_texts, "p_e": mean, "upper": upper})
    chosen = table[(table["p_e"] >= LOOSE) | (table["upper"] >= 0.5)]
    return chosen.sort_values("p_e", ascending=False, kind="stable").reset_index(drop=True)


def contradicted_answers(fitted: FittedItems) -> pd.DataFrame:
    """Answers that the posterior holds to be wrong, the surest first: item, feature, answer, q."""
    answers, q = fitted.votes.numpy(), fitted.state.posterior.numpy()
    rows, columns = np.nonzero(((answers == 1) & (q < 0.5)) | ((answers == 0) & (q > 0.5)))
    table = pd.DataFrame(
        {
            "item": [fitted.item_ids[row] for row in rows],
            "feature": [fitted.feature_texts[column] for column in columns],
            "answer": answers[rows, columns].astype(int),
            "q": q[rows, columns],
        }
    )
    order = np.argsort(-np.abs(table["q"].to_numpy() - 0.5), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def predicted_targets(fitted: FittedItems) -> tuple[FloatArray, FloatArray]:
    """Targets in the form of predictions, and predictions, (T, L) each."""
    with isolated(fitted.seed):
        predicted = predictive_mean(fitted.state, fitted.scaling, fitted.answers, fitted.covariates, fitted.seed)
    return fitted.state.model.likelihood.comparable(fitted.targets).numpy(), predicted


def measured(fitted: FittedItems) -> dict[str, float]:
    """How well the items are predicted: see `genz_ppl.diagnostics.measures.measures`."""
    return measures(fitted.state.model.likelihood, *predicted_targets(fitted))


def coverage(fitted: FittedItems, levels: Sequence[float] = LEVELS) -> dict[float, float]:
    """Share of target entries inside the central predictive intervals of these levels; features averaged over."""
    targets = fitted.state.model.likelihood.comparable(fitted.targets).numpy()
    there = ~np.isnan(targets)
    found = {}
    for level in levels:
        with isolated(fitted.seed):
            outcome = predict(fitted.state, fitted.scaling, fitted.answers, fitted.covariates, fitted.seed, level)
        inside = (targets >= outcome.lower) & (targets <= outcome.upper)
        found[level] = float(inside[there].mean()) if there.any() else float("nan")
    return found


def predictive_check(fitted: FittedItems, draws: PosteriorDraws) -> pd.DataFrame:
    """How often data drawn from the model exceed the data in mean, sd, smallest and largest value, by target; of classes
    in the share of the items that have it, the mean.

    p: the share of draws with a larger value; near 0 or 1 the model does not make data like these.
    """
    targets = fitted.state.model.likelihood.comparable(fitted.targets)
    rows, classes = [], kind_of(fitted.state.model.likelihood) == "classes"
    for column, target in enumerate(fitted.column_names):
        observed = targets[:, column].numpy()
        there = ~np.isnan(observed)
        drawn = draws.replicated[:, there, column]
        for name, statistic in list(_STATISTICS.items())[: 1 if classes else None]:
            value = float(statistic(observed[there]))
            replicated = statistic(drawn, axis=1)
            p = float((replicated > value).mean() + 0.5 * (replicated == value).mean())
            rows.append({"target": target, "statistic": name, "observed": value, "drawn": float(replicated.mean()), "p": p})
    return pd.DataFrame(rows)


_STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "sd": np.std, "smallest": np.min, "largest": np.max}


def held_out_log_likelihood(draws: PosteriorDraws, items: FittedItems) -> float:
    """Mean over items that were not fitted of log p(y | h, x), everything uncertain averaged over."""
    _, density = held_out_draws(draws, items)
    largest = density.max(axis=0)
    each = largest + np.log(np.exp(density - largest).mean(axis=0))
    return float(each.mean())
