from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from genz_ppl.cli.demo import learning_curve
from genz_ppl.cli.tables import number
from genz_ppl.data import Items
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.watch import Display, duration, planned_steps
from genz_ppl.settings import DiscoverSettings


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def seen(display: Display) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(display.view())
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


@pytest.mark.slow
def test_the_display_says_where_the_run_is(frame: pd.DataFrame) -> None:
    clock = Clock()
    display = Display(shown=False, clock=clock)
    views: list[str] = []

    def on_step(*arguments: object) -> None:
        clock.now += 10
        display(*arguments)  # type: ignore[arg-type]
        views.append(seen(display))

    assert "reading the data" in seen(display)
    discover(Items.from_frame(frame, id="key", target="y"), on_step=on_step, cycles=2, add=2, cut=1)
    assert "cycle 1 of 2, 0 features, median absolute error: train" in views[0]
    assert "left" not in views[0]  # nothing to reckon from yet
    assert "cycle 1 of 2, 1 feature, median" in views[1]
    assert "found: " in views[1]
    assert "0:20 elapsed" in views[1]
    assert "at most 1:10 left" in views[1]  # 7 of 8 steps at 10 seconds each
    assert any("pruned: " in view for view in views)
    assert "found: " in views[2]
    assert all("test" in view and "nan" not in view for view in views)


def test_a_long_question_keeps_to_its_line(frame: pd.DataFrame) -> None:
    display = Display(shown=False)
    display._lines = ["cycle 1", "found: " + "x" * 500]
    assert len(seen(display).splitlines()) == 3


def test_the_plan_counts_every_step() -> None:
    assert planned_steps(DiscoverSettings(cycles=3, add=4, updates=1, refinements=2, cut=2)) == 30


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (7.4, "0:07"), (59.9, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_numbers() -> None:
    assert [number(value) for value in (float("nan"), 0.123456, 1e-6, 12345.6)] == ["-", "0.1235", "1e-06", "1.235e+04"]


@pytest.mark.parametrize("errors", [[8.0, 4.0, 0.0], [5.0], [0.0, 0.0], [float("nan"), 2.0, 1.0], [-0.5, 0.2, 0.9]])
def test_a_learning_curve_can_be_drawn_of_any_errors(errors: list[float]) -> None:
    curve = pd.DataFrame(
        {
            "event": ["start"] + ["add"] * (len(errors) - 1),
            "n_features": range(len(errors)),
            "test_error": errors,
            "metric": "rmse",
        }
    )
    assert len(learning_curve(curve).splitlines()) == 1 + len(errors)
