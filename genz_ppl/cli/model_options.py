"""The options of models behind a server (openai:NAME), shared by the commands that may ask one. Defaults: `ModelSettings`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from inspect import Parameter
from typing import Any

import typer

from genz_ppl.cli import options
from genz_ppl.cli.options import pair
from genz_ppl.errors import OptionError
from genz_ppl.llm.served.settings import SERVED_MODEL, ModelSettings, is_served
from genz_ppl.settings import DiscoverSettings, PairSettings

_CONFIRMED = "For a run from somebody else: given again, what it asks for is confirmed"
NAMES = tuple(name for name in ModelSettings.__dataclass_fields__ if name != "model")
_KINDS = (DiscoverSettings, PairSettings, ModelSettings)
CAPS = ("max_cost", "max_calls", "max_tokens")
# What may change when a run goes on, and what a prediction may choose.
CHANGEABLE = (*CAPS, "price", "workers", "requests_per_minute", "tokens_per_minute", "cost_per_minute", "timeout", "attempts")


def price(text: str) -> tuple[float, float]:
    """Two numbers of at least 0 from "IN,OUT". Raises BadParameter for anything else."""
    if text.replace(" ", "") in ("0", "0,0"):
        return 0.0, 0.0
    parts = [part.strip() for part in str(text).split(",")]
    if len(parts) == 2 and "0" in parts:
        other = pair(",".join("1" if part == "0" else part for part in parts))
        return (0.0, other[1]) if parts[0] == "0" else (other[0], 0.0)
    return pair(text)


def json_object(text: str) -> dict[str, Any]:
    """An object from JSON. Raises BadParameter for anything else."""
    with suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(text), dict):
            return value
    raise typer.BadParameter(f"""expected a JSON object such as '{{"top_k": 1}}', got {text!r}""")


def of(*names: str) -> list[Parameter]:
    """Options for the fields of `ModelSettings`, all or those named, and the store."""
    where = (
        "Where answers are kept, for all runs: a file, or postgresql://USER@HOST/DATABASE for many hosts "
        "\\[genz-ppl/answers.sqlite in the cache folder]."
    )
    made = options.of(ModelSettings, *(name for name in names if name != "store"), parsers={"price": price, "body": json_object})
    return [*made, options.given("store", str, where, SERVED_MODEL, "PLACE")] if not names or "store" in names else made


SETTINGS = of()


# What a run directory that is not known as the user's own may ask for only when it is given again; with its caps and the like.
_ASKED = {"model": "NAME", "column_model": "NAME", "annotators": "A,B", "base_url": "URL", "prompts": "DIR", "store": "PLACE"}
SAME = [options.given(name, str, "As it is in DIR.", _CONFIRMED, metavar) for name, metavar in _ASKED.items()]


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ModelSettings` that were given, checked. Raises OptionError in the words of the command line."""
    values = {name: parameters[name] for name in NAMES if parameters.get(name) is not None}
    with flags():
        ModelSettings(**values)
    return values


def opening(parameters: Mapping[str, Any], two_sided: bool) -> dict[str, Any]:
    """What is given of how a run's models are opened, by the arguments of `resume` and `load`, for either kind of run."""
    from genz_ppl.cli.sources import absolute_model

    models: dict[str, Any] = {
        name: absolute_model(parameters[name]) for name in ("model", "column_model") if parameters[name] is not None
    }
    if parameters["annotators"] is not None:
        if two_sided:
            raise OptionError("--annotators: only for runs of genz fit; leave it out")
        models["annotators"] = [*map(absolute_model, options.names_of(parameters["annotators"]))]
    if "column_model" in models and not two_sided:
        raise OptionError("--column-model: only for runs of genz cooccur; leave it out")
    return {**models, "model_settings": given(parameters), "store": parameters["store"]}


def given_for(model: str, parameters: Mapping[str, Any], annotators: Sequence[str] = ()) -> dict[str, Any]:
    """The same; raises OptionError where a model that is not served is given any of them, or a store."""
    values = given(parameters)
    if not any(map(is_served, (model, *annotators))):
        name = next(iter([*values, *(["store"] if parameters.get("store") is not None else [])]), None)
        if name is not None:
            raise OptionError(
                f"--{name.replace('_', '-')}: only for --model openai:NAME, and the model is {model!r}; leave it out"
            )
    return values


@contextmanager
def flags(**renamed: str) -> Iterator[None]:
    """Errors about a setting speak of its flag: "max_cost: ..." becomes "--max-cost: ...". renamed: further ones."""
    known = {name: f"--{name.replace('_', '-')}" for kind in _KINDS for name in kind.__dataclass_fields__}
    known |= {"store": "--store", "rounds": "--rounds", "annotators": "--annotators", "gold": "--gold", **renamed}
    try:
        yield
    except OptionError as error:
        name, colon, rest = str(error).partition(":")
        if colon and name in known:
            raise OptionError(f"{known[name]}:{rest}") from None
        raise
