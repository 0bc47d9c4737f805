"""A step of a run in a line of words, and as plain values for a log that programs read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from genz_ppl.diagnostics.report.words import metric_words, number
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.output import plural
from genz_ppl.settings import DiscoverSettings

_DISCARDED_SHOWN = 3
_VERBS = {"add": "found", "prune": "pruned", "discard": "discarded", "final": "done"}
# Of the learning curve, what a log entry says of the model as it stands.
_FITTED = ("n_features", "bound", "train_error", "test_error", "metric")


def planned_steps(settings: DiscoverSettings) -> int:
    """The steps of a run in which no cycle ends early: additions, updates, refinements, cuts and the turn of each cycle."""
    return settings.cycles * (settings.add + settings.updates + settings.refinements + settings.cut + 1)


def duration(seconds: float) -> str:
    """ "0:07", "12:30", "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def position(progress: Progress, settings: DiscoverSettings) -> str:
    """Where a run is and how well its model does."""
    row = progress.curve[-1]
    metric = metric_words(row["metric"])
    return (
        f"cycle {progress.cycle} of {settings.cycles}, {plural(len(progress.active), 'feature')}, {metric}: "
        f"train {number(row['train_error'])}" + ("" if math.isnan(row["test_error"]) else f", test {number(row['test_error'])}")
    )


def last_change(progress: Progress) -> str:
    """The last wording that came or went."""
    for row in reversed(progress.curve):
        if row["event"] in ("add", "prune"):
            return f"{_VERBS[row['event']]}: {row['feature']}"
    return ""


def step_line(progress: Progress, settings: DiscoverSettings) -> str:
    """ "step 3 of at most 80, cycle 1 of 10, 2 features, rmse: train 0.1, test 0.2; 43 calls; 0:12; found: it is red"."""
    counters, rows = progress.counters, _rows(progress)
    cost = f", {counters.cost:.2g} dollars" if counters.cost > 0 else ""
    asked = f"; {counters.calls} call{'' if counters.calls == 1 else 's'}{cost}" if counters.tokens_in else ""
    changed = [
        f"; {_VERBS[row['event']]}{': ' * bool(row['feature'])}{row['feature']}" for row in rows if row["event"] != "discard"
    ]
    if discarded := [row["feature"] for row in rows if row["event"] == "discard"]:
        more = len(discarded) - _DISCARDED_SHOWN
        changed.append(f"; discarded: {', '.join(discarded[:_DISCARDED_SHOWN])}" + f" and {more} more" * (more > 0))
    if progress.step == 0 and progress.likelihood == "student_t":  # a run that may choose starts with another one
        changed.append("; the noise has heavy tails: begun again with --likelihood student_t")
    most = max(planned_steps(settings), progress.step)
    where = f"step {progress.step} of at most {most}, {position(progress, settings)}"
    return f"{where}{asked}; {duration(progress.seconds)}{''.join(changed)}"


def step_entry(progress: Progress, settings: DiscoverSettings) -> str:
    """One JSON object in ASCII: step, changes, how well the model does, what was asked so far; null for what is not known."""
    row = progress.curve[-1]
    entry: dict[str, Any] = {"event": "step", "step": progress.step, "at_most": max(planned_steps(settings), progress.step)}
    entry |= {"cycle": progress.cycle, "cycles": settings.cycles, "status": progress.status}
    entry["changes"] = [{"event": each["event"], "feature": each["feature"]} for each in _rows(progress)]
    entry |= {name: row[name] for name in _FITTED}
    entry |= {**asdict(progress.counters), "seconds": round(progress.seconds, 3)}
    return json.dumps({name: _plain(value) for name, value in entry.items()})


def _rows(progress: Progress) -> list[dict[str, Any]]:
    """What happened in the last step."""
    return [row for row in progress.curve if row["step"] == progress.step and row["event"] in _VERBS]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
