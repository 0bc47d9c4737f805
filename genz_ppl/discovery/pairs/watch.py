"""A run on two sides while it is under way: stage, what happens in it, and a bar."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genz_ppl.discovery.pairs.states import PairProgress
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.steps import duration, step_entry, step_line
from genz_ppl.discovery.watch import OnAnswers, OnStep, Tell, Watched
from genz_ppl.inference.pairs.fit import OnEpoch
from genz_ppl.output import plural
from genz_ppl.settings import DiscoverSettings

OnStage = Callable[[PairProgress], None]


@dataclass(frozen=True)
class PairWatchers:
    """Who is told: after every stage; of the epochs of a fit; and of the searches, as `Watchers`."""

    on_stage: OnStage | None = None
    on_epoch: OnEpoch | None = None
    on_step: OnStep | None = None
    on_answers: OnAnswers | None = None


class PairDisplay(Watched):
    """Use as a context, and hand `watchers` to the run. shown, tell, log: see `Watched`, after every stage and step."""

    def __init__(
        self,
        shown: bool | None = None,
        first: str = "reading the data",
        tell: Tell | None = None,
        log: Tell | None = None,
    ) -> None:
        super().__init__(shown, tell, log)
        self._start, self._done, self._of = time.monotonic(), 0, 1
        self._lines = [first, ""]

    @property
    def watchers(self) -> PairWatchers:
        """What a run calls."""
        return PairWatchers(self.stage, self.epoch, self.step, self.answers)

    def stage(self, progress: PairProgress) -> None:
        """After a stage."""
        self._lines = [f"{progress.stage} stages done" if progress.stage else self._lines[0], ""]
        self._done, self._of = 0, 1
        line = f"stage {progress.stage} of both sides is {'the last' if progress.status == 'done' else 'done'}"
        self.say(line, json.dumps({"event": "stage", "stage": progress.stage, "status": progress.status}))

    def epoch(self, done: int, of: int, bound: float) -> None:
        """After an epoch of a fit."""
        self._done, self._of = done, of
        self._lines[1] = f"fitting embeddings, epoch {done} of {of}, bound {bound:.6g}"
        self.look()

    def step(self, progress: Progress, settings: DiscoverSettings) -> None:
        """After a step of a search."""
        self._done, self._of = progress.cycle, settings.cycles
        self._lines[1] = f"searching, cycle {progress.cycle} of {settings.cycles}, {plural(len(progress.active), 'feature')}"
        self.say(step_line(progress, settings), step_entry(progress, settings))

    def answers(self, known: int, wanted: int) -> None:
        """While a served model is asked."""
        self._done, self._of = known, max(1, wanted)
        self.look()

    def view(self) -> Group:
        """What is on the screen now."""
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(self._of, min(self._done, self._of), width=30), duration(time.monotonic() - self._start))
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in self._lines if line), bar)
