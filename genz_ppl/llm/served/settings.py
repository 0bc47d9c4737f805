"""How a served model is called; checked when made, so that nothing wrong is found out after a call is paid for."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.llm.address import server_address
from genz_ppl.llm.served.reading import LIMITS
from genz_ppl.settings import check_choice, check_number

SERVED = "openai"
# A + joins two models where another model's name follows it.
_JOINT = re.compile(r"\+(?=\s*(?:(?:rules|similarity)\s*(?:\+|$)|(?:table|openai):|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\s*(?:\+|$)))")
IMAGE_WAYS = ("describe", "direct", "none")
# Keys of a request that are ours alone: replies are read by what they say, and counted as one.
_OWN = ("model", "messages", "stream", "response_format", "n", "tools", "functions")
# What changes what is asked or answered; the rest may differ when a run is resumed.
_FREE = "workers requests_per_minute tokens_per_minute timeout attempts price max_cost max_calls max_tokens batch".split()


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


@dataclass(frozen=True)
class ModelSettings:
    """How the models of an OpenAI-compatible server are called.

    model: answers the questions; mining_model: words new ones (None: the same). base_url: the server (None: OpenAI's).
    items_per_call, features_per_call: the most of either in one call. draws: times each question is asked; the majority
    counts. log_probabilities: one question a call, with P(yes) kept beside the answer. images: "describe" once and read the
    description, show them with every question ("direct"), or "none". temperature: None leaves it to the server.
    max_output_tokens: of one reply; None: by the size of the question. text_limit: characters of an item that are shown.
    prompts: a folder of templates in place of the built-in ones. workers: calls at a time. requests_per_minute,
    tokens_per_minute: None for no limit. timeout: seconds of one call, to its last byte. attempts: of one call.
    price: dollars per million tokens (input, output). max_cost (dollars), max_calls, max_tokens: hard caps of a run.
    batch: questions go through the Batch endpoint. body: further keys of every request, such as {"top_k": 1}; None as a value
    leaves a key out.
    """

    model: str = ""
    mining_model: str | None = None
    base_url: str | None = None
    items_per_call: int = 10
    features_per_call: int = 8
    draws: int = 1
    log_probabilities: bool = False
    images: str = "describe"
    temperature: float | None = None
    max_output_tokens: int | None = None
    text_limit: int = 20_000
    prompts: str | None = None
    workers: int = 16
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 120.0
    attempts: int = 6
    price: tuple[float, float] | None = None
    max_cost: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    batch: bool = False
    body: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_choice("images", self.images, IMAGE_WAYS)
        for option, low in (("items_per_call", 1), ("features_per_call", 1), ("draws", 1), ("workers", 1), ("attempts", 1)):
            check_number(option, getattr(self, option), low)
        for option in ("requests_per_minute", "tokens_per_minute", "max_output_tokens", "max_calls", "max_tokens"):
            if getattr(self, option) is not None:
                check_number(option, getattr(self, option), 1)
        check_number("text_limit", self.text_limit, 100)
        check_number("timeout", self.timeout, 0.001, whole=False)
        if self.max_cost is not None:
            check_number("max_cost", self.max_cost, 0, whole=False)
        if self.temperature is not None:
            check_number("temperature", self.temperature, 0, 2, whole=False)
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
    def most_items(self) -> int:
        """Items in one call: log-probabilities can be read for a single question only."""
        return 1 if self.log_probabilities else self.items_per_call

    @property
    def most_features(self) -> int:
        """Features in one call."""
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
