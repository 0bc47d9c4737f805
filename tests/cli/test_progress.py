from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from genz_ppl.cli.demo import learning_curve
from genz_ppl.cli.tables import number
from genz_ppl.data import Items
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.steps import duration, planned_steps
from genz_ppl.discovery.watch import Display
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


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_log_for_programs(genz: Any, fit: Any, table: Path) -> None:
    quiet = fit(table.name, "out", "--quiet", "--log-json", "log.jsonl")
    assert (quiet.code, quiet.err) == (0, "")
    assert "colour is red" in quiet.out
    found = entries(Path("log.jsonl").read_text())
    assert [entry["step"] for entry in found] == [0, 1, 2, 3]
    assert [entry["status"] for entry in found] == ["running"] * 3 + ["done"]
    assert [change["event"] for entry in found for change in entry["changes"]] == ["add", "add", "final"]
    assert {"feature": "colour is red", "event": "add"} in found[1]["changes"] + found[2]["changes"]
    curve = pd.read_csv("out/curve.csv").iloc[-1]
    assert {name: found[-1][name] for name in ("n_features", "answers_asked", "calls")} == {
        name: curve[name] for name in ("n_features", "answers_asked", "calls")
    }
    assert found[-1]["test_error"] == pytest.approx(curve["test_error"])
    assert fit(table.name, "second", "--quiet", "--log-json", "log.jsonl").code == 0  # to its end
    assert len(entries(Path("log.jsonl").read_text())) == 8


def test_a_log_on_stdout_is_all_that_is_there(genz: Any, fit: Any, table: Path) -> None:
    outcome = fit(table.name, "out", "--log-json", "-")
    assert outcome.code == 0
    assert [entry["event"] for entry in entries(outcome.out)] == ["step"] * 4
    lines = outcome.err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"genz: step {n} of at most 3" for n in range(4)]
    assert any(line.endswith("found: colour is red") for line in lines)
    asked = genz("baseline", table.name, "--id", "key", "--target", "y", "--out", "asked", "--questions", "3", "--log-json", "-")
    assert asked.code == 0
    assert entries(asked.out)[-1]["status"] == "done"


def test_a_log_that_cannot_be_written(fit: Any, table: Path) -> None:
    outcome = fit(table.name, "out", "--log-json", "nowhere/log.jsonl")
    assert outcome.code == 2
    assert outcome.message == (
        "genz: --log-json: nowhere/log.jsonl cannot be written (No such file or directory); name another file, or - for stdout"
    )
    assert not Path("out").exists()
    assert fit(table.name, "out", "--log-json", "log.jsonl", "--split", "none").code == 2
    assert not Path("log.jsonl").exists()  # nothing is left of a command that is refused


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
