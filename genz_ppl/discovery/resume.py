"""`resume`: go on with a run that was stopped, of `discover` or of `baseline`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim

from genz_ppl.alone import alone
from genz_ppl.discovery.baseline import BaselineRun
from genz_ppl.discovery.discover import finished
from genz_ppl.discovery.edit.edited_run import EditedRun
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.service import Service
from genz_ppl.discovery.watch import OnAnswers, OnStep, Watchers
from genz_ppl.errors import OptionError
from genz_ppl.inference.blockwise.last_fit import check_fit_in_blocks
from genz_ppl.llm.base import FoundationModel
from genz_ppl.settings import AUTO


def resume(
    out: str | Path,
    items: Any,
    model: str | FoundationModel | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    model_settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool | None = None,
    store: str | Path | None = None,
    loss: ELBO | None = None,
    optim: PyroOptim | None = None,
    annotators: Sequence[str | FoundationModel] | None = None,
) -> Discovery:
    """Go on where the run in the folder `out` was stopped, be it of `discover` or of `baseline`, to the end it would have had.

    items: the same Items or table as before (checked). model: needed when the run was given an object. model_settings: fields of
    `ModelSettings` to change, such as caps, limits and workers; what decides the answers cannot change. device: where to go on,
    if not where the run was begun. store: another file of answers. loss, optim: to be given again where the run was given
    them. annotators: all of them in their order, where some were objects.
    Raises RunDirectoryError for a run that is not known as the user's own and asks for code to run, for a server, prompts or a
    store of its choice; giving model=, model_settings= with base_url or prompts, or store= as it has them confirms that.
    """
    directory = RunDirectory(Path(out))
    with alone(directory.path):
        record = directory.record()
        record.check_settings(directory.path)
        settings = record.settings if device is None else replace(record.settings, device=device)
        items = record.own_items(items, f"the run in {directory.path}")
        for name, was, value in (("loss", record.loss, loss), ("optim", record.optim, optim)):
            if was is not None and value is None:
                raise OptionError(f"{name}: the run was given {was}, which no folder holds; pass it again as {name}=")
        # A run that chooses between likelihoods or links begins with the first: it may have been stopped before its first step.
        opened = replace(settings, likelihood=AUTO) if record.by_tails else settings
        opened = replace(opened, link=AUTO) if record.by_folds else opened
        problem = Problem(items, record.split_of(items), opened, loss, optim, record.raters)
        check_fit_in_blocks(problem.data, problem.levels, settings.engine, settings.scheduler, settings.blocks)
        run = MiningRun(problem) if record.baseline is None else BaselineRun(problem, record.baseline)
        if record.edits and record.status != "done":
            run = EditedRun(problem, record.edits)
        state = run.load(directory) or run.start()
        service = Service.recorded(record, directory, model, {**(model_settings or {}), "store": store, "annotators": annotators})
        record = service.changed(record.changed(settings=run.settings))
        run.model = service.open(record, directory, False, state.counters, items)
        return finished(run, state, record, directory, Watchers(on_step, on_answers, progress))
