"""The foundation model of a run: from what the user gave, or what run.json says, to an object that answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genz_ppl.discovery.run import trust
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.run.raters import check_names
from genz_ppl.discovery.run.record import OBJECT, RunRecord
from genz_ppl.errors import OptionError
from genz_ppl.llm.annotators import AnnotatorsModel
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.registry import open_model
from genz_ppl.llm.served.settings import ModelSettings, is_served, served_name
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.places import check_psycopg, is_shared, located
from genz_ppl.settings import FREE, IN_BLOCKS, PAID, PAPER, SCREENED, SUGGESTED, DiscoverSettings
from genz_ppl.types import Item

# What a bill calls an object that proposes and does not answer.
PROPOSER = "the model that proposes"


@dataclass(frozen=True)
class Service:
    """A model not opened yet. settings, store: of a served model; None for others, which need neither.

    annotators: who answers in its place, while it proposes; none where it answers alone.
    """

    model: str | FoundationModel
    settings: ModelSettings | None = None
    store: str | None = None
    annotators: tuple[str | FoundationModel, ...] = ()

    @classmethod
    def of(
        cls,
        model: str | FoundationModel,
        settings: ModelSettings | Mapping[str, Any] | None,
        store: str | Path | None,
        annotators: Sequence[str | FoundationModel] = (),
    ) -> Service:
        """What the user gave. Raises OptionError for settings that are wrong or go with no such model."""
        if any(one is other for place, one in enumerate(annotators) for other in annotators[:place] if not isinstance(one, str)):
            raise OptionError("annotators: an object is there twice; give each once")
        check_names(names_of(annotators))
        first = next((one for one in (model, *annotators) if is_served(one)), None)
        if first is None:
            for name, given in (("model_settings", settings), ("store", store)):
                if given is not None:
                    raise OptionError(f"{name}: only for models behind a server (openai:NAME); leave it out")
            return cls(model, annotators=tuple(annotators))
        name = served_name(str(first))
        try:
            chosen = settings if isinstance(settings, ModelSettings) else ModelSettings(**(settings or {}))
        except TypeError as error:
            raise OptionError(f"model_settings: {error}; see ModelSettings for the fields") from None
        if annotators and chosen.workers == 0:
            raise OptionError("workers: 0 leaves calls to genz work, which asks one model alone; give at least 1, or one model")
        path = None if store is None else located(store)
        return cls(model, ModelSettings.from_dict({**chosen.to_dict(), "model": name}), path, tuple(annotators))

    @classmethod
    def recorded(
        cls,
        record: RunRecord,
        directory: RunDirectory | None,
        model: str | FoundationModel | None,
        changes: Mapping[str, Any],
        own_caps: bool = True,
    ) -> Service:
        """The model of a run with changes, fields of `ModelSettings`, "store" and "annotators".

        own_caps: the run's caps hold; without, only those in `changes` do. Raises RunDirectoryError where the directory asks for
        what is neither given here nor known as the user's own, see `trust`.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        annotators: Sequence[str | FoundationModel] | None = given.pop("annotators", None)
        if directory is not None:
            others = None if annotators is None else ",".join(names_of(annotators))
            trust.check(record, directory.path, {"model": model, "annotators": others, **given})
        store = given.pop("store", None)
        settings = record.opened_with(given)
        if store is not None and settings is None:
            raise OptionError("store: only for models behind a server (openai:NAME); leave it out")
        if settings is not None and not own_caps:
            caps = {name: changes.get(name) for name in ("max_cost", "max_calls", "max_tokens")}
            settings = ModelSettings.from_dict({**settings.to_dict(), **caps})
        kept = record.store if store is None else located(store)
        if isinstance(model, AnnotatorsModel):
            return cls(model, settings, kept)  # as it was opened before
        own = model_of(record.settings.model, model)
        return cls(own, settings, kept, annotators_of(getattr(record, "annotators", []), annotators, own))

    @property
    def noted(self) -> dict[str, Any]:
        """What a record says of it."""
        noted = {"model_settings": None if self.settings is None else self.settings.to_dict(), "store": self.store}
        return noted | ({"annotators": self.names} if self.annotators else {})

    @property
    def names(self) -> list[str]:
        """Of those who answer."""
        return names_of(self.annotators or (self.model,))

    def changed(self, record: RunRecord) -> RunRecord:
        """The record of a run that goes on with this, which makes it the user's own."""
        settings = replace(record.settings, model=self.model) if isinstance(self.model, str) else record.settings
        return trust.own(record.changed(settings=settings, **self.noted))

    def open(
        self,
        record: RunRecord,
        directory: RunDirectory | None,
        fresh: bool = True,
        counters: Counters | None = None,
        items: Iterable[Item] = (),
    ) -> FoundationModel:
        """The model, ready to be asked.

        record, directory, fresh: whose spending it counts; counters: what is known of that. items: that it may be asked about,
        whose images are looked at: InputError for what is no image, before any call.
        """
        if self.annotators:
            return self._all_opened(record, directory, fresh, counters, list(items))
        if isinstance(self.model, str) and self.settings is not None:
            from genz_ppl.llm.served.keys import check_image
            from genz_ppl.llm.served.model import OpenAIModel  # takes a second to import

            if self.settings.images != "none":
                for path in {path for item in items for path in item.images}:
                    check_image(path)
            run, folder = (None, None) if directory is None else (record.id, directory.path)
            kind = OpenAIModel
            if self.settings.workers == 0 and is_shared(self.store):
                check_psycopg()
                from genz_ppl.llm.served.posting import PostingModel

                kind = PostingModel
            return kind(self.settings, self.store, run=run, fresh=fresh, folder=folder, spent=_spending(counters))
        if isinstance(self.model, str):
            return open_model(self.model)
        missing = [name for name in ("answer", "propose", "suggest") if not callable(getattr(self.model, name, None))]
        if missing:
            raise OptionError(
                f"model: expected an object with answer, propose and suggest; {type(self.model).__name__} lacks {missing[0]}"
            )
        return self.model

    def _all_opened(
        self, record: RunRecord, directory: RunDirectory | None, fresh: bool, counters: Counters | None, items: Sequence[Item]
    ) -> FoundationModel:
        """All of them as one model, by one budget."""
        opened: dict[str, FoundationModel] = {}
        own = (name for name, one in zip(self.names, self.annotators, strict=True) if one is self.model or one == self.model)
        proposer = next(own, self.model if isinstance(self.model, str) else PROPOSER)
        for name, model in zip((*self.names, proposer), (*self.annotators, self.model), strict=True):
            if name not in opened:
                settings = None
                if is_served(model):
                    assert self.settings is not None
                    settings = ModelSettings.from_dict({**self.settings.to_dict(), "model": served_name(str(model))})
                one = Service(model, settings, self.store if settings else None)
                opened[name] = one.open(record, directory, fresh, counters, items)
                fresh = fresh and settings is None  # the others are booked with the first of them
        return AnnotatorsModel({name: opened[name] for name in self.names}, (proposer, opened[proposer]))


