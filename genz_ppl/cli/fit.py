"""`genz fit`: discover features and write a run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options, vectors
from genz_ppl.cli.messages import echo, resumable, say
from genz_ppl.cli.progress import LogJson, followed, tables_wanted
from genz_ppl.setting_fields import check_number
from genz_ppl.settings import AUTO, RUN, DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.data import Items
    from genz_ppl.discovery.discover import Discovery

_SETTINGS = tuple(DiscoverSettings.__dataclass_fields__)
# Typer hands on its parser's errors without naming their base.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def _needed(context: typer.Context, out: Path | None) -> Path | None:
    """A run needs its folder, a look ahead does not."""
    if out is None and context.params.get("dry_contrasts") is None and not context.resilient_parsing:
        raise _UsageError("Missing option '--out': a run needs a new folder; add --out DIR, or --dry-contrasts N to look ahead")
    return out


Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="A new folder for the run.", callback=_needed, show_default=False),
]
DryContrasts = Annotated[
    int | None,
    typer.Option(
        "--dry-contrasts",
        metavar="N",
        is_eager=True,
        help="Show the first N contrasts and prompts as they would be sent, at most one a split; nothing is asked or written.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
Annotators = Annotated[
    str | None,
    typer.Option(
        "--annotators",
        metavar="A,B",
        help="Who answers, each with error rates of its own: models as in --model. Without --model the first proposes.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
Gold = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        metavar="FILE",
        help="Labels by people, taken as the truth: id, question, answer.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]


@options.takes(*options.COLUMNS, *options.SETTINGS, *model_options.SETTINGS)
def fit(
    context: typer.Context,
    source: options.Source,
    out: Out = None,
    *,
    annotators: Annotators = None,
    gold: Gold = None,
    dry_contrasts: DryContrasts = None,
    keep_texts: options.KeepTexts = False,
    ceiling: options.Ceiling = True,
    quiet: options.Quiet = False,
    log_json: LogJson = None,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Discover the yes/no questions that explain the targets of SOURCE.

    Safe to stop with Ctrl-C; `genz resume` goes on.
    """
    given = {name: context.params[name] for name in _SETTINGS if context.params[name] is not None}
    vectors.take_as_model(context.params, given)
    among = annotators_given(annotators, given)
    if dry_contrasts is not None:
        show_contrasts(source, given, context.params, dry_contrasts)
        return
    assert out is not None  # see `_needed`
    with resumable(out):
        run = start(source, out, given, context.params, among, gold)
        from genz_ppl.cli.tables import print_features, print_summary

        if tables_wanted(log_json):
            print_features(run.features, unit=run.unit)
            print_summary(run, ceiling)


def start(
    source: str,
    out: Path,
    given: dict[str, Any],
    columns: dict[str, Any],
    annotators: Sequence[str] = (),
    gold: Path | None = None,
    baseline: Mapping[str, Any] | None = None,
) -> Discovery:
    """Check, read, and run to the end: a discovery, or with the arguments of its own in `baseline` a 0-shot baseline."""
    # Imported here: torch takes seconds, and a wrong option should not.
    check_settings(given if baseline is None else {**given, "max_features": 1})  # its limit is the number of questions
    served = model_options.given_for(given.get("model", "rules"), columns, annotators)
    from genz_ppl.cli.sources import absolute_model, noted, open_items, read_labels
    from genz_ppl.discovery.baseline import baseline as ask_once
    from genz_ppl.discovery.discover import discover
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.discovery.watch import Display

    RunDirectory(out).check_free()
    if "model" in given:
        given = {**given, "model": absolute_model(given["model"])}
    with followed(columns["quiet"], columns["log_json"]) as ways, Display(**ways) as display:
        items = open_items(source, columns)
        if not columns["quiet"]:
            say_likelihood(items, given)
        with model_options.flags():
            labels = None if gold is None else read_labels(gold)
            among: dict[str, Any] = {"annotators": [*map(absolute_model, annotators)], "gold": labels}
            begin: Callable[..., Discovery] = partial(discover, **among) if baseline is None else partial(ask_once, **baseline)
            return begin(
                items,
                out=out,
                source=noted(source, columns),
                on_step=display,
                on_answers=display.answers,
                model_settings=served or None,
                store=columns["store"],
                keep_texts=columns["keep_texts"],
                **given,
            )


def annotators_given(text: str | None, given: dict[str, Any]) -> list[str]:
    """The names of those who answer; the first is the model, where none is given."""
    names = [] if text is None else options.names_of(text)
    if names:
        given.setdefault("model", names[0])
    return names


def say_likelihood(items: Items, given: Mapping[str, Any]) -> None:
    """One line about what targets were taken for, where that is more than numbers and nobody has said so."""
    from genz_ppl.discovery.run.likelihood_choice import likelihood_for
    from genz_ppl.discovery.run.sampling import sampled

    if given.get("likelihood", AUTO) != AUTO or given.get("paper") or items.targets is None:
        return
    deciding = ("direction", "seed", "test_fraction", "honest", "sample")  # others may be refused later, in a command's own words
    settings = DiscoverSettings(**{name: given[name] for name in deciding if name in given})
    split = sampled(items.split_indices(settings.seed, settings.test_fraction, settings.honest), settings, items.schema)
    choice = likelihood_for(items, items.take(split.train), settings)
    if choice.taken_for:
        say(f"{items.name}: target {items.target_names[0]!r} is {choice.taken_for}, so --likelihood {choice.likelihood}")


def show_contrasts(source: str, given: dict[str, Any], parameters: dict[str, Any], count: int) -> None:
    """Print the first contrasts of a run, without a call and without a key."""
    check_settings(given)
    check_number("--dry-contrasts", count, 1)
    values = model_options.given_for(given.get("model", "rules"), parameters)
    from genz_ppl.cli.sources import open_items
    from genz_ppl.discovery.dry import dry_contrasts
    from genz_ppl.discovery.run.service import make_settings
    from genz_ppl.llm.served.settings import ModelSettings

    settings = make_settings(given.get("model", "rules"), {name: value for name, value in given.items() if name != "model"})
    with model_options.flags():
        found = dry_contrasts(open_items(source, parameters), settings, count, ModelSettings(**values))
    for number, one in enumerate(found, start=1):
        sides = f"{len(one.contrast.positive)} items on the one side, {len(one.contrast.negative)} on the other"
        echo(f"contrast {number} of {len(found)}: {sides}, sharpness {one.sharpness:.2f}")
        for prompt in one.prompts:
            echo(f"== {prompt.name}, version {prompt.version}\n--- system\n{prompt.system}\n--- user\n{prompt.user}\n")
    echo("nothing was asked, and nothing was written")


def check_settings(given: dict[str, Any]) -> None:
    """Raises OptionError in the words of the command line: "--max-features: …"."""
    with model_options.flags():
        DiscoverSettings(**given)
