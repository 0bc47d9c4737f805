"""The options that commands share. Defaults of settings are those of `DiscoverSettings`: an option not given is not passed on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from genz_ppl.cli.config import load_config
from genz_ppl.settings import ALGORITHM_NAMES, INFERENCE_NAMES, LIKELIHOOD_NAMES, LINK_NAMES, POLARITY_NAMES, DiscoverSettings

_COLUMNS, _MODEL, _SEARCH, _FITTING, _RUN = "Columns", "Model", "Search", "Fitting", "Run"
_DEFAULTS = DiscoverSettings()


def _setting(name: str, text: str, panel: str, metavar: str | None = None, parser: Any = None) -> Any:
    """An option for the field `name` of `DiscoverSettings`, its default shown."""
    default = getattr(_DEFAULTS, name)
    shown = "none" if default is None else ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else default
    flag = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        flag, shown = f"{flag}/--no-{flag[2:]}", flag if default else f"--no-{flag[2:]}"
    help_text = f"{text} \\[{shown}]"
    return typer.Option(flag, help=help_text, metavar=metavar, parser=parser, rich_help_panel=panel, show_default=False)


def _column(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, metavar="COLUMN", rich_help_panel=_COLUMNS, show_default=False)


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


def pair(text: str) -> tuple[float, float]:
    """Two numbers from "A,B". Raises BadParameter for anything else."""
    try:
        first, second = (float(part) for part in str(text).split(","))
    except ValueError:
        raise typer.BadParameter(f"expected two numbers A,B, got {text!r}") from None
    if not (0 < first < float("inf") and 0 < second < float("inf")):
        raise typer.BadParameter(f"expected two finite numbers above 0, got {text!r}")
    return first, second


SOURCE_HELP = (
    "A file (.csv, .tsv, .parquet, .jsonl) or binary, houses:DIR, houses-metadata:DIR, movielens:DIR, movielens-genres:DIR, "
    "movielens-plots:DIR, netflix:DIR, things:DIR. Films take options: movielens:DIR,items=512,dimensions=32,alpha=0."
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run (--out of fit).", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Take options from this file; flags win.",
        is_eager=True,
        callback=load_config,
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=_RUN)]

Raw = Annotated[
    bool, typer.Option("--raw", help="In csv, no apostrophe before texts that begin as a formula of a spreadsheet would.")
]

Id = Annotated[str | None, _column("--id", "The column of unique ids.")]
Target = Annotated[
    list[str] | None,
    _column("--target", "A column to explain: numbers, or classes with --likelihood bernoulli or categorical; repeatable."),
]
Covariate = Annotated[list[str] | None, _column("--covariate", "A column of numbers given to the link; repeatable.")]
Text = Annotated[
    list[str] | None,
    _column(
        "--text",
        'A column a model reads, repeatable, or one template "{title} ({year})"; all but id, target and split if not given.',
    ),
]
Image = Annotated[list[str] | None, _column("--image", "A column of image paths; repeatable.")]
Split = Annotated[str | None, _column("--split", 'A column of "train" and "test".')]
Varying = Annotated[
    str | None, _column("--varying", "Intercept and covariate weights vary by this column's values, partially pooled.")
]
Group = Annotated[str | None, _column("--group", "Rows of one group stay on one side of the split.")]

Model = Annotated[
    str | None,
    _setting("model", "rules, similarity, table:FILE, openai:NAME or package.module:object; several joined by +.", _MODEL),
]
Link = Annotated[str | None, _setting("link", f"{_either(LINK_NAMES)}.", _MODEL)]
Likelihood = Annotated[str | None, _setting("likelihood", f"{_either(LIKELIHOOD_NAMES)}.", _MODEL)]
Bayesian = Annotated[
    bool | None, _setting("bayesian", "A posterior over weights and noise, too, in the last fit (--inference svi).", _MODEL)
]
BatchSize = Annotated[
    int | None, _setting("batch_size", "Items in a minibatch (--inference svi or structured); none: all at once.", _MODEL)
]
Inference = Annotated[str | None, _setting("inference", f"{_either(INFERENCE_NAMES)}.", _MODEL)]
ErrorRatePrior = Annotated[
    str | None,
    _setting("error_rate_prior", "The Beta prior of the error rates of answers.", _MODEL, "A,B", pair),
]

Direction = Annotated[
    bool | None,
    _setting("direction", "Targets are an embedding: explain its direction only, and take answers for facts.", _MODEL),
]

Algorithm = Annotated[str | None, _setting("algorithm", f"{_either(ALGORITHM_NAMES)}.", _SEARCH)]
Cycles = Annotated[int | None, _setting("cycles", "Rounds of additions and cuts.", _SEARCH)]
Add = Annotated[int | None, _setting("add", "Additions in a round.", _SEARCH)]
Updates = Annotated[int | None, _setting("updates", "Replacements in a round: prune one, add one.", _SEARCH)]
Refinements = Annotated[int | None, _setting("refinements", "Features of a round for which a better wording is sought.", _SEARCH)]
Cut = Annotated[int | None, _setting("cut", "Cuts in a round.", _SEARCH)]
MaxFeatures = Annotated[int | None, _setting("max_features", "The most features at a time.", _SEARCH)]
Polarity = Annotated[
    str | None, _setting("polarity", f"{_either(POLARITY_NAMES)}: whose common traits the model is asked for.", _SEARCH)
]
Proposals = Annotated[int | None, _setting("proposals", "Wordings asked for a contrast and polarity.", _SEARCH)]
Exemplars = Annotated[int | None, _setting("exemplars", "Items shown on either side of a contrast.", _SEARCH)]
SmallestShare = Annotated[
    float | None,
    _setting("smallest_share", "Features true of a smaller share of items, or of all but that, are discarded.", _SEARCH),
]
SmallestGain = Annotated[
    float | None, _setting("smallest_gain", "Nats by which a feature must raise the bound; none: chance.", _SEARCH)
]
SmallestWorth = Annotated[
    float | None,
    _setting("smallest_worth", "Nats a feature must be worth to stay in the end; none: the level of chance.", _SEARCH),
]
Screen = Annotated[
    int | None,
    _setting(
        "screen",
        "Items on which wordings are compared before the best is asked about on all; 0: all on all; "
        "none: 80 with openai:NAME, else 0.",
        _SEARCH,
    ),
]
Splits = Annotated[int | None, _setting("splits", "Directions of the residuals from which a split is started.", _SEARCH)]
Patience = Annotated[int | None, _setting("patience", "Additions in a row that find nothing before a run ends.", _SEARCH)]
Reconsider = Annotated[
    bool | None, _setting("reconsider", "Let wordings answered earlier compete again at every addition.", _SEARCH)
]

Paper = Annotated[
    bool | None,
    _setting("paper", "The paper's algorithms: one wording, of what positives share, taken whatever it gains.", _SEARCH),
]

InnerSteps = Annotated[int | None, _setting("inner_steps", "E- and M-steps before mining.", _FITTING)]
RefitSteps = Annotated[int | None, _setting("refit_steps", "E- and M-steps after each change.", _FITTING)]
FinalSteps = Annotated[int | None, _setting("final_steps", "E- and M-steps of the last fit.", _FITTING)]

Seed = Annotated[int | None, _setting("seed", "Seed of the split and of the search.", _RUN)]
TestFraction = Annotated[float | None, _setting("test_fraction", "Share of items kept for testing.", _RUN)]
Device = Annotated[
    str | None, _setting("device", "Where models are fitted: cpu, cuda or cuda:1 (--inference coordinate).", _RUN, "NAME")
]
OtherDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Go on on another device than the run was begun on: cpu, cuda or cuda:1.",
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
