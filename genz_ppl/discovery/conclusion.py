"""What is known at the end of a run only: what each feature is worth now and does, and how all of them do beside none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz_ppl.diagnostics.class_measures import class_measures, class_targets
from genz_ppl.diagnostics.measures import exact, kind_of, r2, score
from genz_ppl.diagnostics.summary import LARGER_IS_BETTER, NAN, Summary
from genz_ppl.discovery.prediction_table import unit_of
from genz_ppl.discovery.run.progress import Progress, unpack
from genz_ppl.inference.engines.choose import steps_of
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.feature_effects import feature_effects
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.judge import judge_of
from genz_ppl.inference.worth.optimism import optimism
from genz_ppl.inference.worth.prune import removals
from genz_ppl.models import Likelihood
from genz_ppl.types import Numbers

# Resamples of the test items behind the interval of the improvement; fewer where they are many.
RESAMPLES, FEWEST_RESAMPLES, MANY_ITEMS = 1000, 200, 5000
# Test items below which there is no interval.
FEWEST_ITEMS = 5
# Of so many test items fewer are drawn, and the interval is narrower by the root of their share; of so many training items models
# without one feature are fitted one by one.
LARGE, DRAWN = 200_000, 20_000
Sides = list[tuple[Numbers, Numbers]]


def note_gains(progress: Progress, state: State, data: Data, steps: int) -> None:
    """What the bound would lose without each feature, the others refitted, in nats: the model's own, of which that of the model
    that ranks removals may be far; with a network or uncertain weights, whose refits tell training noise, that one's.

    state, data: the run's model, and all that it is fitted to."""
    own = state.model.link.adds_up and state.uncertainty is None
    judge, judged = (state, data) if own else judge_of(state, data, steps)
    steps, active = steps_of(judge.model, steps), progress.active
    whole = refit(judge.copy(), judged, steps).total
    # Of many items one after the other: each state is as large as the model's.
    groups = [[k] for k in range(len(active))] if len(data.targets) > LARGE else [None]
    bounds = (bound for group in groups for bound in _bounds_without(judge, judged, steps, group))
    for record, bound in zip(active, bounds, strict=True):
        record.gain = whole - bound


def _bounds_without(state: State, data: Data, steps: int, features: list[int] | None) -> list[float]:
    """The bounds alone: what was fitted to them is let go."""
    return [removal.bound for removal in removals(state, data, steps, features=features)]


def widen_noise(progress: Progress, data: Data, seed: int, state: State | None = None) -> float:
    """Give the model the noise of new items, not that of the items which its questions were chosen on; their `optimism`.

    state: another fit of the run's questions to these data; None: the run's own.
    """
    state, columns = progress.state if state is None else state, [unpack(entry) for entry in progress.pool.values()]
    ratio = optimism(state, data, np.stack(columns, axis=1), seed) if columns else 1.0
    state.model.likelihood.widen(ratio)
    return ratio


def note_effects(
    progress: Progress,
    fitted: FittedItems,
    targets: Numbers,
    predicted: Numbers,
    whole: tuple[State, Data] | None = None,
) -> None:
    """Effects and their intervals; over several columns the size in standard deviations, and the column that moves most.

    targets, predicted: (U, L) of the test items: a column that is not explained there is none that a feature moves. whole: see
    `feature_effects`.
    """
    found, names = feature_effects(fitted, whole), fitted.column_names
    progress.unit = unit_of(fitted.state.model, fitted.class_names)
    several = range(len(names) if len(names) > 1 else 0)
    explained = [column for column in several if r2(targets[:, [column]], predicted[:, [column]]) > 0]
    for k, (record, *values) in enumerate(zip(progress.active, *found.table, strict=True)):
        record.effect, record.effect_lower, record.effect_upper = map(float, values)
        if explained:
            most = max(explained, key=lambda column: abs(found.mean[k, column] / found.spread[column]))
            record.strongest, record.strongest_effect = names[most], float(found.mean[k, most])


def summarise(
    found: Sides, blank: Sides, n_features: int, metric: str, seed: int, likelihood: Likelihood | None = None
) -> Summary:
    """The errors of a run beside those of the same model without a question, and of guessing.

    found, blank: of either model, targets and predictions, (T, L) each, of training and of test items. likelihood: the run's, of
    which it is known whether y is a class.
    """
    (y_train, train), (y, test) = found
    without = blank[1][1]
    guess = np.broadcast_to(np.nanmean(y_train, axis=0), y.shape)
    beside = (score(y, without, metric), score(y, guess, metric), score(y, test, "r2"))
    gained = improvement(y, test, without, metric, seed)
    outcome = Summary(n_features, metric, score(y, test, metric), score(y_train, train, metric), *beside, *gained)
    kind = "numbers" if likelihood is None else kind_of(likelihood)
    if likelihood is None or kind != "classes":
        return replace(outcome, r2_without=score(y, without, "r2")) if kind == "numbers" else outcome
    own, guessed = (class_measures(class_targets(likelihood, *exact(y, values))) for values in (test, guess))
    return replace(outcome, accuracy=own["accuracy"], guess_accuracy=guessed["accuracy"], auc=own["auc"])


def improvement(targets: Numbers, predicted: Numbers, without: Numbers, metric: str, seed: int) -> tuple[float, float, float]:
    """By how much predictions, (T, L), are better than others for the same targets, and a 90 % interval of it.

    A share of the other error; of a cosine similarity or R2 the difference. The same items are drawn for both. No interval of
    fewer than `FEWEST_ITEMS`, whose draws are all much the same.
    """
    n_items = len(targets)
    if n_items == 0:
        return NAN, NAN, NAN
    found = _better(targets, predicted, without, metric)
    if n_items < FEWEST_ITEMS:
        return found, NAN, NAN
    random = np.random.default_rng([seed, n_items])
    times = RESAMPLES if n_items <= MANY_ITEMS else FEWEST_RESAMPLES
    size = n_items if n_items < LARGE else DRAWN
    drawn = (random.integers(0, n_items, size) for _ in range(times))
    values = np.array([_better(targets[rows], predicted[rows], without[rows], metric) for rows in drawn])
    values = values[np.isfinite(values)]
    if size < n_items:
        values = found + (values - found) * (size / n_items) ** 0.5
    lower, upper = np.quantile(values, [0.05, 0.95]) if len(values) else (NAN, NAN)
    return found, float(lower), float(upper)


def _better(targets: Numbers, predicted: Numbers, without: Numbers, metric: str) -> float:
    one, other = score(targets, predicted, metric), score(targets, without, metric)
    if metric in LARGER_IS_BETTER:
        return one - other
    return 1 - one / other if other > 0 else 0.0 if one == other else NAN
