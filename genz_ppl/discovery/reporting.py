"""What a report needs of a run: its fit on both sides of the split, its tables, its scores beside those of guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from genz_ppl.data import Items
from genz_ppl.diagnostics.checks import measured
from genz_ppl.diagnostics.confirmed import confirmed_words
from genz_ppl.diagnostics.measures import kind_of, measures
from genz_ppl.diagnostics.report.contents import report_contents
from genz_ppl.diagnostics.report.facts import ReportData, RunFacts
from genz_ppl.diagnostics.summary import Ceiling
from genz_ppl.discovery.ceiling import ceiling_of
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.target_checks import explained
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import InputError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.llm.similarity.embedding import missing, open_encoder


def ceiling_beside(test: FittedItems, items: Items, record: RunRecord, n_steps: int) -> Ceiling | None:
    """The ceiling of a run of so many steps on these items; test: its test items. See `ceiling_of`."""
    encode = open_encoder().directions if missing() is None else None
    with isolated(test.seed):
        predicted = predictive_mean(test.state, test.scaling, test.answers, test.covariates, test.seed)
    targets, kind = explained(items, record.settings.direction), kind_of(test.state.model.likelihood)
    return ceiling_of(items, record.split_of(items), targets, predicted, kind, test.seed, n_steps, encode)


def noted_ceiling(run: RunView, items: Items | None, n_steps: int) -> Ceiling | None:
    """The same, or what the run's folder notes of it, where it is noted when first made. items: as the run was given them."""
    directory = run.directory
    noted = None if directory is None else directory.noted("ceiling")
    if noted is not None or items is None or not any(item.fields for item in items):
        return None if noted is None else Ceiling(**noted)
    found = ceiling_beside(run.fitted(items, "test"), items, run.record, n_steps)
    if directory is not None and found is not None:
        directory.note("ceiling", asdict(found))
    return found


def gather(run: RunView, items: Items | None = None, baseline: Sequence[tuple[int, float]] | None = None) -> ReportData:
    """The contents of a report. items: those of the run, None for what it knows of them; baseline: (n_features, test error)."""
    train, test, given = run.fitted(items), run.fitted(items, "test"), items
    wanted, items = {*train.item_ids, *test.item_ids}, run.items if items is None else items
    facts = RunFacts(
        data_name=items.name,
        features=run.features,
        curve=run.curve,
        texts={item.id: item.text for item in items if item.id in wanted},
        scores={"train": measured(train), "test": measured(test), **_guesses(train, test)},
        settings=asdict(run.record.settings),
        versions=run.record.versions,
        status=run.status if run.status == "done" else run.record.status,
        baseline=tuple((int(count), float(error)) for count, error in baseline or ()),
        summary=run.summary,
        ceiling=run.ceiling,
        rest=run.record.rest,
        **_fresh(run, given, kind_of(test.state.model.likelihood) == "numbers" and len(test.column_names) == 1),
    )
    return report_contents(train, test, facts)


def _fresh(run: RunView, items: Items | None, numbers: bool) -> dict[str, Any]:
    """What a report says of items that chose no question; nothing where they are too few, or the run is not at its end.

    numbers: whether there is one target of numbers, whose effects are given; of others it is what the answers alone tell.
    """
    if run.status != "done" or not run.features["active"].any():
        return {}
    try:
        table = run.effects(items=items) if numbers else run.effects(error_rate_prior=None, items=items)
    except InputError:
        return {}
    known = table[table["effect"].notna()] if numbers else table.iloc[:0]
    effects = zip(known["feature"], known[["effect", "lower", "upper"]].itertuples(index=False, name=None), strict=True)
    return {"confirmed": tuple(confirmed_words(table)), "fresh": dict(effects)}


def _guesses(train: FittedItems, test: FittedItems) -> dict[str, dict[str, float]]:
    """Scores of always predicting the mean of the training items (where y is a class, the shares of the classes)."""
    likelihood = train.state.model.likelihood
    mean = np.nanmean(likelihood.comparable(train.targets).numpy(), axis=0)
    found = {}
    for side, part in (("guess_train", train), ("guess_test", test)):
        targets = likelihood.comparable(part.targets).numpy()
        found[side] = measures(likelihood, targets, np.broadcast_to(mean, targets.shape))
    return found