def names_of(models: Sequence[str | FoundationModel]) -> list[str]:
    """As a record notes them; objects of one class are numbered."""
    names = [name_of(one) for one in models]
    numbers = [names[:place].count(name) for place, name in enumerate(names)]
    numbered = zip(names, numbers, strict=True)
    return [f"{name} {number + 1}" if number and name.startswith(OBJECT) else name for name, number in numbered]


def annotators_of(
    names: Sequence[str], given: Sequence[str | FoundationModel] | None, model: str | FoundationModel
) -> tuple[str | FoundationModel, ...]:
    """The annotators of those names, which the run was started with. given: again, or None; model: who proposes."""
    if given is not None and len(given) != len(names):
        raise OptionError(f"annotators: the run has {len(names)}, got {len(given)}; give the same, or leave them out")
    known = [model if name == name_of(model) else None for name in names] if given is None else list(given)
    return tuple(model_of(name, one, "annotators") for name, one in zip(names, known, strict=True))


def make_settings(
    model: str | FoundationModel, settings: dict[str, Any], annotators: Sequence[str | FoundationModel] = ()
) -> DiscoverSettings:
    """Checked settings. annotators: who answers in place of the model.

    Raises OptionError for unknown names and values out of range.
    """
    name, known = name_of(model), set(DiscoverSettings.__dataclass_fields__) - {"model"}
    unknown = [option for option in settings if option not in known]
    if unknown:
        raise OptionError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}")
    if not isinstance(settings.get("likelihood", ""), str):
        from genz_ppl.models import name_of as likelihood_name  # with torch, which takes seconds

        settings = {**settings, "likelihood": likelihood_name(settings["likelihood"])}
    paid = any(map(is_served, (name, *annotators)))
    presets = PAPER if settings.get("paper") else FREE if name == "rules" else PAID if paid else {}
    presets = presets | (IN_BLOCKS if settings.get("engine", "here") != "here" else {})
    chosen = DiscoverSettings(model=name, **(presets | settings))
    screen = (SCREENED if paid else 0) if chosen.screen is None else chosen.screen
    suggestions = (SUGGESTED if paid else 0) if chosen.suggestions is None else chosen.suggestions
    tested = paid if chosen.test_at_end is None else chosen.test_at_end
    return replace(chosen, screen=screen, suggestions=suggestions, test_at_end=tested)


def name_of(model: str | FoundationModel) -> str:
    """Of a model, as a record notes it."""
    return model if isinstance(model, str) else f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}"


def model_of(name: str, model: str | FoundationModel | None, option: str = "model") -> str | FoundationModel:
    """The model that is given, else the one of that name, which the run was started with.

    option: by which it is given. Raises OptionError where a run that was given an object is not given it again, and for another
    name where answers come from a server.
    """
    if isinstance(model, str) and model != name and (is_served(model) or is_served(name)):
        raise OptionError(f"{option}: cannot change when a run goes on, and the run's is {name!r}; give that, or leave it out")
    if model is None and name.startswith(OBJECT):
        kind = name.removeprefix(OBJECT)
        raise OptionError(f"the run was given the model object {kind}, not a name; pass it again as {option}=")
    return name if model is None else model


def _spending(counters: Counters | None) -> Spending | None:
    if counters is None:
        return None
    cost = 0.0 if counters.cost != counters.cost else counters.cost  # NaN: not known
    return Spending(counters.calls, counters.tokens_in, counters.tokens_out, cost)
