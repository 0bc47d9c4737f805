"""`cooccur` and `CoOccurrenceRun`: the features of two sets of items that explain what happens between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from genz_ppl.data import Items
from genz_ppl.data.pair_files import OPENERS
from genz_ppl.data.pairs import pairs_from_frame, read_pairs
from genz_ppl.discovery.discover import make_settings
from genz_ppl.discovery.pairs.directory import PairDirectory
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.pairs.progress import PairDisplay
from genz_ppl.discovery.pairs.record import (
    continued,
    given_models,
    make_record,
    recorded_models,
    recorded_problem,
    recorded_search,
    recorded_settings,
    split_settings,
)
from genz_ppl.discovery.pairs.result import CoOccurrenceRun
from genz_ppl.discovery.pairs.runner import OnStage, PairProgress, PairRunner, stages
from genz_ppl.discovery.pairs.search import Searcher
from genz_ppl.discovery.run.drive import status_after
from genz_ppl.discovery.run.service import OnAnswers, OnStep, Watchers
from genz_ppl.errors import RunDirectoryError
from genz_ppl.inference.pairs.fit import OnEpoch
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.settings import PairSettings, check_number
from genz_ppl.types import Pairs


@dataclass(frozen=True)
class PairWatchers:
    """Who is told: after every stage; of the epochs of a fit; and of the searches, as `Watchers`."""

    on_stage: OnStage | None = None
    on_epoch: OnEpoch | None = None
    on_step: OnStep | None = None
    on_answers: OnAnswers | None = None


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
    run: dict[str, Any] = {"rounds": rounds, "test_fraction": test_fraction, "pair_fraction": pair_fraction}
    run |= {"model_settings": model_settings, "store": store, "source": source}
    run["pair_columns"] = _pair_columns(pairs, source or {})
    record = make_record(problem, chosen, search, models, run)
    if directory is not None:
        directory.create(record)
    return _finish(problem, chosen, searcher, rounds, PairProgress(), directory, record, watchers, progress)


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
    record = directory.record()
    problem = recorded_problem(rows, columns, as_pairs(pairs, rows, columns), record, directory)
    settings = recorded_settings(record)
    given = {"model": model, "column_model": column_model}
    record = continued(record, directory, given, {**(model_settings or {}), "store": store})
    models = recorded_models(record, model, column_model)
    searcher = Searcher(make_settings(models[0], recorded_search(record)), models, record["model_settings"], record["store"])
    directory.write_record(record)
    state = PairProgress()
    directory.load_stage(state, settings)
    directory.load_searches(state, stages(settings, record["rounds"]), given_models(record, model, column_model))
    return _finish(problem, settings, searcher, record["rounds"], state, directory, record, watchers, progress)


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


def _finish(
    problem: PairProblem,
    settings: PairSettings,
    searcher: Searcher,
    rounds: int,
    progress: PairProgress,
    directory: PairDirectory | None,
    record: dict[str, Any],
    watchers: PairWatchers | None,
    shown: bool | None,
) -> CoOccurrenceRun:
    """From `progress` to the end; the directory says how it ended. shown: whether there is a display, if nobody watches."""
    try:
        with PairDisplay(shown if watchers is None else False, first="factorising the pairs") as display:
            told = display.watchers if watchers is None else watchers
            searcher = replace(searcher, watchers=Watchers(told.on_step, told.on_answers))
            PairRunner(problem, settings, searcher, rounds, directory, told.on_stage, told.on_epoch).run(progress)
    except BaseException as error:
        if directory is not None and not isinstance(error, RunDirectoryError):
            directory.set_status(status_after(error))
        raise
    run = CoOccurrenceRun(progress, {**record, "status": progress.status}, directory, problem)
    if directory is not None:
        run.write_tables()
    return run
