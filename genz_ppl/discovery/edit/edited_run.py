"""`EditedRun`: what is changed of a finished run, one change a step, and what is looked for beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import torch

from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.forms import Edit
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import UNASKED, Event, FeatureRecord, Progress, asked, pack, unpack
from genz_ppl.errors import GenzWarning
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.worth.candidates import extended, is_balanced
from genz_ppl.llm.base import FoundationModel


def locked_texts(edits: Iterable[Edit]) -> frozenset[str]:
    """Questions that are never pruned, after all edits."""
    found: set[str] = set()
    for edit in edits:
        found = (found | {*edit.lock}) - {*edit.unlock, *edit.gone}
    return frozenset(found)


def vetoed_texts(edits: Iterable[Edit]) -> frozenset[str]:
    """Questions that were taken out by people and do not come back by themselves."""
    found: set[str] = set()
    for edit in edits:
        found = (found | {*edit.gone}) - {*edit.added}
    return frozenset(found)


class EditedRun(MiningRun):
    """A `RunKind` that carries out the last of a run's edits. What was changed shows in the state: nothing is done twice."""

    def __init__(self, problem: Problem, edits: Iterable[Edit], model: FoundationModel | None = None) -> None:
        super().__init__(problem, model)
        self.edits = tuple(edits)

    def load(self, directory: RunDirectory) -> Progress | None:
        """The last step boundary; of a finished run, where the edit begins."""
        progress = super().load(directory)
        return progress if progress is None or progress.status != "done" else self.reopened(progress)

    def reopened(self, progress: Progress) -> Progress:
        """A finished run as one under way, in place: the model before its last fit, which may have told more than a step can."""
        with isolated(self.settings.seed), self.problem.threads():
            state, data = self.problem.blank(torch.from_numpy(progress.given()))
            bound = coordinate(state, data, self.settings.refit_steps)[-1].total
        progress.state, progress.bound, progress.best = state, bound, None
        progress.status, progress.settled, progress.outcome = "running", True, {}  # settled: no earlier model is gone back to
        progress.additions_done = progress.failures = progress.care = 0
        return progress

    def _begin(self, progress: Progress) -> Cycle:
        cycle = super()._begin(progress)
        cycle.locked, cycle.vetoed = locked_texts(self.edits), vetoed_texts(self.edits)
        return cycle

    def step(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """One change, one addition, one removal of what is not worth its place, or the end."""
        progress.step += 1
        edit = self.edits[-1]
        there = {record.text for record in progress.active}
        made = {record.text for record in progress.features if record.added_at > edit.step}  # maybe pruned since
        for text in edit.gone:
            if text in there - made:
                return self.take_out(progress, cycle, text)
        for text in edit.added:
            if text not in there | made and (events := self.take_in(progress, cycle, text)):
                return events
        if progress.additions_done < edit.mine:
            progress.additions_done += 1
            return cycle.add(progress)
        if not edit.mine:  # nobody has asked to prune
            cycle.locked = frozenset(there)
        return cycle.finish(progress)

    def take_out(self, progress: Progress, cycle: Cycle, text: str) -> list[Event]:
        """Without a question, the others refitted."""
        place = next(k for k, record in enumerate(progress.active) if record.text == text)
        progress.active[place].removed_at = progress.step
        progress.state = progress.state.with_columns([k for k in range(len(progress.active) + 1) if k != place])
        cycle.refit(progress)
        return [("prune", text)]

    def take_in(self, progress: Progress, cycle: Cycle, text: str) -> list[Event]:
        """With a question, which is asked about where it was not yet; none, with a warning, if all its answers are the same."""
        known = progress.pool.setdefault(text, np.full(len(cycle.items), UNASKED, dtype=np.int8))
        gaps = np.flatnonzero(~asked(known))
        if len(gaps):
            known[gaps] = pack(cycle.oracle.answer([cycle.items[t] for t in gaps.tolist()], [text])[:, 0])
        answers, share = unpack(known), self.settings.smallest_share
        if len(np.unique(answers[~np.isnan(answers)])) < 2:
            warnings.warn(f"{text!r}: has the same answer for all training items and was left out", GenzWarning, stacklevel=2)
            return []
        if not is_balanced(answers, share):
            many = f"is true of {np.nanmean(answers):.1%} of the training items"
            warnings.warn(f"{text!r}: {many}; its effect will be uncertain", GenzWarning, stacklevel=2)
        if not self.settings.test_at_end:
            cycle.test(progress, [text])
        before = progress.bound
        column = progress.layers_of([text]) if self.problem.raters else answers[:, None]
        progress.state = extended(progress.state, torch.from_numpy(column).to(self.problem.device))
        progress.features.append(FeatureRecord(f"f{len(progress.features) + 1}", text, "own", 0.0, progress.step))
        cycle.refit(progress)
        progress.features[-1].gain_when_added = progress.bound - before
        return [("add", text)]
