"""`discover` and `Discovery`: the questions that explain a table's target, as a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim

from genz_ppl.data import Items
from genz_ppl.discovery.matching import with_roles
from genz_ppl.discovery.mine.staircases import warn_of_staircases
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.drive import run_to_end, start
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.own_runs import OBJECT
from genz_ppl.discovery.run.record import (
    blank_model,
    check_same_items,
    make_record,
    recorded_settings,
    recorded_split,
)
from genz_ppl.discovery.run.records import Progress
from genz_ppl.discovery.run.runner import Runner
from genz_ppl.discovery.run.service import OnAnswers, OnStep, Service, Watchers
from genz_ppl.discovery.run.target_checks import check_training_targets
from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.models import name_of
from genz_ppl.settings import DIRECTION, PAPER, SCREENED, DiscoverSettings

if TYPE_CHECKING:
    pass


__all__ = ["Discovery", "changed", "discover", "finished", "make_settings", "resume"]


def discover(
    items: Items | pd.DataFrame,
    model: str | FoundationModel = "rules",
    *,
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

    items: Items, or a DataFrame whose columns are named as in `Items.from_frame` (target=, covariates=, text=, ...).
    model: "rules", "similarity", "table:FILE", several joined as in "rules+table:FILE", "openai:NAME", "package.module:object",
    or an object with answer, propose and suggest.
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
    chosen = make_settings(model, settings)
    service = Service.of(model, model_settings, store)
    if items.targets is None:
        raise InputError(f"{items.name}: has no target column; pass target= (--target on the command line)")
    split = items.split_indices(chosen.seed, chosen.test_fraction)
    check_training_targets(items, split)
    runner = Runner(items, split, chosen, loss, optim)
    directory = None if out is None else RunDirectory(Path(out))
    if directory is not None:
        directory.check_free()
    record = make_record(runner, source, service.settings, service.store, keep_texts)
    opened = service.open(record, directory, items=items)
    if directory is not None:
        directory.create(record)
    return finished(runner, opened, start(runner), record, directory, Watchers(on_step, on_answers, progress))


def resume(
    out: str | Path,
    items: Items,
    model: str | FoundationModel | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    model_settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool | None = None,
    store: str | Path | None = None,
    loss: ELBO | None = None,
    optim: PyroOptim | None = None,
) -> Discovery:
    """Go on where the run in the folder `out` was stopped, to the same end as if it had not been.

    items: the same items as before (checked). model: needed when the run was given an object. model_settings: fields of
    `ModelSettings` to change, such as caps, limits and workers; what decides the answers cannot change. device: where to go on,
    if not where the run was begun. store: another file of answers. Raises what `genz_ppl.resume` raises.
    """
    directory = RunDirectory(Path(out))
    record = directory.record()
    settings = recorded_settings(record, directory, device=device)
    check_same_items(items, record, f"the run in {directory.path}")
    split = recorded_split(record, items)
    for name, value in (("loss", loss), ("optim", optim)):
        if record.get(name) is not None and value is None:
            raise OptionError(f"{name}: the run was given {record[name]}, which no folder holds; pass it again as {name}=")
    runner = Runner(items, split, settings, loss, optim)
    state = directory.load(blank_model(record)) or start(runner)
    service = Service.recorded(record, directory, model, {**(model_settings or {}), "store": store})
    record = changed(record, settings, service)
    opened = service.open(record, directory, False, state.counters, items)
    return finished(runner, opened, state, record, directory, Watchers(on_step, on_answers, progress))


def make_settings(model: str | FoundationModel, settings: dict[str, Any]) -> DiscoverSettings:
    """Checked settings. Raises OptionError for unknown names and values out of range."""
    name = model if isinstance(model, str) else f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}"
    known = set(DiscoverSettings.__dataclass_fields__) - {"model"}
    unknown = [option for option in settings if option not in known]
    if unknown:
        raise OptionError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}")
    if "likelihood" in settings:
        settings = {**settings, "likelihood": name_of(settings["likelihood"])}
    presets = (PAPER if settings.get("paper") else {}) | (DIRECTION if settings.get("direction") else {})
    chosen = DiscoverSettings(model=name, **(presets | settings))
    return chosen if chosen.screen is not None else replace(chosen, screen=SCREENED if is_served(name) else 0)


def changed(record: dict[str, Any], settings: DiscoverSettings, service: Service) -> dict[str, Any]:
    """The run.json of a run that goes on with what may differ from its start: the device, and how its model is opened."""
    return service.changed({**record, "settings": {**record["settings"], "device": settings.device}})


def finished(
    runner: Runner,
    model: FoundationModel,
    progress: Progress,
    record: dict[str, Any],
    directory: RunDirectory | None,
    watchers: Watchers,
) -> Discovery:
    """The run from `progress` to its end: see `running.run_to_end`."""
    record = run_to_end(runner, model, progress, record, directory, watchers)
    warn_of_staircases(runner.items, [one.text for one in progress.active])
    return Discovery(progress, record, model, directory, runner.items)
