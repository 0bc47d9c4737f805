"""From a rendered prompt to the body of a chat completion, and how large it and its reply can be."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genz_ppl.llm.served.address import OPENAI, server_address
from genz_ppl.llm.served.budget import likely_tokens, most_tokens
from genz_ppl.llm.served.settings import LIMITS, ModelSettings
from genz_ppl.llm.served.templates import Rendered
from genz_ppl.types import Item

# The kind of a request for vectors.
EMBED = "embed"
# How the form of a reply is asked for, the most binding first; lesser servers know only the later ones.
FORMATS = ("json_schema", "json_object", "text")
ALTERNATIVES = 5
# The most bytes of a reply. Besides its tokens: what servers add, thoughts that some do not count included. A token: some have
# four letters, and JSON has 12 bytes for one of another script's. With log-probabilities: six tokens, their bytes and numbers.
REPLY_BYTES, TOKEN_BYTES, CERTAIN_TOKEN_BYTES = 2**20, 64, 2048
# The most tokens of a reply: at the least; for every item described, and for one that is not; for every feature listed and answer
# given; of wordings, descriptions.
LEAST_OUT, ITEM_OUT, PLAIN_OUT, FEATURE_OUT, ANSWER_OUT, WORDS_OUT = 1000, 60, 15, 30, 4, 4000
# What a call has room for where the user does not say: items that are long, short ones, answers about those; and the tokens that
# any model may write.
LONG_ITEMS, SHORT_ITEMS, ANSWERS, ANY_REPLY = 10, 120, 400, 4096
# Characters of an item that is long.
LONG = 300


@dataclass(frozen=True, eq=False)
class Request:
    """One call to be made.

    kind: "extract", "mine", "suggest" or "describe", for the journal. images: (heading, data address) pairs, shown after the
    prompt. tokens_out: the most the reply may have.
    """

    kind: str
    model: str
    rendered: Rendered
    tokens_out: int
    images: tuple[tuple[str, str], ...] = ()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All that the model reads as text, the schema included."""
        schema = () if self.rendered.schema is None else (json.dumps(self.rendered.schema),)
        return (self.rendered.system, self.rendered.user, *(heading for heading, _ in self.images), *schema)

    @property
    def described(self) -> bool:
        """Whether the reply must describe the items."""
        return self.rendered.schema is None or "characteristics" in self.rendered.schema["properties"]

    @cached_property
    def most_tokens_in(self) -> int:
        """An upper limit of the tokens read. The plainer formats explain the schema in words, so it is counted twice."""
        return most_tokens((*self.texts, *self.texts[2:], _ASK_FOR_SCHEMA), len(self.images))

    @cached_property
    def likely_tokens_in(self) -> float:
        """About the tokens read."""
        return likely_tokens(self.texts, len(self.images))

    def most_bytes(self, settings: ModelSettings) -> int:
        """An upper limit of the reply's bytes: generous, since it is for servers that do not keep to `tokens_out`."""
        return REPLY_BYTES + self.tokens_out * (CERTAIN_TOKEN_BYTES if settings.log_probabilities else TOKEN_BYTES)

    def body(self, form: str, settings: ModelSettings, refused: Collection[str] = ()) -> dict[str, Any]:
        """The JSON to send. form: one of FORMATS. refused: parameters that the server does not take."""
        system = self.rendered.system
        if self.rendered.schema is not None and form != "json_schema":
            system += _ASK_FOR_SCHEMA + json.dumps(self.rendered.schema)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": self._content()}],
        }
        # One name: strict servers refuse the other. Most servers know OpenAI's old one only.
        limits = LIMITS if (server_address(settings.base_url).host or "").endswith(OPENAI) else LIMITS[::-1]
        body[next((name for name in limits if name not in refused), limits[0])] = self.tokens_out
        if self.rendered.schema is not None and form != "text":
            body["response_format"] = self._response_format(form)
        if settings.temperature is not None and "temperature" not in refused:
            body["temperature"] = settings.temperature
        if settings.log_probabilities and self.kind == "extract":
            body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        own = settings.body or {}
        if any(name in LIMITS for name in own):
            body |= dict.fromkeys(LIMITS)
        return {name: value for name, value in (body | own).items() if value is not None}

    def _content(self) -> str | list[dict[str, Any]]:
        if not self.images:
            return self.rendered.user
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.rendered.user}]
        for heading, address in self.images:
            parts += [{"type": "text", "text": heading}, {"type": "image_url", "image_url": {"url": address}}]
        return parts

    def _response_format(self, form: str) -> Mapping[str, Any]:
        if form == "json_object":
            return {"type": "json_object"}
        schema = {"name": self.rendered.schema_name, "strict": True, "schema": self.rendered.schema}
        return {"type": "json_schema", "json_schema": schema}


def described(item: Item, settings: ModelSettings) -> bool:
    """Whether an item is described before it is judged: where its own text is long. Images are described once, or seen."""
    return min(len(item.text), settings.text_limit) > settings.describe_above


def is_short(item: Item, settings: ModelSettings) -> bool:
    """Whether many like it are judged in one call: it has few words, is not described first, and is not seen in images."""
    seen = bool(item.images) and settings.images != "none"
    return len(item.text) <= LONG and not seen and not described(item, settings)


def most_items(settings: ModelSettings, n_features: int, short: bool, said: bool = False) -> int:
    """The most items in one call with so many features; short: all of them are, see `is_short`; said: a reply describes them.

    As many as a reply has room for that any model may give, since the prompt is read in every call; but not so many judgements
    at once that a model loses its place among them.
    """
    if settings.log_probabilities:
        return 1
    if settings.items_per_call is not None:
        return settings.items_per_call
    if not short:
        return LONG_ITEMS
    room = (settings.max_output_tokens or ANY_REPLY) - most_out(0, n_features, said)
    each = most_out(1, n_features, said) - most_out(0, n_features, said)
    return max(LONG_ITEMS, min(SHORT_ITEMS, ANSWERS // n_features, room // each))


def most_out(n_items: int, n_features: int, said: bool) -> int:
    """The most tokens of a reply with so many features judged for so many items. said: it describes the items."""
    each = (ITEM_OUT if said else PLAIN_OUT) + ANSWER_OUT * n_features
    return LEAST_OUT + each * n_items + FEATURE_OUT * n_features


def words_out(n_wordings: int) -> int:
    """The most tokens of a reply with so many wordings, thoughts included."""
    return max(WORDS_OUT, LEAST_OUT + FEATURE_OUT * n_wordings)


_ASK_FOR_SCHEMA = "\n\nReply with one JSON object and nothing else. Its JSON schema: "
