"""A search on votes of the United Nations ends: it neither goes round nor goes on after a round that changed nothing."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from genz_ppl import Items, cooccur
from genz_ppl.data.pairs import pairs_from_frame
from genz_ppl.discovery.pairs.watch import PairWatchers
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.settings import DiscoverSettings

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@dataclass
class Search:
    """What is seen of one search: the features in use after each step before its end, with the round of the step."""

    progress: Progress
    settings: DiscoverSettings
    steps: list[tuple[int, frozenset[str]]] = field(default_factory=list)

    def rounds(self) -> list[frozenset[str]]:
        """The features before the first round, and after each."""
        before = frozenset(record.text for record in self.progress.features if record.added_at == 0)
        return [before, *dict(self.steps).values()]

    def readded(self) -> list[str]:
        """The wordings that came back after a cut more than once before the end."""
        changes = itertools.pairwise([self.rounds()[0], *(used for _, used in self.steps)])
        added = [text for before, after in changes for text in after - before]
        first = self.rounds()[0]
        return [text for text in set(added) if added.count(text) + (text in first) > 2]


@pytest.mark.slow
def test_no_search_goes_round(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tables = importlib.import_module("cooccurrence_data").un_votes(data_folder / "un-votes")
    rows = tables.rows[tables.rows["year"].between(2005, 2010)]
    calls, countries = (Items.from_frame(one, id="id", require_target=False) for one in (rows, tables.columns))
    pairs = tables.pairs[tables.pairs["id_row"].isin(rows["id"])]
    searches: list[Search] = []

    def watch(progress: Progress, settings: DiscoverSettings) -> None:
        if not searches or searches[-1].progress is not progress:
            searches.append(Search(progress, settings))
        if not progress.settled and progress.status == "running":
            searches[-1].steps.append((progress.cycle, frozenset(record.text for record in progress.active)))

    cooccur(calls, countries, pairs_from_frame(pairs, calls.ids, countries.ids), watchers=PairWatchers(on_step=watch))
    assert len(searches) == 4  # either side, twice
    for search in searches:
        assert search.readded() == []
        rounds, progress = search.rounds(), search.progress
        unchanged = [number for number, (before, after) in enumerate(itertools.pairwise(rounds), 1) if before == after]
        # A round that changes nothing is the last one, and but for one that finds nothing only limits end a search before it.
        assert set(unchanged) <= {len(rounds) - 1}
        limited = len(rounds) - 1 == search.settings.cycles or progress.failures >= search.settings.patience
        assert unchanged or limited
    assert any(len(search.rounds()) > 3 for search in searches)
