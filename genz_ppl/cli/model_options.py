"""The options of models behind a server (openai:NAME), shared by the commands that may ask one. Defaults: `ModelSettings`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from genz_ppl.cli.options import pair
from genz_ppl.errors import OptionError
from genz_ppl.llm.served.settings import IMAGE_WAYS, ModelSettings, is_served

_SERVED, _MONEY = "Served model (openai:NAME)", "Money"
_CONFIRMED = "For a run from somebody else: given again, what it asks for is confirmed"
_DEFAULTS = ModelSettings()
NAMES = tuple(name for name in ModelSettings.__dataclass_fields__ if name != "model")
CAPS = ("max_cost", "max_calls", "max_tokens")
# What may change when a run goes on, and what a prediction may choose.
CHANGEABLE = (*CAPS, "price", "workers", "requests_per_minute", "tokens_per_minute", "timeout", "attempts")


def _option(name: str, text: str, panel: str = _SERVED, metavar: str | None = None, parser: Any = None) -> Any:
    default = getattr(_DEFAULTS, name)
    shown = "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
    flag = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        flag, shown = f"{flag}/--no-{flag[2:]}", f"--no-{flag[2:]}"
    return typer.Option(
        flag, help=f"{text} \\[{shown}]", metavar=metavar, parser=parser, rich_help_panel=panel, show_default=False
    )


def price(text: str) -> tuple[float, float]:
    """Two numbers of at least 0 from "IN,OUT". Raises BadParameter for anything else."""
    if text.replace(" ", "") in ("0", "0,0"):
        return 0.0, 0.0
    parts = [part.strip() for part in str(text).split(",")]
    if len(parts) == 2 and "0" in parts:
        other = pair(",".join("1" if part == "0" else part for part in parts))
        return (0.0, other[1]) if parts[0] == "0" else (other[0], 0.0)
    return pair(text)


MiningModel = Annotated[str | None, _option("mining_model", "Words new questions; none: the model itself.", metavar="NAME")]
BaseUrl = Annotated[
    str | None, _option("base_url", "Any OpenAI-compatible server; none: OpenAI's. The key: OPENAI_API_KEY.", metavar="URL")
]
ItemsPerCall = Annotated[int | None, _option("items_per_call", "The most items in one call.")]
FeaturesPerCall = Annotated[int | None, _option("features_per_call", "The most questions in one call.")]
Draws = Annotated[int | None, _option("draws", "Times each question is asked; the majority counts.")]
LogProbabilities = Annotated[
    bool | None, _option("log_probabilities", "One question a call, with P(yes) kept beside the answer.")
]
Images = Annotated[str | None, _option("images", f"{' or '.join(IMAGE_WAYS)}: what is done with images.")]
Temperature = Annotated[float | None, _option("temperature", "Of all calls; none: the server's.")]
MaxOutputTokens = Annotated[int | None, _option("max_output_tokens", "Of one reply; none: by the size of the question.")]
TextLimit = Annotated[int | None, _option("text_limit", "Characters of an item that are shown.")]
Prompts = Annotated[str | None, _option("prompts", "A folder of prompts in place of the built-in ones.", metavar="DIR")]
Workers = Annotated[int | None, _option("workers", "Calls at a time.")]
RequestsPerMinute = Annotated[int | None, _option("requests_per_minute", "The most calls a minute.")]
TokensPerMinute = Annotated[int | None, _option("tokens_per_minute", "The most tokens a minute.")]
Timeout = Annotated[float | None, _option("timeout", "Seconds of one call, to its last byte.")]
Attempts = Annotated[int | None, _option("attempts", "Attempts of one call at a server that fails.")]
Batch = Annotated[bool | None, _option("batch", "Questions go through the Batch endpoint, at half price.", _MONEY)]
Price = Annotated[
    str | None,
    _option("price", "Dollars per million tokens read and written; none: the table of genai-prices.", _MONEY, "IN,OUT", price),
]
MaxCost = Annotated[float | None, _option("max_cost", "The most dollars of a run; it can go on with more.", _MONEY)]
MaxCalls = Annotated[int | None, _option("max_calls", "The most calls of a run.", _MONEY)]
MaxTokens = Annotated[int | None, _option("max_tokens", "The most tokens of a run, read and written.", _MONEY)]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FILE",
        help="Where answers are kept, for all runs \\[genz-ppl/answers.sqlite in the cache folder].",
        rich_help_panel=_SERVED,
        show_default=False,
    ),
]


def _same(flag: str, metavar: str) -> Any:
    return typer.Option(flag, metavar=metavar, help="As it is in DIR.", rich_help_panel=_CONFIRMED, show_default=False)


# What a run directory that is not known as the user's own may ask for only when it is given again.
SameModel = Annotated[str | None, _same("--model", "NAME")]
SameColumnModel = Annotated[str | None, _same("--column-model", "NAME")]
SameBaseUrl = Annotated[str | None, _same("--base-url", "URL")]
SamePrompts = Annotated[str | None, _same("--prompts", "DIR")]
SameStore = Annotated[Path | None, _same("--store", "FILE")]


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ModelSettings` that were given, checked. Raises OptionError in the words of the command line."""
    values = {name: parameters[name] for name in NAMES if parameters.get(name) is not None}
    with flags():
        ModelSettings(**values)
    return values


def opening(parameters: Mapping[str, Any], two_sided: bool) -> dict[str, Any]:
    """What is given of how a run's models are opened, by the arguments of `resume` and `load`, for either kind of run."""
    from genz_ppl.cli.sources import absolute_model

    models = {name: absolute_model(parameters[name]) for name in ("model", "column_model") if parameters[name] is not None}
    if "column_model" in models and not two_sided:
        raise OptionError("--column-model: only for runs of genz cooccur; leave it out")
    return {**models, "model_settings": given(parameters), "store": parameters["store"]}


def given_for(model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same; raises OptionError where a model that is not served is given any of them, or a store."""
    values = given(parameters)
    if not is_served(model):
        name = next(iter([*values, *(["store"] if parameters.get("store") is not None else [])]), None)
        if name is not None:
            raise OptionError(
                f"--{name.replace('_', '-')}: only for --model openai:NAME, and the model is {model!r}; leave it out"
            )
    return values


@contextmanager
def flags() -> Iterator[None]:
    """Errors about a setting speak of its flag: "max_cost: ..." becomes "--max-cost: ..."."""
    try:
        yield
    except OptionError as error:
        name, colon, rest = str(error).partition(":")
        if colon and name in (*NAMES, "store"):
            raise OptionError(f"--{name.replace('_', '-')}:{rest}") from None
        raise
