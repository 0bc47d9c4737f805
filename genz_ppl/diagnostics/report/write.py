"""Writes a report: one HTML file that holds its data, its charts and the program that draws them, and loads nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from genz_ppl.diagnostics.checks import LEVELS
from genz_ppl.diagnostics.report.charts_run import charts, score_rows
from genz_ppl.diagnostics.report.facts import FeatureFacts, ReportData
from genz_ppl.diagnostics.report.page import check_page, needed, page_of, save_page, setting
from genz_ppl.diagnostics.report.steps import Step
from genz_ppl.diagnostics.report.words import (
    STOPPED,
    change,
    counted,
    metric_words,
    number,
    percent,
    shortened,
    summary,
    tiles,
    title,
    worth,
)
from genz_ppl.errors import OptionError
from genz_ppl.output import not_written

LARGEST_EFFECTS = 8
_EVENTS = {
    "start": "Before the first question",
    "add": "Added a question",
    "prune": "Took a question out",
    "update": "Exchanged a question",
    "return": "Back to the best list",
    "final": "Last fit",
}


def check_destination(path: Path, figures: str | Path | None = None) -> None:
    """Raise OptionError unless the report can be written to `path`, figures to that folder, and what it takes is installed."""
    for module in ("jinja2", "plotly", *(() if figures is None else ("matplotlib",))):
        needed(module)
    check_page(path)
    if figures is not None and Path(figures).exists() and not Path(figures).is_dir():
        raise OptionError(f"figures {figures}: expected a folder, found a file; choose another name")


def write_report(data: ReportData, path: Path) -> None:
    """Replace the file in one stroke. Raises OptionError where it cannot be written or a package of the extra is missing."""
    check_destination(path)
    save_page(render(data), path)


def write_figures(data: ReportData, folder: Path) -> None:
    """The charts for papers, as pdf and png. Raises OptionError where they cannot be written or matplotlib is missing."""
    needed("matplotlib")
    from genz_ppl.diagnostics.report.figures import save_figures

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_figures(data, folder)
    except OSError as error:
        raise not_written(f"figures {folder}", error) from None


def render(data: ReportData) -> str:
    """The report as HTML; the same for the same data."""
    drawn = charts(data)
    content = {
        "data": data,
        "title": title(data),
        "summary": summary(data),
        "tiles": tiles(data),
        "stopped": "" if data.facts.status == "done" else STOPPED.get(data.facts.status, STOPPED["running"]),
        "one": len(data.columns) == 1,
        "strongest": max((feature.strength for feature in data.features), default=1.0) or 1.0,
        "worth": lambda feature: worth(data, feature),
        "effect": _effect,
        "changes": [change(data, feature.changes[0]) for feature in data.features if data.unit and len(data.columns) == 1],
        "largest": lambda feature: _largest(data, feature),
        "effect_heading": _effect_heading(data),
        "effect_words": _effect_words(data),
        "discarded": _discarded(data),
        "scores": score_rows(data),
        "coverage": _coverage(data),
        "check_words": _check_words(data),
        "settings": [[name, setting(value)] for name, value in data.facts.settings.items()],
        "versions": [[name, str(value)] for name, value in data.facts.versions.items()],
    }
    return page_of("report.html.j2", content, drawn, _page_data(data))


def _page_data(data: ReportData) -> dict[str, Any]:
    texts = list(dict.fromkeys(text for step in data.steps for text in (*step.active, *step.removed)))
    place = {text: position for position, text in enumerate(texts)}
    steps = [
        {
            "words": _step_words(data, step),
            "active": [place[text] for text in step.active],
            "added": [place[text] for text in step.added],
            "removed": [place[text] for text in step.removed],
        }
        for step in data.steps
    ]
    return {"steps": steps, "texts": [shortened(text, 400) for text in texts]}


def _step_words(data: ReportData, step: Step) -> str:
    what = _EVENTS[step.event]
    if step.event == "add" and len(step.added) > 1:
        what = f"Added {counted(len(step.added), 'question')}"
    unseen = "" if math.isnan(step.test_error) else f"{number(step.test_error)} on unseen items, "
    errors = f"{unseen}{number(step.train_error)} on training items"
    return f"{what} (cycle {step.cycle}): {counted(len(step.active), 'question')}, {metric_words(data.metric)} {errors}."


def _effect_heading(data: ReportData) -> str:
    unit = data.unit or ("sd" if data.kind == "numbers" and len(data.columns) > 1 else "")
    return ("Strength" if len(data.columns) > 1 else "Effect") + (f" ({unit})" if unit else "")


def _effect_words(data: ReportData) -> str:
    given = ", with a 90\u202f% interval that takes questions and answers for given"
    known = given if any(math.isfinite(feature.lower) for feature in data.features) else ""
    if len(data.columns) > 1:
        unit = f" ({data.unit})" if data.unit else ", in their standard deviations" if data.kind == "numbers" else ""
        all_columns = "classes" if data.kind == "classes" else "targets"
        return f"is how far a yes instead of a no moves all {all_columns} together{unit}{known}"
    what = {"log-odds": "log-odds", "log rate": "logarithm of the expected count"}.get(data.unit, "prediction")
    change = ", and the <em>change</em> what it adds to predictions on average" if data.unit else ""
    return f"is what a yes instead of a no adds to the {what}{known}{change}"


def _effect(feature: FeatureFacts) -> str:
    signed = len(feature.effects) == 1
    between = f" ({number(feature.lower)} to {number(feature.upper)})" if math.isfinite(feature.lower) else ""
    return number(feature.effect, signed=signed) + between


def _largest(data: ReportData, feature: FeatureFacts) -> list[tuple[str, str]]:
    order = sorted(range(len(data.columns)), key=lambda position: -abs(feature.changes[position]))
    return [(shortened(data.columns[p].name, 80), change(data, feature.changes[p])) for p in order[:LARGEST_EFFECTS]]


def _discarded(data: ReportData) -> str:
    count = int((data.facts.curve["event"] == "discard").sum())
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    return f"{counted(count, 'wording').capitalize()} {were} dropped on the way: true of too few items, or of too many."


def _coverage(data: ReportData) -> list[list[str]]:
    names = {"train": "training items", "test": "unseen items"}
    return [[names[side], *(percent(found[level]) for level in LEVELS)] for side, found in data.coverage.items()]


def _check_words(data: ReportData) -> str:
    """Which statistics of the data the model does not make, in words."""
    odd = data.check[(data.check["p"] < 0.01) | (data.check["p"] > 0.99)]
    if odd.empty:
        return "Data drawn from the model look like the data in mean, spread and extremes."
    if len(data.columns) == 1:
        names = ", ".join(str(name) for name in odd["statistic"])
        return f"Data drawn from the model differ from the data in: {names}. Another likelihood may fit better."
    return (
        f"{number(len(odd))} of {number(len(data.check))} statistics (mean, sd, smallest and largest of each target) of data "
        "drawn from the model differ from those of the data. Another likelihood may fit better."
    )
