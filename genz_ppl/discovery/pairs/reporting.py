"""What a report needs of a run on two sides: features, affinities, scores and, where the pairs are at hand, predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items
from genz_ppl.diagnostics.checks import LOOSE
from genz_ppl.diagnostics.report.facts import Example
from genz_ppl.diagnostics.report.pair_facts import PairFeature, PairPoints, PairReportData, PairSideFacts
from genz_ppl.discovery.pairs.folder import SIDE_NAMES, stages
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.pairs.search import Searcher
from genz_ppl.discovery.pairs.stages import PairRun
from genz_ppl.discovery.pairs.states import PairProgress
from genz_ppl.discovery.run.record import PairRecord
from genz_ppl.errors import InputError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.prediction import pair_means
from genz_ppl.inference.pairs.result import weights_of
from genz_ppl.models.features import mean_rates
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

EXAMPLES = 3
LONGEST_TEXT = 1500
# Pairs of a part that are predicted for the charts, at most.
MOST_PREDICTED = 20_000
# Entries of run.json that are settings, besides those of the fit and the searches.
_OWN_SETTINGS = ("models", "rounds", "test_fraction", "pair_fraction")


class PairView(Protocol):
    """What a report reads of a run on two sides: `CoOccurrenceRun` is one, which see."""

    @property
    def record(self) -> PairRecord: ...
    @property
    def progress(self) -> PairProgress: ...
    @property
    def state(self) -> PairState: ...
    @property
    def features(self) -> pd.DataFrame: ...
    @property
    def affinity(self) -> pd.DataFrame: ...
    @property
    def ids(self) -> tuple[tuple[str, ...], tuple[str, ...]]: ...


def gather_pairs(
    run: PairView,
    described: tuple[Items | None, Items | None],
    problem: PairProblem | None = None,
) -> PairReportData:
    """The contents of a report. described: items, for their texts; problem: for predictions.

    Raises InputError for items that are not those of the run.
    """
    record = run.record
    (rows, order), (columns, other) = (_side(run, number, described[number]) for number in (0, 1))
    linear = all(weights_of(side) is not None for side in run.state.sides)
    stale = "stale" in (rows.state, columns.state)
    own = {name: getattr(record, name) for name in _OWN_SETTINGS}
    return PairReportData(
        rows=rows,
        columns=columns,
        n_pairs=record.pairs,
        likelihood=run.record.settings.likelihood,
        link=run.record.settings.link,
        affinity=run.affinity.to_numpy(dtype=np.float64)[np.ix_(order, other)] if order and other and linear else None,
        curve=pd.DataFrame(run.progress.curve),
        scores={part: {name: _number(value) for name, value in found.items()} for part, found in run.progress.scores.items()},
        points={} if problem is None or stale else _points(run, problem),
        settings={
            **own,
            **asdict(run.record.settings),
            **{f"search: {name}": value for name, value in sorted(record.search.items())},
        },
        versions=record.versions,
        status="done" if run.progress.status == "done" else record.status,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _side(run: PairView, number: int, items: Items | None) -> tuple[PairSideFacts, list[int]]:
    """A side, and the positions of its features in the order of the report."""
    name = SIDE_NAMES[number]
    split = run.record.split[name]
    texts = {} if items is None else {item.id: item.text for item in items}
    missing = [one for one in split.train + split.test if one not in texts] if items is not None else []
    if missing:
        raise InputError(
            f"{name}: {len(missing)} items of the run are not among those given, such as {missing[0]!r}; give them all"
        )
    state = _state(run, number)
    features, order = _features(run, number, texts) if state == "found" else ((), [])
    label = items.name if items is not None else _source_name(run.record, name)
    return PairSideFacts(name, label, len(split.train), len(split.test), state, features), order


def _source_name(record: PairRecord, name: str) -> str:
    """The file that a side was read from, if it was."""
    source = (record.source or {}).get(name)
    return Path(source).name if isinstance(source, str) else ""


def _state(run: PairView, number: int) -> str:
    """See `PairSideFacts`."""
    done = [what for what, _ in stages(run.record.settings, run.record.rounds)[: run.progress.stage]]
    search = run.progress.searches[number]
    if SIDE_NAMES[number] not in done:
        return "waiting"
    last_fit = max(position for position, what in enumerate(done) if what not in SIDE_NAMES)
    if SIDE_NAMES[number] in done[last_fit:]:
        return "stale"
    if search is None:
        return "undescribed"
    return "found" if search.progress.active else "none"


def _features(run: PairView, number: int, texts: Mapping[str, str]) -> tuple[tuple[PairFeature, ...], list[int]]:
    """Those of a side, the strongest first (where the link is not linear, those that raised the evidence most), and which."""
    side, ids = run.state.sides[number].state, run.ids[number]
    table = run.features
    table = table[(table["side"] == SIDE_NAMES[number]) & table["active"]]
    average, spread, bias = _added(run, number, len(table))
    q, rates = side.posterior.numpy(), side.answer_errors.overall
    loose = mean_rates(side.error_rates) >= LOOSE
    gains = table["gain"].to_numpy(dtype=np.float64)
    rank = np.where(np.isnan(average), np.nan_to_num(gains), np.hypot(average, spread))
    order: list[int] = np.argsort(-rank, kind="stable").tolist()
    found = []
    for place, k in enumerate(order, start=1):
        yes, no = _surest(q[:, k], ids, texts)
        found.append(
            PairFeature(
                number=place,
                text=str(table["text"].iloc[k]),
                average=float(average[k]),
                spread=float(spread[k]),
                bias=float(bias[k]),
                error_rate=float(rates[k]),
                prevalence=float(q[:, k].mean()),
                gain=float(gains[k]),
                loose=bool(loose[k]),
                yes=yes,
                no=no,
            )
        )
    return tuple(found), order


def _added(run: PairView, number: int, n_features: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What a yes adds to the location of a pair: mean and sd over the items of the other side, and the bias alone, (K,) each.

    The split of the mean into bias and the rest depends on where the other side's embeddings are centred; the mean does not.
    """
    weights = weights_of(run.state.sides[number])
    if weights is None:
        nothing = np.full(n_features, np.nan)
        return nothing, nothing, nothing
    other = run.state.embeddings[1 - number].mean.numpy()
    added = weights[:, :1] + weights[:, 1:] @ other[:, 1:].T
    return added.mean(axis=1), added.std(axis=1), weights[:, 0]


