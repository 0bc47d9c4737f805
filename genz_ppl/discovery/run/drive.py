"""From a run's start to its end, with a folder that always holds the last step."""

from __future__ import annotations

from typing import Any

from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.items import write_items
from genz_ppl.discovery.run.record import metrics
from genz_ppl.discovery.run.records import Progress
from genz_ppl.discovery.run.runner import Runner
from genz_ppl.discovery.run.service import Watchers
from genz_ppl.errors import BudgetError, InputError, ModelError, OptionError, RunDirectoryError
from genz_ppl.inference.isolation import isolated
from genz_ppl.llm.base import FoundationModel


def start(runner: Runner, previous: Progress | None = None) -> Progress:
    """A run with no features yet, or with those of an earlier one on the same items."""
    # Isolated for the evaluation, too: it must leave nothing in the caller's parameter store.
    with isolated(runner.settings.seed):
        return runner.start(previous)


def run_to_end(
    runner: Runner,
    model: FoundationModel,
    progress: Progress,
    record: dict[str, Any],
    directory: RunDirectory | None,
    watchers: Watchers,
) -> dict[str, Any]:
    """Go on from `progress`, in place, to the end of a run, writing down every step; returns its record as it then stands.

    Raises what the model raises, after the state so far and why the run stopped are written.
    """

    def after_step(current: Progress) -> None:
        if directory is not None:
            directory.save(current, metrics(runner, current))
        if told.on_step is not None:
            told.on_step(current, runner.settings)

    try:
        if directory is not None:
            directory.write_record({**record, "status": progress.status})
            write_items(directory, runner.items, runner.levels, record.get("keep_texts", False))
        with watchers.displayed() as told:
            told.watch(model)
            after_step(progress)
            runner.run(progress, model, after_step)
    except BaseException as error:
        if directory is not None and not isinstance(error, RunDirectoryError):
            directory.set_status(status_after(error))
        if isinstance(error, InputError | OptionError):  # the user's were checked before: these come from the model
            raise ModelError(f"the foundation model failed: {error}") from error
        raise
    record = {**record, "status": progress.status}
    if directory is not None:
        directory.write_record(record)
    return record


def status_after(error: BaseException) -> str:
    """What run.json says of a run that this ended."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "stopped" if isinstance(error, BudgetError) else "failed"
