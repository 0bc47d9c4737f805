"""`discover`: the questions that explain a table's target, as a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim

from genz_ppl.alone import alone
from genz_ppl.data import Items
from genz_ppl.data.frames import in_python
from genz_ppl.discovery.gold import gold_pool
from genz_ppl.discovery.matching import with_roles
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.carry import carried_out
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.run.raters import raters_of
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.sampling import sampled
from genz_ppl.discovery.run.service import Service, make_settings
from genz_ppl.discovery.run.target_checks import check_training_targets
from genz_ppl.discovery.watch import OnAnswers, OnStep, Watchers
from genz_ppl.errors import InputError
from genz_ppl.inference.blockwise.last_fit import check_fit_in_blocks
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.table import TableModel
from genz_ppl.settings import DiscoverSettings

__all__ = ["Discovery", "begin", "discover", "finished"]


def discover(
    items: Any,
    model: str | FoundationModel | None = None,
    *,
    annotators: Sequence[str | FoundationModel] = (),
    gold: pd.DataFrame | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    model_settings: ModelSettings | Mapping[str, Any] | None = None,
    source: str | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    progress: bool | None = None,
    keep_texts: bool = False,
    loss: ELBO | None = None,
    optim: PyroOptim | None = None,
    **settings: Any,
) -> Discovery:
    """Find the yes/no questions that explain the targets of `items`.

    items: Items, or a table in memory (see `Items.from_frame`) whose columns are named by target=, covariates=, text=, ...
    model: "rules", "similarity", "phrases", "table:FILE", several joined as in "rules+table:FILE", "openai:NAME",
    "package.module:object", or an object with answer, propose and suggest; None: the first of the annotators, else "rules".
    annotators: who answers, each with error rates of its own, while `model` proposes; the caps hold over all together. gold:
    labels by people, a row each with id, question and answer (yes or no): the truth about training items, where their question
    is found.
    out: a new folder for the run directory, which also keeps the answers; without it nothing is written. keep_texts: whether
    it also keeps what a model read of the items, so that a report made from it alone shows more than their ids.
    model_settings: how openai:NAME is called (`ModelSettings` or some of its fields: caps, base_url, ...). store: the file
    of answers that runs with such a model share, by default in the user's cache folder. source: what `items` was read
    from, noted in the run directory so that the command line can resume. on_step: called after every step;
    on_answers: called with (answers known, answers wanted) while a served model is asked. progress: whether to show where the
    run is; None: on a terminal and in a notebook, unless on_step or on_answers is given.
    loss, optim: what `pyro.infer.SVI` trains the guides of svi and structured with (any ELBO for discrete sites, any of
    `pyro.optim`); None: `TraceLocalExpectation_ELBO` and `GuideOptimiser`. To be given again to resume.
    settings: link, likelihood, inference, algorithm, cycles, add, cut, max_features, seed, test_fraction, device and the rest
    of `DiscoverSettings`.
    Raises InputError and OptionError before any question is asked; ModelError when the model fails (the run can be
    resumed from `out`), BudgetError at a cap (with a higher one it can be resumed) and StoreError.
    """
    items, settings = with_roles(items, settings)
    model = next(iter(annotators), "rules") if model is None else model
    chosen = make_settings(model, settings, annotators)
    service, watchers = Service.of(model, model_settings, store, annotators), Watchers(on_step, on_answers, progress)
    given = {"loss": loss, "optim": optim, "gold": gold}
    return begin(MiningRun, items, chosen, service, out, watchers, **given, source=source, keep_texts=keep_texts)


def begin(
    kind: Callable[[Problem], MiningRun],
    items: Items,
    settings: DiscoverSettings,
    service: Service,
    out: str | Path | None,
    watchers: Watchers,
    loss: ELBO | None = None,
    optim: PyroOptim | None = None,
    gold: pd.DataFrame | None = None,
    **noted: Any,
) -> Discovery:
    """A run of a kind from its start to its end. noted: what its record says besides."""
    if items.targets is None:
        raise InputError(f"{items.name}: has no target column; pass target= (--target on the command line)")
    with nullcontext() if noted.get("source") else in_python():
        split = items.split_indices(settings.seed, settings.test_fraction, settings.honest)
    raters = raters_of(service.names, gold is not None)
    split = sampled(split, settings, items.schema, raters) if kind is MiningRun else split
    check_training_targets(items, split)
    run = kind(Problem(items, split, settings, loss, optim, raters))
    if gold is not None:
        sides = [[items.ids[t] for t in side] for side in (split.train, split.test, split.held)]
        run.gold, noted["gold"] = gold_pool(gold, sides[0], chain(*sides[1:])), True
    check_fit_in_blocks(run.problem.data, run.problem.levels, settings.engine, settings.scheduler, settings.blocks)
    directory = None if out is None else RunDirectory(Path(out))
    if directory is not None:
        directory.check_free()
    record = run.problem.record(**noted, **service.noted)
    run.model = service.open(record, directory, items=items)
    for one in getattr(run.model, "models", (run.model,)):  # several joined are looked at one by one
        if isinstance(one, TableModel):
            one.check_items(items.items)
    with alone(None if directory is None else directory.path):
        if directory is not None:
            directory.create(record)
        return finished(run, run.start(), record, directory, watchers)


def finished(
    run: MiningRun, progress: Progress, record: RunRecord, directory: RunDirectory | None, watchers: Watchers
) -> Discovery:
    """The run from `progress` to its end: see `carried_out`."""
    record = carried_out(run, progress, record, directory, watchers)
    return Discovery(progress, record, run.model, directory, run.problem.items)
