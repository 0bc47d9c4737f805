"""A run while it is under way: two lines and a bar on a terminal's stderr or in a notebook, elsewhere one line a step."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.steps import duration, last_change, planned_steps, position, step_entry, step_line
from genz_ppl.llm.annotators import AnnotatorsModel
from genz_ppl.llm.base import FoundationModel
from genz_ppl.output import printable
from genz_ppl.settings import DiscoverSettings

OnStep = Callable[[Progress, DiscoverSettings], None]
OnAnswers = Callable[[int, int], None]
# One line to be told, and one to be logged.
Tell = Callable[[str], None]
# Seconds between two looks at a run in a notebook.
_PAUSE = 0.25


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


class Watched:
    """A view that is shown while a block runs. shown: None for where stderr is a terminal, and in a notebook.

    tell: is given lines of words where nothing is shown; log: JSON objects.
    """

    _lines: list[str]

    def __init__(self, shown: bool | None = None, tell: Tell | None = None, log: Tell | None = None) -> None:
        self.shown = (in_notebook() or sys.stderr.isatty()) if shown is None else shown
        self._tell, self._log = None if self.shown else tell, log
        self._live: Live | None = None
        self._cell, self._seen = None, 0.0

    def __enter__(self) -> Self:
        if self.shown and in_notebook():  # rich would need the widgets of another package there
            self._cell = import_module("IPython.display").display(self._page(), raw=True, display_id=True)
        elif self.shown:
            self._live = Live(console=Console(stderr=True), get_renderable=self.view, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.look(0.0)
        with suppress(OSError):  # the terminal may be gone
            if self._live is not None:
                self._live.stop()

    def look(self, pause: float = _PAUSE) -> None:
        """In a notebook, show what is there now, unless that was done `pause` seconds ago. Terminals need no call."""
        if self._cell is not None and time.monotonic() - self._seen >= pause:
            self._seen = time.monotonic()
            self._cell.update(self._page(), raw=True)

    def say(self, line: str, entry: str) -> None:
        """Look, then tell the line and log the entry."""
        self.look()
        if self._tell is not None:
            self._tell(line)
        if self._log is not None:
            self._log(entry)

    def view(self) -> Group:
        """What is on the screen now."""
        raise NotImplementedError

    def _page(self) -> dict[str, str]:
        console = Console(file=StringIO(), width=100, force_jupyter=False, color_system=None)
        with console.capture() as captured:
            console.print(self.view())
        text = captured.get().rstrip()
        return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}


class Display(Watched):
    """Shows every step of a run; pass it as `on_step` and use it as a context.

    shown, tell, log: see `Watched`, after every step. clock: seconds, for the times. first: what happens before the first step.
    """

    def __init__(
        self,
        shown: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        first: str = "reading the data",
        tell: Tell | None = None,
        log: Tell | None = None,
    ) -> None:
        super().__init__(shown, tell, log)
        self._clock, self._start = clock, clock()
        self._first: tuple[int, float] | None = None
        self._steps = self._planned = 0
        self._lines, self._answers = [first, ""], ""

    def __call__(self, progress: Progress, settings: DiscoverSettings) -> None:
        self._steps, self._planned = progress.step, planned_steps(settings)
        if self._first is None:
            self._first = (progress.step, self._clock())
        self._lines = [position(progress, settings), last_change(progress)]
        self._answers = ""
        self.say(step_line(progress, settings), step_entry(progress, settings))

    def answers(self, known: int, wanted: int) -> None:
        """What a served model has answered of the present questions; pass it as `on_answers`."""
        self._answers = f"answers: {known:,} of {wanted:,}".replace(",", " ")
        self.look()

    def time_left(self) -> float | None:
        """Seconds at the pace so far, if every planned step is taken; None before the first step is over."""
        if self._first is None or self._steps <= self._first[0]:
            return None
        done, seconds = self._steps - self._first[0], self._clock() - self._first[1]
        return max(self._planned - self._steps, 0) * seconds / done

    def view(self) -> Group:
        """What is on the screen now."""
        bar = Table.grid(padding=(0, 1))
        left = self.time_left()
        shown_left = "" if left is None else f"at most {duration(left)} left"
        steps = ProgressBar(max(self._planned, 1), min(self._steps, self._planned), width=30)
        bar.add_row(steps, f"{duration(self._clock() - self._start)} elapsed", shown_left)
        return Group(
            *(Text(printable(line), overflow="ellipsis", no_wrap=True) for line in (*self._lines, self._answers) if line), bar
        )


@dataclass(frozen=True)
class Watchers:
    """Who is told of a run's progress: after every step, and while a served model is asked.

    progress: whether to show it; None: in a notebook and on a terminal, unless somebody else is told.
    """

    on_step: OnStep | None = None
    on_answers: OnAnswers | None = None
    progress: bool | None = False

    @contextmanager
    def displayed(self) -> Iterator[Watchers]:
        """Those who are told while a block runs, a display among them where one is wanted."""
        nobody = self.on_step is None and self.on_answers is None
        with Display(False if self.progress is None and not nobody else self.progress, first="asking the model") as display:
            told = Watchers(_both(display, self.on_step), _both(display.answers, self.on_answers))
            yield told if display.shown else self

    def step(self, progress: Progress, settings: DiscoverSettings) -> None:
        """After every step."""
        if self.on_step is not None:
            self.on_step(progress, settings)

    def watch(self, model: FoundationModel) -> None:
        """Have a model that counts its answers report to `on_answers`."""
        if self.on_answers is None:
            return
        if isinstance(model, AnnotatorsModel):
            model.watch(self.on_answers)
        elif hasattr(model, "progress"):
            model.progress = self.on_answers


def _both(first: Callable[..., None], second: Callable[..., None] | None) -> Callable[..., None]:
    def told(*arguments: Any) -> None:
        first(*arguments)
        if second is not None:
            second(*arguments)

    return told
