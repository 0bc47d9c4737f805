"""Profiles from a served model: the key of each text in the store, the call for it, and the calls for many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genz_ppl.llm.served.batching import texts_in_batches
from genz_ppl.llm.served.keys import digest
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.replies import stored_profile
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.settings import SERVED, ModelSettings
from genz_ppl.llm.served.templates import Prompts, cut_text
from genz_ppl.llm.served.writing import Writing
from genz_ppl.types import Item

# The most tokens of a reply where the user does not say, thoughts that are not shown included; and of a usual one.
MOST_OUT, USUAL_OUT = 2000, 110


@dataclass(frozen=True)
class Written:
    """What a profile says: its text and tags."""

    profile: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ProfilePrompt:
    """How profiles of one kind, "item" or "user", are asked for: one call each, so that none depends on its neighbours."""

    settings: ModelSettings
    prompts: Prompts
    kind: str
    endpoint: str

    @property
    def version(self) -> str:
        """Of the prompt."""
        return self.prompts.version(f"profile_{self.kind}")

    @property
    def model(self) -> str:
        """As the user names it."""
        return f"{SERVED}:{self.settings.model}"

    def key(self, item: Item) -> bytes:
        """What the text goes by in the store: all that decides it."""
        own = [self.settings.body] if self.settings.body else []
        decided = [self.settings.model, self.endpoint, self.version, self.settings.temperature, *own]
        return digest(["profile", decided, self._shown(item)])

    def request(self, item: Item) -> Request:
        """The call for it."""
        rendered = self.prompts.profile(self._shown(item), self.kind)
        return Request("profile", self.settings.model, rendered, self.settings.max_output_tokens or MOST_OUT)

    def _shown(self, item: Item) -> str:
        return cut_text(item.text, self.settings.text_limit)


class ServedWriter:
    """Writes profiles by calls of `model`, each stored and paid for once. failures: of those given up, by reason."""

    def __init__(self, model: OpenAIModel, prompt: ProfilePrompt) -> None:
        self._model, self._prompt = model, prompt
        self.model, self.prompt_version = prompt.model, prompt.version
        self.failures: Counter[str] = Counter()

    def write(self, items: Sequence[Item]) -> list[Written | None]:
        """The profile of each item; None where the model gives none that can be used.

        Raises ModelError, BudgetError and StoreError; what was written until then is in the store.
        """
        caller, prompt = self._model.caller, self._prompt
        keys = [prompt.key(item) for item in items]
        shown = dict(zip(keys, items, strict=True))
        if self._model.settings.batch:
            self._model.wait(texts_in_batches(caller, {key: prompt.request(item) for key, item in shown.items()}))

        def read(reply: str, some: tuple[bytes, ...]) -> Mapping[bytes, str]:
            return dict.fromkeys(some, stored_profile(reply))

        writing = Writing(caller, keys, lambda some: prompt.request(shown[some[0]]), read, progress=self._model.progress)
        found = self._model.wait(writing.run())
        self.failures += writing.failures
        return [read_written(found[key]) for key in keys]


def read_written(text: str) -> Written | None:
    """The reverse of `stored_profile`; None for the text of one that was given up."""
    if not text:
        return None
    said = json.loads(text)
    return Written(said["profile"], tuple(said["tags"]))
