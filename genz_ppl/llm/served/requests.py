"""From a rendered prompt to the body of a chat completion, and how large it and its reply can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genz_ppl.llm.served.budget import likely_tokens, most_tokens
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Rendered

# How the form of a reply is asked for, the most binding first; lesser servers know only the later ones.
FORMATS = ("json_schema", "json_object", "text")
ALTERNATIVES = 5
OPENAI = "//api.openai.com"


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

    @cached_property
    def most_tokens_in(self) -> int:
        """An upper limit of the tokens read. The plainer formats explain the schema in words, so it is counted twice."""
        return most_tokens((*self.texts, *self.texts[2:], _ASK_FOR_SCHEMA), len(self.images))

    @cached_property
    def likely_tokens_in(self) -> float:
        """About the tokens read."""
        return likely_tokens(self.texts, len(self.images))

    def body(self, form: str, settings: ModelSettings) -> dict[str, Any]:
        """The JSON to send. form: one of FORMATS."""
        system = self.rendered.system
        if self.rendered.schema is not None and form != "json_schema":
            system += _ASK_FOR_SCHEMA + json.dumps(self.rendered.schema)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": self._content()}],
            "max_completion_tokens": self.tokens_out,
        }
        if settings.base_url is not None and OPENAI not in settings.base_url:
            body["max_tokens"] = self.tokens_out  # the name that servers other than OpenAI's know
        if self.rendered.schema is not None and form != "text":
            body["response_format"] = self._response_format(form)
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.log_probabilities and self.kind == "extract":
            body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        return body

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


_ASK_FOR_SCHEMA = "\n\nReply with one JSON object and nothing else. Its JSON schema: "
