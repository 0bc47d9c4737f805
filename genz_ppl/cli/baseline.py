"""`genz baseline`: the 0-shot baseline, questions from a task description alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options, vectors
from genz_ppl.cli.fit import start
from genz_ppl.cli.messages import echo, resumable
from genz_ppl.cli.progress import LogJson, tables_wanted
from genz_ppl.output import plural
from genz_ppl.settings import BASELINE_SETTINGS, DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.baseline import Readings

BRIEF = [
    options.given(name, kind, text, "Questions", metavar)
    for name, kind, text, metavar in (
        ("task", str, "What the questions are for, in words \\[the names of the targets].", "TEXT"),
        ("questions", int, "Asked for \\[50].", None),
        ("examples", int, "Training items shown with the task, without their targets \\[200].", None),
    )
]


def brief_given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of that, by the arguments of `genz_ppl.baseline`."""
    names = {"task": "task", "n_questions": "questions", "examples": "examples"}
    return {name: parameters[option] for name, option in names.items() if parameters[option] is not None}


@options.takes(*options.COLUMNS, *options.of(DiscoverSettings, "model", *BASELINE_SETTINGS), *model_options.SETTINGS, *BRIEF)
def baseline(
    context: typer.Context,
    source: options.Source,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the run.", show_default=False)],
    *,
    keep_texts: options.KeepTexts = False,
    quiet: options.Quiet = False,
    log_json: LogJson = None,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Ask for questions from the task alone: what fit must beat.

    All of them are answered, and pruned one by one.
    """
    names = [name for name in DiscoverSettings.__dataclass_fields__ if context.params.get(name) is not None]
    given = {name: context.params[name] for name in names}
    vectors.take_as_model(context.params, given)
    with resumable(out), model_options.flags(n_questions="--questions", task="--task", examples="--examples"):
        run = start(source, out, given, context.params, baseline=brief_given(context.params))
        from genz_ppl.cli.tables import print_features, print_summary
        from genz_ppl.discovery.baseline import readings

        if tables_wanted(log_json):
            print_features(run.features, unit=run.unit)
            print_summary(run)
            print_readings(readings(run.curve))


def print_readings(found: Readings) -> None:
    """What was asked, and the paper's reading of the curve."""
    from genz_ppl.cli.tables import number, readable_metric

    best, metric = found.best_test, readable_metric(found.metric)
    echo(
        f"{plural(found.suggested, 'question')} suggested, {found.usable} usable; {found.answers_asked} answers, those on test "
        "items included: the curve needs them"
    )
    echo(
        "these features were chosen on training items; the best point by the test items themselves (the paper's reading): "
        f"{metric} {number(best.test_error)} with {plural(best.n_features, 'feature')}"
    )
