"""A run from a step boundary to its end, shown on the way: what every way to begin or go on with one ends in."""

from __future__ import annotations

from genz_ppl.discovery.gold import warn_of_unused
from genz_ppl.discovery.mine.staircases import warn_of_staircases
from genz_ppl.discovery.run.drive import drive
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.items import write_items
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.watch import Watchers


def carried_out(
    run: MiningRun, progress: Progress, record: RunRecord, directory: RunDirectory | None, watchers: Watchers
) -> RunRecord:
    """The record of the run at its end; `progress` goes there in place: see `drive`."""
    items, settings = run.problem.items, run.settings
    assert run.model is not None
    if directory is not None:
        write_items(directory, items, run.problem.levels, record.keep_texts)
    with watchers.displayed() as told:
        told.watch(run.model)
        record = drive(run, progress, record, directory, lambda current: told.step(current, settings))
    warn_of_unused(progress.gold, [one.text for one in progress.active])
    warn_of_staircases(items, [one.text for one in progress.active])
    return record
