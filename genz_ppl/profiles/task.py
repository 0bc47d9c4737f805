"""What a refresh is about: the items, what the file knows of them already, and what is to be made; checked before any call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from genz_ppl.data import Items
from genz_ppl.errors import InputError, OptionError
from genz_ppl.llm.served.address import server_address
from genz_ppl.llm.served.keys import item_hash
from genz_ppl.llm.served.settings import ModelSettings, is_served, served_name
from genz_ppl.llm.served.templates import Prompts
from genz_ppl.llm.similarity.vectors import check_ids
from genz_ppl.llm.store.places import is_shared, located
from genz_ppl.llm.store.store import default_path
from genz_ppl.profiles import encoders
from genz_ppl.profiles.table import Profile, Profiles, read_profiles
from genz_ppl.profiles.template import TemplateWriter
from genz_ppl.profiles.users import open_histories
from genz_ppl.profiles.written import ProfilePrompt, Written
from genz_ppl.types import Item

if TYPE_CHECKING:
    from genz_ppl.profiles.questions import RunQuestions, TableQuestions

RULES, NO_MODEL = "rules", "none"


@dataclass(frozen=True, eq=False)
class Task:
    """items: whose profiles are made, users by their histories; given: as they were given. old: what is in the file `out`.

    pairs: the hash of those that users are described by; left_out: how many of the test side were not looked at.
    """

    items: tuple[Item, ...]
    given: Sequence[Item]
    kind: str
    out: Path
    old: Profiles | None
    prompt: ProfilePrompt | None
    encoder: str
    settings: ModelSettings
    store: Path | str
    questions: TableQuestions | RunQuestions | None = None
    pairs: str | None = None
    left_out: int = 0

    @property
    def model(self) -> str:
        """Who writes, as the file names it."""
        return TemplateWriter.model if self.prompt is None else self.prompt.model

    @property
    def prompt_version(self) -> str:
        """By what."""
        return TemplateWriter.prompt_version if self.prompt is None else self.prompt.version

    @cached_property
    def hashes(self) -> list[str]:
        """What each item says, as a sha-256."""
        return [item_hash(item, with_images=False).hex() for item in self.items]

    @cached_property
    def fresh(self) -> frozenset[int]:
        """The places of items whose text is to be made: new, changed, or written by another prompt or model."""
        return frozenset(at for at in range(len(self.items)) if self.known_text(at) is None)

    @cached_property
    def unwritten(self) -> list[int]:
        """Those of them that say anything, in order."""
        return [at for at in sorted(self.fresh) if self.items[at].text.strip()]

    @cached_property
    def unembedded(self) -> frozenset[int]:
        """The places of items whose text is there and whose vector is not, or is of another encoder."""
        return frozenset(at for at in range(len(self.items)) if at not in self.fresh and self.known_vector(at) is None)

    def row_of(self, item: Item) -> Profile | None:
        """What the file has of an item by its id."""
        return self._rows.get(item.id)

    def known_text(self, at: int) -> Written | None:
        """The text that the file has, if it is still that of the item, prompt and model."""
        row = self._rows.get(self.items[at].id)
        if row is None or row.profile is None:
            return None
        same = (row.item_hash, row.prompt_version, row.model) == (self.hashes[at], self.prompt_version, self.model)
        return Written(row.profile, row.tags) if same else None

    def known_vector(self, at: int) -> encoders.Vector | None:
        """Its vector, if the text is known and the encoder the same."""
        row = self._rows.get(self.items[at].id)
        return None if row is None or row.encoder != self.encoder or self.known_text(at) is None else row.vector

    @cached_property
    def _rows(self) -> dict[str, Profile]:
        return {} if self.old is None else {row.id: row for row in self.old.rows}


def task_of(
    items: Items | pd.DataFrame | Sequence[Item],
    out: str | Path,
    model: str,
    encoder: str,
    questions: str | None,
    users: str | Path | None,
    model_settings: ModelSettings | Mapping[str, Any] | None,
    store: str | Path | None,
) -> Task:
    """The arguments of `Refresh`, checked. Raises InputError and OptionError."""
    path = check_file(out)
    encoders.check_encoder(encoder)
    settings = _settings(model, encoder, questions, model_settings, store)
    given = Items.from_frame(items, require_target=False) if isinstance(items, pd.DataFrame) else items
    described, kind, pairs, left_out = tuple(given), "item", None, 0
    if users is not None:
        if questions is not None:
            raise OptionError("questions: are about items, and the profiles are of users; leave out one of the two")
        described, pairs, left_out = open_histories(users, given)
        kind = "user"
    check_ids([item.id for item in described], "the items")
    if not described:
        raise InputError("there are no items; at least one is needed")
    prompt = None
    if is_served(model):
        prompt = ProfilePrompt(settings, Prompts.load(settings.prompts), kind, str(server_address(settings.base_url)))
    old = read_profiles(path) if path.exists() else None
    if old is not None:
        _check_kind(old, kind, pairs)
    asked = None
    if questions is not None:
        from genz_ppl.profiles.questions import open_questions  # with torch, which takes seconds

        asked = open_questions(questions)
    kept = default_path() if store is None else located(store) if is_shared(store) else Path(store)
    return Task(described, given, kind, path, old, prompt, encoder, settings, kept, asked, pairs, left_out)


def _settings(
    model: str,
    encoder: str,
    questions: str | None,
    given: ModelSettings | Mapping[str, Any] | None,
    store: str | Path | None,
) -> ModelSettings:
    """How models are called; texts alone are read, no images."""
    if model not in (RULES, NO_MODEL) and not is_served(model):
        raise OptionError(f"model: expected rules (profiles from the fields, without a key) or openai:NAME, got {model!r}")
    served = is_served(model) or encoders.is_served_encoder(encoder)
    asks = served or (questions is not None and not questions.startswith("table:"))
    for name, value in (("model_settings", given), ("store", store)):
        if value is not None and not asks:
            raise OptionError(f"{name}: only for models behind a server (openai:NAME); leave it out")
    try:
        chosen = given if isinstance(given, ModelSettings) else ModelSettings(**(given or {}))
    except TypeError as error:
        raise OptionError(f"model_settings: {error}; see ModelSettings for the fields") from None
    name = served_name(model) if is_served(model) else ""
    return ModelSettings.from_dict({**chosen.to_dict(), "model": name, "mining_model": None, "images": "none"})


def _check_kind(old: Profiles, kind: str, pairs: str | None) -> None:
    if old.about.kind != kind:
        raise OptionError(
            f"--output {old.source}: holds profiles of {old.about.kind}s, and these are of {kind}s; choose another file"
        )
    old.check_pairs(pairs)


def check_file(out: str | Path) -> Path:
    """Where profiles are to be written. Raises OptionError for another kind of file than .parquet, and a folder that is none."""
    path = Path(out).expanduser()
    if path.suffix.lower() != ".parquet":
        raise OptionError(f"--output {out}: expected a name that ends with .parquet")
    if path.is_dir():
        raise OptionError(f"--output {out}: expected a file, found a folder; choose another name")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"--output {out}: there is no folder {path.absolute().parent}; make it first")
    return path
