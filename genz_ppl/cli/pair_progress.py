"""A run on two sides while it is under way: stage, what happens in it, and a bar, on a terminal's stderr only."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genz_ppl.cli.progress import duration

if TYPE_CHECKING:
    from types import TracebackType

    from genz_ppl.discovery.pairs.run import PairWatchers
    from genz_ppl.discovery.pairs.runner import PairProgress
    from genz_ppl.discovery.run.records import Progress
    from genz_ppl.settings import DiscoverSettings


class PairDisplay:
    """Use as a context, and hand `watchers` to the run. shown: by default where stderr is a terminal."""

    def __init__(self, shown: bool | None = None) -> None:
        self.shown = sys.stderr.isatty() if shown is None else shown
        self._start, self._done, self._of = time.monotonic(), 0, 1
        self._lines = ["reading the data", ""]
        self._live = Live(console=Console(stderr=True), get_renderable=self.view, transient=True, refresh_per_second=4)

    def __enter__(self) -> PairDisplay:
        if self.shown:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # the terminal may be gone
            if self.shown:
                self._live.stop()

    @property
    def watchers(self) -> PairWatchers:
        """What a run calls."""
        from genz_ppl.discovery.pairs.run import PairWatchers

        return PairWatchers(self.stage, self.epoch, self.step, self.answers)

    def stage(self, progress: PairProgress) -> None:
        """After a stage."""
        self._lines = [f"{progress.stage} stages done", ""]
        self._done, self._of = 0, 1

    def epoch(self, done: int, of: int, bound: float) -> None:
        """After an epoch of a fit."""
        self._done, self._of = done, of
        self._lines[1] = f"fitting embeddings, epoch {done} of {of}, bound {bound:.6g}"

    def step(self, progress: Progress, settings: DiscoverSettings) -> None:
        """After a step of a search."""
        self._done, self._of = progress.cycle, settings.cycles
        self._lines[1] = f"searching, cycle {progress.cycle} of {settings.cycles}, {len(progress.active)} features"

    def answers(self, known: int, wanted: int) -> None:
        """While a served model is asked."""
        self._done, self._of = known, max(1, wanted)

    def view(self) -> Group:
        """What is on the screen now."""
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(self._of, min(self._done, self._of), width=30), duration(time.monotonic() - self._start))
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in self._lines if line), bar)