def _surest(q: FloatArray, ids: Sequence[str], texts: Mapping[str, str]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    ranked = np.argsort(-q, kind="stable").tolist()
    yes = [row for row in ranked[:EXAMPLES] if q[row] > 0.5]
    no = [row for row in ranked[::-1][:EXAMPLES] if q[row] <= 0.5]
    return tuple(_example(ids[row], texts) for row in yes), tuple(_example(ids[row], texts) for row in no)


def _example(name: str, texts: Mapping[str, str]) -> Example:
    text = texts.get(name, "")
    return Example(name, text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …", "")


def _points(run: PairView, problem: PairProblem) -> dict[str, PairPoints]:
    nobody = Searcher(DiscoverSettings(), ("rules", "rules"))  # nothing is searched
    pair_run = PairRun(problem, run.record.settings, nobody, 1)
    found = {}
    with isolated(run.record.settings.seed):
        rows, columns = pair_run.whole(run.progress, 0), pair_run.whole(run.progress, 1)
        for part in problem.split.parts():
            first, second, values = problem.part(part)
            chosen = torch.arange(0, len(values), max(1, -(-len(values) // MOST_PREDICTED)))
            if len(chosen):
                predicted = pair_means(run.state.model, rows, columns, first[chosen], second[chosen])
                found[part] = PairPoints(values[chosen, 0].numpy(), predicted)
    return found
