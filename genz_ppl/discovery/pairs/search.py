"""The features of one side: a discovery run whose targets are the side's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genz_ppl.discovery.discover import finished
from genz_ppl.discovery.pairs.problem import PairProblem, PairSide
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.folder import RUN_FILE, RunDirectory
from genz_ppl.discovery.run.likelihood_choice import GAUSSIAN
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.run.service import Service
from genz_ppl.discovery.watch import Watchers
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.given_pairs import embedding_given_pairs
from genz_ppl.inference.pairs.side import Side
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.budget import CapReachedError
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

# With fewer training items there is nothing to contrast.
FEWEST_ITEMS = 4
# Entries that vary by less than this share of the one that varies most are no targets: the pairs say nothing there.
SMALLEST_SPREAD = 0.01


@dataclass(frozen=True)
class Searcher:
    """How both sides are searched. models: of rows and columns; model_settings, store: of a served one."""

    settings: DiscoverSettings
    models: tuple[str | FoundationModel, str | FoundationModel]
    model_settings: ModelSettings | Mapping[str, Any] | None = None
    store: str | Path | None = None
    watchers: Watchers = field(default_factory=Watchers)

    def service(self, number: int, spent_elsewhere: Counters | None = None) -> Service:
        """The model of rows (0) or columns (1), not opened yet. spent_elsewhere: by the other side, whose caps are the same ones.

        Raises BudgetError where that leaves nothing.
        """
        model = self.models[number]
        if not is_served(model):
            return Service.of(model, None, None)
        given = self.model_settings
        settings = given.to_dict() if isinstance(given, ModelSettings) else dict(given or {})
        return Service.of(model, settings | _left(settings, spent_elsewhere or Counters()), self.store)

    def search(
        self,
        problem: PairProblem,
        number: int,
        state: PairState,
        searches: Sequence[Discovery | None],
        directory: RunDirectory | None,
    ) -> Discovery | None:
        """The features of a side, from those of its last search on; None where there is nothing to search among.

        searches: the last of each side. A directory that holds a search already is gone on with.
        """
        side = problem.sides[number]
        if side.items is None or len(side.train) < FEWEST_ITEMS:
            return None
        targets, names = embedding_targets(problem, number, state)
        items = side.with_targets(targets, names)
        last, other = searches[number], searches[1 - number]
        settings = replace(self.settings, likelihood=GAUSSIAN)  # embeddings have no noise to speak of
        search = Problem(items, items.split_indices(settings.seed), settings)
        run = MiningRun(search, previous=None if last is None else last.progress)
        fresh = directory is None or not (directory.path / RUN_FILE).exists()
        service = self.service(number, None if other is None else other.progress.counters)
        record = search.record(source=None, **service.noted)
        progress = None
        if directory is not None and fresh:
            directory.create(record)
        elif directory is not None:
            record = service.changed(directory.record())
            progress = run.load(directory)
        progress = progress or run.start()
        run.model = service.open(record, directory, fresh, progress.counters, items)
        return finished(run, progress, record, directory, self.watchers)


def _left(settings: Mapping[str, Any], spent: Counters) -> dict[str, Any]:
    """The caps that are set, less what was spent."""
    used = {"max_cost": spent.cost, "max_calls": spent.calls, "max_tokens": spent.tokens_in + spent.tokens_out}
    left = {name: settings[name] - amount for name, amount in used.items() if settings.get(name) is not None and amount > 0}
    for name, amount in left.items():
        if amount <= 0:
            raise CapReachedError(f"the cap {name} of {settings[name]} is reached by the search of the other side", name)
    return left


def embedding_targets(problem: PairProblem, number: int, state: PairState) -> tuple[FloatArray, tuple[str, ...]]:
    """(N, E') embeddings of a side's items and the names of the entries that vary.

    Test items, whose pairs nothing is fitted to, are folded in, without a word from their features: it is what a search scores
    itself on. Those without pairs are missing.
    """
    side, embedding, other = problem.sides[number], state.embeddings[number], state.embeddings[1 - number]
    targets = np.full((len(side.ids), embedding.mean.shape[1]), np.nan)
    targets[side.train] = embedding.mean.numpy()
    if len(side.test):
        with isolated(0):
            blank = Side.blank(embedding)
        items, others, values = _test_pairs(problem, number)
        nothing = torch.zeros(len(side.test), 0, dtype=torch.float64)
        folded = embedding_given_pairs(
            state.model, blank.predict(nothing, nothing), items, others, values, other, rows=number == 0
        )
        known = np.unique(items.numpy())
        targets[side.test[known]] = folded.mean.numpy()[known]
    spread = targets[side.train].std(axis=0)
    chosen = np.flatnonzero(spread >= max(SMALLEST_SPREAD * spread.max(), 1e-12))
    names = [f"dimension_{entry}" if entry else "bias" for entry in range(targets.shape[1])]
    return targets[:, chosen], tuple(names[entry] for entry in chosen)


def _test_pairs(problem: PairProblem, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of a test item of this side and a training item of the other, at positions among those."""
    side, other = problem.sides[number], problem.sides[1 - number]
    parts = problem.part("new_rows" if number == 0 else "new_columns")
    mine, theirs = parts[number], parts[1 - number]
    return _places(side, side.test)[mine], _places(other, other.train)[theirs], parts[2]


def _places(side: PairSide, chosen: np.ndarray) -> torch.Tensor:
    places = np.full(len(side.ids), -1, dtype=np.int64)
    places[chosen] = np.arange(len(chosen))
    return torch.from_numpy(places)


def spent(searches: list[Discovery | None]) -> Counters:
    """What was asked in the last search of each side, which counts on from those before it."""
    total = Counters()
    for run in searches:
        for name, value in vars(run.progress.counters).items() if run is not None else ():
            setattr(total, name, getattr(total, name) + value)
    return total
