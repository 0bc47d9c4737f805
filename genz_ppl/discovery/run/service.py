"""The foundation model of a run: from what the user gave, or what run.json says, to an object that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genz_ppl.discovery.progress import Display
from genz_ppl.discovery.run import own_runs
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.record import recorded_model, recorded_model_settings
from genz_ppl.discovery.run.records import Counters, Progress
from genz_ppl.errors import OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.registry import open_model
from genz_ppl.llm.served.settings import ModelSettings, is_served, served_name
from genz_ppl.llm.served.spending import Spending
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Item

OnStep = Callable[[Progress, DiscoverSettings], None]
OnAnswers = Callable[[int, int], None]


@dataclass(frozen=True)
class Watchers:
    """Who is told of a run's progress: after every step, and while a served model is asked.

    progress: whether to show it; None: in a notebook and on a terminal, unless somebody else is told.
    """

    on_step: OnStep | None = None
    on_answers: OnAnswers | None = None
    progress: bool | None = False

    @contextmanager
    def displayed(self) -> Iterator[Watchers]:
        """Those who are told while a block runs, a display among them where one is wanted."""
        nobody = self.on_step is None and self.on_answers is None
        with Display(False if self.progress is None and not nobody else self.progress, first="asking the model") as display:
            told = Watchers(_both(display, self.on_step), _both(display.answers, self.on_answers))
            yield told if display.shown else self

    def watch(self, model: FoundationModel) -> None:
        """Have a model that counts its answers report to `on_answers`."""
        if self.on_answers is not None and hasattr(model, "progress"):
            model.progress = self.on_answers


def _both(first: Callable[..., None], second: Callable[..., None] | None) -> Callable[..., None]:
    def told(*arguments: Any) -> None:
        first(*arguments)
        if second is not None:
            second(*arguments)

    return told


@dataclass(frozen=True)
class Service:
    """A model not opened yet. settings, store: of a served model; None for others, which need neither."""

    model: str | FoundationModel
    settings: ModelSettings | None = None
    store: str | None = None

    @classmethod
    def of(
        cls, model: str | FoundationModel, settings: ModelSettings | Mapping[str, Any] | None, store: str | Path | None
    ) -> Service:
        """What the user gave. Raises OptionError for settings that are wrong or go with no such model."""
        if not is_served(model):
            for name, given in (("model_settings", settings), ("store", store)):
                if given is not None:
                    raise OptionError(f"{name}: only for models behind a server (openai:NAME); leave it out")
            return cls(model)
        name = served_name(str(model))
        try:
            chosen = settings if isinstance(settings, ModelSettings) else ModelSettings(**(settings or {}))
        except TypeError as error:
            raise OptionError(f"model_settings: {error}; see ModelSettings for the fields") from None
        path = None if store is None else str(Path(store).absolute())
        return cls(model, ModelSettings.from_dict({**chosen.to_dict(), "model": name}), path)

    @classmethod
    def recorded(
        cls,
        record: dict[str, Any],
        directory: RunDirectory | None,
        model: str | FoundationModel | None,
        changes: Mapping[str, Any],
        own_caps: bool = True,
    ) -> Service:
        """The model of a run with changes, fields of `ModelSettings` and "store".

        own_caps: the run's caps hold; without, only those in `changes` do. Raises RunDirectoryError where the directory asks for
        what is neither given here nor known as the user's own, see `own_runs`.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if directory is not None:
            own_runs.check(record, directory.path, {"model": model, **given})
        store = given.pop("store", None)
        settings = recorded_model_settings(record, given)
        if store is not None and settings is None:
            raise OptionError("store: only for models behind a server (openai:NAME); leave it out")
        if settings is not None and not own_caps:
            caps = {name: changes.get(name) for name in ("max_cost", "max_calls", "max_tokens")}
            settings = ModelSettings.from_dict({**settings.to_dict(), **caps})
        kept = record.get("store") if store is None else str(Path(store).absolute())
        return cls(recorded_model(record["settings"]["model"], model), settings, kept)

    def changed(self, record: dict[str, Any]) -> dict[str, Any]:
        """The run.json of a run that goes on with this, which makes it the user's own."""
        settings = record["settings"] | ({"model": self.model} if isinstance(self.model, str) else {})
        served = None if self.settings is None else self.settings.to_dict()
        record = own_runs.with_id({**record, "settings": settings, "model_settings": served, "store": self.store})
        own_runs.note(record)
        return record

    def open(
        self,
        record: Mapping[str, Any],
        directory: RunDirectory | None,
        fresh: bool = True,
        counters: Counters | None = None,
        items: Iterable[Item] = (),
    ) -> FoundationModel:
        """The model, ready to be asked.

        record, directory, fresh: whose spending it counts; counters: what is known of that. items: that it may be asked about,
        whose images are looked at: InputError for what is no image, before any call.
        """
        if isinstance(self.model, str) and self.settings is not None:
            from genz_ppl.llm.served.keys import check_image
            from genz_ppl.llm.served.model import OpenAIModel  # takes a second to import

            if self.settings.images != "none":
                for path in {path for item in items for path in item.images}:
                    check_image(path)
            run, folder = (None, None) if directory is None else (record.get("id"), directory.path)
            return OpenAIModel(self.settings, self.store, run=run, fresh=fresh, folder=folder, spent=_spending(counters))
        if isinstance(self.model, str):
            return open_model(self.model)
        missing = [name for name in ("answer", "propose", "suggest") if not callable(getattr(self.model, name, None))]
        if missing:
            raise OptionError(
                f"model: expected an object with answer, propose and suggest; {type(self.model).__name__} lacks {missing[0]}"
            )
        return self.model


def _spending(counters: Counters | None) -> Spending | None:
    if counters is None:
        return None
    cost = 0.0 if counters.cost != counters.cost else counters.cost  # NaN: not known
    return Spending(counters.calls, counters.tokens_in, counters.tokens_out, cost)
