"""`cooccur`: the features of two sets of items that explain what happens between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from genz_ppl.alone import alone
from genz_ppl.data import Items
from genz_ppl.data.pair_files import OPENERS
from genz_ppl.data.pairs import pairs_from_frame, read_pairs
from genz_ppl.discovery.pairs.folder import PairDirectory
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.pairs.result import CoOccurrenceRun, given_models
from genz_ppl.discovery.pairs.search import Searcher
from genz_ppl.discovery.pairs.stages import PairRun, load_searches
from genz_ppl.discovery.pairs.watch import PairDisplay, PairWatchers
from genz_ppl.discovery.run import trust
from genz_ppl.discovery.run.drive import drive
from genz_ppl.discovery.run.record import PairRecord
from genz_ppl.discovery.run.service import make_settings, model_of, name_of
from genz_ppl.discovery.watch import Watchers
from genz_ppl.errors import OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.store.places import located
from genz_ppl.setting_fields import check_number
from genz_ppl.settings import BY_HAND, DiscoverSettings, PairSettings
from genz_ppl.types import Pairs

# Settings of a search that the two-item model decides by itself.
_FIXED = ("model", "likelihood", "test_fraction")


def split_settings(settings: Mapping[str, Any]) -> tuple[PairSettings, dict[str, Any]]:
    """Settings of the two-item model and of its searches, which share link, error rate prior and seed.

    Raises OptionError for names that neither has and for values out of range.
    """
    of_pairs = set(PairSettings.__dataclass_fields__)
    of_search = set(DiscoverSettings.__dataclass_fields__) - set(_FIXED)
    unknown = [option for option in settings if option not in of_pairs | of_search]
    if unknown:
        raise OptionError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(of_pairs | of_search))}")
    chosen = PairSettings(**{name: value for name, value in settings.items() if name in of_pairs})
    search = {name: value for name, value in settings.items() if name in of_search}
    by_hand = search.get("inference", "auto") in BY_HAND and search.get("shortcuts", True)
    shared = {
        "error_rate_prior": chosen.error_rate_prior,
        "calibration": chosen.calibration if by_hand else 0.0,
        "shrinkage": chosen.shrinkage and by_hand,
        "error_rates": chosen.error_rates,
        **{name: search.get(name) for name in ("test_at_end", "suggestions")},
        "combine": search.get("combine", DiscoverSettings.combine),
    }
    return chosen, search | shared


def cooccur(
    rows: Items | Sequence[str],
    columns: Items | Sequence[str],
    pairs: Pairs | pd.DataFrame | str | Path,
    model: str | FoundationModel = "rules",
    *,
    column_model: str | FoundationModel | None = None,
    rounds: int = 2,
    test_fraction: float = 0.2,
    pair_fraction: float = 0.1,
    out: str | Path | None = None,
    store: str | Path | None = None,
    model_settings: ModelSettings | Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    watchers: PairWatchers | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> CoOccurrenceRun:
    """Find yes/no questions about rows and columns that explain the values of their pairs (Appendix C).

    rows, columns: items, or only the ids of a side without descriptions, whose embeddings are free. pairs: row ids, column ids
    and values in the first three columns of a table or file (.csv, .tsv, .parquet), or positions and values as `Pairs`; pairs
    that are not listed are missing (`genz_ppl.data.pairs.with_absent` makes them zeros). model: asked about the rows, and about
    the columns unless column_model is given. rounds: of searching both sides and fitting them to the pairs together; a
    decoupled fit has one. test_fraction: the share of the items of each described side that is kept out; pair_fraction: of the
    pairs of the others. out: a new folder for the run directory. source: where it all was read from, noted in the run
    directory. progress: whether to show where the run is; None: on a terminal and in a notebook, where no watchers are given.
    settings: fields of `PairSettings` (dimensions, likelihood, fit, guide, ...) and, for the searches, of
    `DiscoverSettings` (cycles, add, screen, ...).
    Raises InputError and OptionError before anything is asked, and what `discover` raises.
    """
    chosen, search = split_settings(settings)
    check_number("rounds", rounds, 1)
    problem = PairProblem.of(rows, columns, as_pairs(pairs, rows, columns), chosen.seed, test_fraction, pair_fraction)
    problem.check(chosen.likelihood)
    models = (model, model if column_model is None else column_model)
    searcher = Searcher(make_settings(models[0], search), models, model_settings, store)
    for number, side in enumerate(problem.sides):
        if side.items is not None:
            searcher.service(number)
    directory = None if out is None else PairDirectory(Path(out))
    record = trust.with_id(
        PairRecord.new(
            pairs=len(problem.pairs),
            settings=chosen,
            search=search,
            models=(name_of(models[0]), name_of(models[1])),
            rounds=rounds,
            test_fraction=test_fraction,
            pair_fraction=pair_fraction,
            source=None if source is None else dict(source),
            pair_columns=_pair_columns(pairs, source or {}),
            model_settings=model_settings.to_dict() if isinstance(model_settings, ModelSettings) else model_settings,
            store=None if store is None else located(store),
            fingerprint=problem.fingerprint(),
            split=problem.ids,
        )
    )
    with alone(None if directory is None else directory.path):
        if directory is not None:
            directory.create(record)
        return _finished(problem, searcher, None, directory, record, watchers, progress)


def resume_cooccur(
    out: str | Path,
    rows: Items | Sequence[str],
    columns: Items | Sequence[str],
    pairs: Pairs | pd.DataFrame | str | Path,
    model: str | FoundationModel | None = None,
    column_model: str | FoundationModel | None = None,
    model_settings: Mapping[str, Any] | None = None,
    watchers: PairWatchers | None = None,
    progress: bool | None = None,
    store: str | Path | None = None,
) -> CoOccurrenceRun:
    """Go on where the run in the folder `out` was stopped, to the same end. The data are checked to be the same.

    model, column_model: where the run was given objects. model_settings: fields of `ModelSettings` to change, such as caps.
    store: another file of answers. What a folder that is not known as the user's own asks for is confirmed as in `resume`.
    """
    directory = PairDirectory(Path(out))
    with alone(directory.path):
        record = directory.record()
        problem = PairProblem.recorded(rows, columns, as_pairs(pairs, rows, columns), record, directory.path)
        record.check_settings(directory.path)
        changes = {**(model_settings or {}), "store": store}
        trust.check(record, directory.path, {"model": model, "column_model": column_model, **changes})
        given = given_models(record, model, column_model)
        models = (model_of(record.models[0], given[0]), model_of(record.models[1], given[1], "column_model"))
        record = _continued(record, models, changes)
        directory.write_record(record)
        searcher = Searcher(make_settings(models[0], record.search), models, record.model_settings, record.store)
        return _finished(problem, searcher, given, directory, record, watchers, progress)


def _continued(
    record: PairRecord, models: tuple[str | FoundationModel, str | FoundationModel], changes: Mapping[str, Any]
) -> PairRecord:
    """The record of a run that goes on, which makes it the user's own."""
    given = {name: value for name, value in changes.items() if value is not None}
    store = given.pop("store", record.store)
    served = record.opened_with(given)
    return trust.own(
        record.changed(
            models=(name_of(models[0]), name_of(models[1])),
            model_settings=None if served is None else served.to_dict(),
            store=None if store is None else located(store),
        )
    )


