"""`genz plan`: what `genz fit` with the same options would ask and cost at the most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.fit import check_settings
from genz_ppl.cli.messages import echo
from genz_ppl.settings import DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.plan import Plan
    from genz_ppl.llm.served.settings import ModelSettings

_SETTINGS = tuple(DiscoverSettings.__dataclass_fields__)


def plan(
    context: typer.Context,
    source: options.Source,
    as_json: Annotated[bool, typer.Option("--json", help="Write one line of JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="As in fit; nothing is written.", show_default=False)
    ] = None,
    id: options.Id = None,
    target: options.Target = None,
    covariate: options.Covariate = None,
    text: options.Text = None,
    image: options.Image = None,
    split: options.Split = None,
    group: options.Group = None,
    varying: options.Varying = None,
    model: options.Model = None,
    link: options.Link = None,
    likelihood: options.Likelihood = None,
    inference: options.Inference = None,
    bayesian: options.Bayesian = None,
    batch_size: options.BatchSize = None,
    error_rate_prior: options.ErrorRatePrior = None,
    direction: options.Direction = None,
    algorithm: options.Algorithm = None,
    cycles: options.Cycles = None,
    add: options.Add = None,
    updates: options.Updates = None,
    refinements: options.Refinements = None,
    cut: options.Cut = None,
    max_features: options.MaxFeatures = None,
    polarity: options.Polarity = None,
    proposals: options.Proposals = None,
    exemplars: options.Exemplars = None,
    smallest_share: options.SmallestShare = None,
    smallest_gain: options.SmallestGain = None,
    smallest_worth: options.SmallestWorth = None,
    screen: options.Screen = None,
    splits: options.Splits = None,
    patience: options.Patience = None,
    reconsider: options.Reconsider = None,
    paper: options.Paper = None,
    inner_steps: options.InnerSteps = None,
    refit_steps: options.RefitSteps = None,
    final_steps: options.FinalSteps = None,
    seed: options.Seed = None,
    test_fraction: options.TestFraction = None,
    device: options.Device = None,
    mining_model: model_options.MiningModel = None,
    base_url: model_options.BaseUrl = None,
    items_per_call: model_options.ItemsPerCall = None,
    features_per_call: model_options.FeaturesPerCall = None,
    draws: model_options.Draws = None,
    log_probabilities: model_options.LogProbabilities = None,
    images: model_options.Images = None,
    temperature: model_options.Temperature = None,
    max_output_tokens: model_options.MaxOutputTokens = None,
    text_limit: model_options.TextLimit = None,
    prompts: model_options.Prompts = None,
    store: model_options.Store = None,
    workers: model_options.Workers = None,
    requests_per_minute: model_options.RequestsPerMinute = None,
    tokens_per_minute: model_options.TokensPerMinute = None,
    timeout: model_options.Timeout = None,
    attempts: model_options.Attempts = None,
    price: model_options.Price = None,
    max_cost: model_options.MaxCost = None,
    max_calls: model_options.MaxCalls = None,
    max_tokens: model_options.MaxTokens = None,
    batch: model_options.Batch = None,
    quiet: options.Quiet = False,
    config: options.Config = None,
) -> None:
    """Show what `genz fit` with the same options would ask and cost at the most. No call is made and nothing is written."""
    given = {name: context.params[name] for name in _SETTINGS if context.params[name] is not None}
    check_settings(given)
    served = _served(given, context.params)
    from genz_ppl.cli.sources import open_items
    from genz_ppl.discovery.discover import make_settings
    from genz_ppl.discovery.plan import plan as reckon

    settings = make_settings(given.get("model", "rules"), {name: value for name, value in given.items() if name != "model"})
    planned = reckon(open_items(source, context.params), settings, served)
    if as_json:
        echo(json.dumps(planned.to_dict(), ensure_ascii=False))
    else:
        _print(planned, served)


def _served(given: dict[str, Any], parameters: dict[str, Any]) -> ModelSettings | None:
    """How the model is called; None for one that answers on this machine. Both are checked as `genz fit` does."""
    from genz_ppl.discovery.run.service import Service
    from genz_ppl.llm.registry import open_model
    from genz_ppl.llm.served.settings import is_served

    name = given.get("model", DiscoverSettings().model)
    values = model_options.given(parameters)
    with model_options.flags():
        service = Service.of(name, values or None, parameters["store"])
    if not is_served(name):
        open_model(name)
    return service.settings


def _print(planned: Plan, served: ModelSettings | None) -> None:
    from genz_ppl.cli.tables import print_table
    from genz_ppl.llm.served.budget import Caps

    counts = {name: _count(value) for name, value in vars(planned).items() if isinstance(value, int)}
    echo(
        "{items} items: {training_items} for training, {test_items} for testing; at most {additions} additions, "
        "{wordings} wordings, {features} features at a time, {answers} answers".format(**counts)
    )
    if served is None:
        echo("the model answers on this machine: no calls, no tokens, no cost")
        return
    rows = [
        [f"{part.name} ({part.model})", *map(_count, (part.calls, part.tokens_in, part.tokens_out)), _dollars(part.dollars)]
        for part in planned.parts
    ]
    totals = map(_count, (planned.calls, planned.tokens_in, planned.tokens_out))
    print_table(["at most", "calls", "tokens in", "tokens out", "dollars"], [*rows, ["all", *totals, _dollars(planned.dollars)]])
    for model in planned.unpriced:
        echo(f"the price of {model} is not known: give it with --price IN,OUT, dollars per million tokens (0,0 for none)")
    option = planned.passes(Caps(served.max_cost, served.max_calls, served.max_tokens))
    if option is not None:
        flag = f"--{option.replace('_', '-')}"
        echo(f"that is more than {flag} allows: the run may stop there, and can go on with a higher one")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _dollars(amount: float | None) -> str:
    return "not known" if amount is None else f"{amount:.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
