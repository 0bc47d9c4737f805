"""`genz fit`: discover features and write a run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import resumable, say
from genz_ppl.errors import OptionError
from genz_ppl.settings import DiscoverSettings

if TYPE_CHECKING:
    from genz_ppl.data import Items
    from genz_ppl.discovery.discover import Discovery

_SETTINGS = tuple(DiscoverSettings.__dataclass_fields__)


def fit(
    context: typer.Context,
    source: options.Source,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the run.", show_default=False)],
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
    ceiling: options.Ceiling = True,
    quiet: options.Quiet = False,
    config: options.Config = None,
) -> None:
    """Discover the yes/no questions that explain the targets of SOURCE. Safe to stop with Ctrl-C; `genz resume` goes on."""
    given = {name: context.params[name] for name in _SETTINGS if context.params[name] is not None}
    with resumable(out):
        run = start(source, out, given, context.params, quiet)
        from genz_ppl.cli.tables import print_features, print_summary

        print_features(run.features)
        print_summary(run, ceiling)


def start(
    source: str,
    out: Path,
    given: dict[str, Any],
    columns: dict[str, Any],
    quiet: bool,
    baseline: Mapping[str, Any] | None = None,
) -> Discovery:
    """Check, read, and run to the end: a discovery, or with the arguments of its own in `baseline` a 0-shot baseline."""
    # Imported here: torch takes seconds, and a wrong option should not.
    check_settings(given if baseline is None else {**given, "max_features": 1})  # its limit is the number of questions
    served = model_options.given_for(given.get("model", "rules"), columns)
    from genz_ppl.cli.progress import Display
    from genz_ppl.cli.sources import absolute_model, absolute_source, open_items
    from genz_ppl.discovery.baseline import baseline as ask_once
    from genz_ppl.discovery.discover import discover
    from genz_ppl.discovery.run.folder import RunDirectory

    RunDirectory(out).check_free()
    if "model" in given:
        given = {**given, "model": absolute_model(given["model"])}
    with Display(shown=False if quiet else None) as display:
        items = open_items(source, columns)
        if source != "binary":  # there the number that is read is the target, by design
            warn_of_copies(items)
        with model_options.flags(), setting_flags():
            begin: Callable[..., Discovery] = discover if baseline is None else partial(ask_once, **baseline)
            return begin(
                items,
                out=out,
                source=absolute_source(source),
                on_step=display,
                on_answers=display.answers,
                model_settings=served or None,
                store=columns["store"],
                **given,
            )


def check_settings(given: dict[str, Any]) -> None:
    """Raises OptionError in the words of the command line: "--max-features: …"."""
    with setting_flags():
        DiscoverSettings(**given)


@contextmanager
def setting_flags() -> Iterator[None]:
    """Errors about a field of `DiscoverSettings` speak of its flag."""
    try:
        yield
    except OptionError as error:
        name, colon, rest = str(error).partition(":")
        known = colon and name in _SETTINGS
        raise OptionError(f"--{name.replace('_', '-')}:{rest}" if known else str(error)) from None


def warn_of_copies(items: Items) -> None:
    """One line on stderr for every readable column that gives a target away."""
    from genz_ppl.cli.copies import likely_copies

    for column, name in likely_copies(items):
        say(
            f"warning: column {column!r} follows target {name!r} almost exactly, likely as a copy of it; "
            "leave it out by naming the columns to read with --text"
        )
