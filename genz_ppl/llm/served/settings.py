"""How a served model is called; checked when made, so that nothing wrong is found out after a call is paid for."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.address import server_address
from genz_ppl.setting_fields import check_fields, check_number, documented, setting

SERVED = "openai"
# The two names of the most tokens of a reply.
LIMITS = ("max_completion_tokens", "max_tokens")
# The panels of `--help`.
SERVED_MODEL, MONEY = "Served model (openai:NAME)", "Money"
# A + joins two models where another model's name follows it.
_JOINT = re.compile(
    r"\+(?=\s*(?:(?:rules|similarity)\s*(?:\+|$)|(?:table|openai|similarity):|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\s*(?:\+|$)))"
)
IMAGE_WAYS = ("describe", "direct", "none")
# Keys of a request that are ours alone: replies are read by what they say, and counted as one.
_OWN = ("model", "messages", "stream", "response_format", "n", "tools", "functions")
# What changes what is asked or answered; the rest may differ when a run is resumed.
_FREE = (
    "workers requests_per_minute tokens_per_minute cost_per_minute timeout attempts price max_cost max_calls max_tokens batch"
).split()


def joined_parts(spec: str) -> list[str]:
    """The models that a text joins, rules+table:FILE; one where it joins none. A + inside a NAME or FILE is part of it."""
    return [part.strip() for part in _JOINT.split(spec.strip())]


def is_served(spec: object) -> bool:
    """Whether a text names a model behind a server: openai:NAME, alone or among others."""
    return isinstance(spec, str) and any(part.partition(":")[0] == SERVED for part in joined_parts(spec))


def served_name(spec: str) -> str:
    """The NAME of openai:NAME. Raises OptionError if there is none, or if it is joined with others."""
    if len(joined_parts(spec)) > 1:
        raise OptionError(
            f"the model {spec!r}: served models cannot be joined yet; name one alone, or join the others without it"
        )
    name = spec.strip().partition(":")[2].strip()
    if not name:
        raise OptionError(f"the model {spec!r} names none of the server's models; write openai:NAME, such as openai:gpt-5-mini")
    return name


@documented
@dataclass(frozen=True)
class ModelSettings:
    """How the models of an OpenAI-compatible server are called. model: the one that answers the questions."""

    model: str = ""
    mining_model: str | None = setting(None, "Words new questions; none: the model itself.", SERVED_MODEL, metavar="NAME")
    base_url: str | None = setting(
        None, "Any OpenAI-compatible server; none: OpenAI's. The key: OPENAI_API_KEY.", SERVED_MODEL, metavar="URL"
    )
    items_per_call: int | None = setting(
        None,
        "The most items in one call; none: 10, or up to 120 if all are short (300 characters, no images) and questions few.",
        SERVED_MODEL,
        low=1,
    )
    features_per_call: int = setting(16, "The most questions in one call.", SERVED_MODEL, low=1)
    draws: int = setting(1, "Times each question is asked; the majority counts.", SERVED_MODEL, low=1)
    log_probabilities: bool = setting(False, "One question a call, with P(yes) kept beside the answer.", SERVED_MODEL)
    images: str = setting(
        "describe",
        "{choices}: images are described once and the description is read, shown with every question, or left out.",
        SERVED_MODEL,
        choices=IMAGE_WAYS,
    )
    temperature: float | None = setting(None, "Of all calls; none: the server's.", SERVED_MODEL, low=0, high=2, whole=False)
    max_output_tokens: int | None = setting(None, "Of one reply; none: by the size of the question.", SERVED_MODEL, low=1)
    describe_above: int = setting(
        300,
        "Characters of an item from which on a reply describes it before it is judged; shorter ones are judged at once.",
        SERVED_MODEL,
        low=0,
    )
    text_limit: int = setting(20_000, "Characters of an item that are shown.", SERVED_MODEL, low=100)
    prompts: str | None = setting(None, "A folder of prompts in place of the built-in ones.", SERVED_MODEL, metavar="DIR")
    workers: int = setting(
        16, "Calls at a time; 0: none here, 'genz work' makes them (--store postgresql://…).", SERVED_MODEL, low=0
    )
    requests_per_minute: int | None = setting(None, "The most calls a minute.", SERVED_MODEL, low=1)
    tokens_per_minute: int | None = setting(None, "The most tokens a minute.", SERVED_MODEL, low=1)
    timeout: float = setting(120.0, "Seconds of one call, to its last byte.", SERVED_MODEL, low=0.001, whole=False)
    attempts: int = setting(6, "Attempts of one call at a server that fails.", SERVED_MODEL, low=1)
    price: tuple[float, float] | None = setting(
        None, "Dollars per million tokens read and written; none: the table of genai-prices.", MONEY, metavar="IN,OUT"
    )
    max_cost: float | None = setting(None, "The most dollars of a run; it can go on with more.", MONEY, low=0, whole=False)
    max_calls: int | None = setting(None, "The most calls of a run.", MONEY, low=1)
    max_tokens: int | None = setting(None, "The most tokens of a run, read and written.", MONEY, low=1)
    cost_per_minute: float | None = setting(None, "The most dollars a minute.", MONEY, low=1e-6, whole=False)
    batch: bool = setting(False, "Questions go through the Batch endpoint, at half price.", MONEY)
    body: dict[str, Any] | None = setting(
        None, "Further keys of every request; null leaves one out.", SERVED_MODEL, metavar="JSON"
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.price is not None:
            self._check_price()
        if self.base_url is not None:
            server_address(self.base_url)
        if self.body is not None:
            self._check_body(self.body)
        if self.log_probabilities and self.batch:
            raise OptionError("log_probabilities: cannot go with batch; leave one of the two out")
        if self.prompts is not None and not Path(self.prompts).is_dir():
            raise OptionError(
                f"prompts: expected a folder of templates, found none at {self.prompts}; see 'genz prompts --write'"
            )

    def _check_body(self, body: object) -> None:
        try:
            usable = isinstance(body, dict) and json.loads(json.dumps(body, allow_nan=False)) == body
        except (TypeError, ValueError, RecursionError):
            usable = False
        if not isinstance(body, dict) or not usable:
            raise OptionError('body: expected an object of names and values that JSON has, such as {"top_k": 1}')
        for name, value in body.items():
            if name in _OWN or (name in LIMITS and value is not None):
                raise OptionError(f"body: {name} is part of what is asked and counted; leave it out, or use an option of genz's")
            if name in LIMITS and (self.max_cost, self.max_tokens) != (None, None):
                raise OptionError(f"body: without {name} a reply has no end, so no cap holds; leave out either that or the cap")

    def _check_price(self) -> None:
        if not isinstance(self.price, tuple) or len(self.price) != 2:
            raise OptionError(f"price: expected two numbers, dollars per million tokens read and written, got {self.price!r}")
        for value in self.price:
            check_number("price", value, 0, whole=False)

    @property
    def most_features(self) -> int:
        """Features in one call: log-probabilities can be read for a single question only."""
        return 1 if self.log_probabilities else self.features_per_call

    @property
    def miner(self) -> str:
        """The model that words new features."""
        return self.mining_model or self.model

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSettings:
        """The reverse of `to_dict`, also after JSON."""
        price = values.get("price")
        return cls(**{**values, "price": None if price is None else tuple(price)})

    def changed(self, **values: Any) -> ModelSettings:
        """These settings with others in some places, None meaning no change. Raises OptionError for what a run cannot change."""
        given = {name: value for name, value in values.items() if value is not None}
        fixed = [name for name in given if name not in _FREE]
        if fixed:
            raise OptionError(
                f"{fixed[0]}: cannot change when a run goes on, since its answers would not be comparable; leave it out"
            )
        return replace(self, **given)