def as_pairs(pairs: Pairs | pd.DataFrame | str | Path, rows: Items | Sequence[str], columns: Items | Sequence[str]) -> Pairs:
    """Pairs of a table or file, their ids matched to those of both sides. Raises InputError as `read_pairs`."""
    if isinstance(pairs, Pairs):
        return pairs
    ids = [side.ids if isinstance(side, Items) else side for side in (rows, columns)]
    return pairs_from_frame(pairs, ids[0], ids[1]) if isinstance(pairs, pd.DataFrame) else read_pairs(pairs, ids[0], ids[1])


def _pair_columns(pairs: Pairs | pd.DataFrame | str | Path, source: Mapping[str, Any]) -> list[str] | None:
    """The names of the columns of ids, rows first; None where there are none."""
    if isinstance(pairs, pd.DataFrame):
        return [str(name) for name in pairs.columns[:2]]
    path = source.get("pairs") if isinstance(pairs, Pairs) else pairs
    if path is None or not (file := Path(path).expanduser()).is_file():
        return None
    columns, _ = OPENERS[file.suffix.lower()](file, source.get("pair_columns"))
    return columns[:2]


def _finished(
    problem: PairProblem,
    searcher: Searcher,
    given: tuple[str | FoundationModel | None, str | FoundationModel | None] | None,
    directory: PairDirectory | None,
    record: PairRecord,
    watchers: PairWatchers | None,
    shown: bool | None,
) -> CoOccurrenceRun:
    """The run to its end. given: the models of a run that goes on; shown: whether there is a display, if nobody watches."""
    with PairDisplay(shown if watchers is None else False, first="factorising the pairs") as display:
        told = display.watchers if watchers is None else watchers
        searcher = replace(searcher, watchers=Watchers(told.on_step, told.on_answers))
        run = PairRun(problem, record.settings, searcher, record.rounds, directory, told.on_epoch)
        progress = run.start()
        if directory is not None and given is not None:
            progress = run.load(directory) or progress
            load_searches(progress, directory, run.stages[: progress.stage], given, {})
        record = drive(run, progress, record, directory, told.on_stage)
    found = CoOccurrenceRun(progress, record, directory, problem)
    if directory is not None:
        found.write_tables()
    return found
