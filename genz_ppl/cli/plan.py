"""`genz plan`: what `genz fit` with the same options would ask and cost at the most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options, vectors
from genz_ppl.cli.baseline import BRIEF, brief_given
from genz_ppl.cli.fit import Annotators, DryContrasts, Gold, annotators_given, check_settings
from genz_ppl.cli.messages import echo
from genz_ppl.cli.progress import LogJson
from genz_ppl.settings import DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.plan import Plan
    from genz_ppl.llm.served.settings import ModelSettings

_SETTINGS = tuple(DiscoverSettings.__dataclass_fields__)


@options.takes(*options.COLUMNS, *options.SETTINGS, *model_options.SETTINGS, *BRIEF)
def plan(
    context: typer.Context,
    source: options.Source,
    as_json: Annotated[bool, typer.Option("--json", help="Write one line of JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="As in fit; nothing is written.", show_default=False)
    ] = None,
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
    """Show what `genz fit` with the same options would ask and cost.

    At the most, and in a typical run. With --questions, --task or --examples: what `genz baseline` would. No call is made
    and nothing is written.
    """
    given = {name: context.params[name] for name in _SETTINGS if context.params[name] is not None}
    vectors.take_as_model(context.params, given)
    among = annotators_given(annotators, given)
    asked = brief_given(context.params)
    check_settings(given if not asked else {**given, "max_features": 1})
    served = _served(given, context.params, among)
    from genz_ppl.cli.sources import open_items
    from genz_ppl.discovery.plan import plan as reckon
    from genz_ppl.discovery.run.service import make_settings

    items, model = open_items(source, context.params), given.pop("model", "rules")
    with model_options.flags(n_questions="--questions", task="--task", examples="--examples"):
        if asked:
            from genz_ppl.discovery.baseline import brief_and_settings  # with torch, which takes seconds

            brief, settings = brief_and_settings(items, model, **asked, **given)
            planned = reckon(items, settings, served, brief)
        else:
            planned = reckon(items, make_settings(model, given, among), served, annotators=among)
    if as_json:
        echo(json.dumps(planned.to_dict(), ensure_ascii=False))
    else:
        _print(planned, served)


def _served(given: dict[str, Any], parameters: dict[str, Any], annotators: list[str]) -> ModelSettings | None:
    """How the model is called; None for one that answers on this machine. Both are checked as `genz fit` does."""
    from genz_ppl.discovery.run.service import Service
    from genz_ppl.llm.registry import open_model
    from genz_ppl.llm.served.settings import is_served

    name = given.get("model", DiscoverSettings().model)
    values = model_options.given(parameters)
    with model_options.flags():
        service = Service.of(name, values or None, parameters["store"], annotators)
    for one in dict.fromkeys((name, *annotators)):
        if not is_served(one):
            open_model(one)
    return service.settings


def _print(planned: Plan, served: ModelSettings | None) -> None:
    from genz_ppl.cli.tables import print_table
    from genz_ppl.llm.served.budget import Caps

    counts = {name: _count(value) for name, value in vars(planned).items() if isinstance(value, int)}
    asked = (
        "{additions} additions, {wordings} wordings, {features} features at a time"
        if planned.additions
        else "{wordings} questions"
    )
    sides = "{items} items: {training_items} for training, {test_items} for testing"
    sides += ", {held_items} held back" if planned.held_items else ""
    sides += ", {rest_items} for the last fit alone" if planned.rest_items else ""
    echo(f"{sides}; at most {asked}, {{answers}} answers".format(**counts))
    if served is None:
        echo("the model answers on this machine: no calls, no tokens, no cost")
        return
    rows = [
        [f"{part.name} ({part.model})", *map(_count, (part.calls, part.tokens_in, part.tokens_out)), _dollars(part.dollars)]
        for part in planned.parts
    ]
    totals, use = map(_count, (planned.calls, planned.tokens_in, planned.tokens_out)), planned.typical
    usual = ["a typical run", *map(_count, (use.calls, use.tokens_in, use.tokens_out)), _dollars(use.dollars)]
    described = ["of that, items described", "", "", _count(use.descriptions), ""]
    print_table(
        ["at most", "calls", "tokens in", "tokens out", "dollars"],
        [*rows, ["all", *totals, _dollars(planned.dollars)], usual, described, _shares(planned)],
    )
    for model in planned.unpriced:
        echo(f"the price of {model} is not known: give it with --price IN,OUT, dollars per million tokens (0,0 for none)")
    caps = Caps(served.max_cost, served.max_calls, served.max_tokens)
    if (option := planned.passes(caps)) is not None:
        typical = planned.typically_passes(caps)
        likely = "a typical run does not reach it" if typical is None else "a typical run stops there"
        flag = f"--{(typical or option).replace('_', '-')}"
        echo(f"that is more than {flag} allows: the run may stop there, and can go on with a higher one; {likely}")


def _shares(planned: Plan) -> list[str]:
    """What part of the most a typical run uses."""
    use = planned.typical
    shares = [_share(getattr(use, name), getattr(planned, name)) for name in ("calls", "tokens_in", "tokens_out")]
    dollars = "not known" if use.dollars is None or planned.dollars is None else _share(use.dollars, planned.dollars)
    return ["of the most", *shares, dollars]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _dollars(amount: float | None) -> str:
    return "not known" if amount is None else f"{amount:.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
