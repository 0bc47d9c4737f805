"""run.json, typed: what a run records of itself. Whoever wrote it, it is checked here when it is read, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from genz_ppl.cells import text_cells
from genz_ppl.data import Items, Schema, Split
from genz_ppl.data.written import written
from genz_ppl.discovery.run.forms import Edit, Made, Part, Positive, given_settings, part, read_as, settings_form
from genz_ppl.discovery.run.progress import Progress, asked
from genz_ppl.discovery.run.raters import MOST_ANNOTATORS, raters_of
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.rows import ids_of, places_of
from genz_ppl.setting_fields import check_number
from genz_ppl.settings import DiscoverSettings, PairSettings
from genz_ppl.types import FloatArray, Item

#: The form of a run's folder that this version writes; those without a number are of form 1.
FORMAT = 3
# The first form with the sides of the items in a file of their own.
SIDES_APART = 3
# What stands before the class of a model that was given as an object; it cannot be opened by this name.
OBJECT = "object:"
Whole = Annotated[int, Field(ge=1, le=100_000)]


class Sides(Part):
    """Something of each training and each test item."""

    train: list[str]
    test: list[str]


class AllSides(Sides):
    """The same, and of each item held back."""

    held: list[str] = Field(default_factory=list)


class SideSizes(Part):
    """How many items are on each side, and a hash of their ids and of what they say."""

    train: int
    test: int
    held: int
    sha256: str


class Units(Part):
    """The fields of a `Scaling`."""

    model_config = ConfigDict(extra="forbid")

    target_centre: list[float]
    target_spread: list[float]
    covariate_centre: list[float]
    covariate_spread: list[float]
    effect_spread: list[list[float]] = Field(default_factory=list)


@dataclass(frozen=True)
class Brief:
    """What a 0-shot baseline asks for: the task in words, how many questions, and how many training items are shown with it."""

    task: str
    n_questions: int = 50
    examples: int = 200

    def __post_init__(self) -> None:
        if not self.task.strip():
            raise OptionError("task: expected a description of the task, got an empty text; leave it out for the default")
        check_number("n_questions", self.n_questions, 1)
        check_number("examples", self.examples, 1)


class AnyRecord(Part):
    """What all kinds of runs record. id: of a run that spends or runs code, see `trust`; model_settings: of a served model."""

    format: Annotated[int, Field(ge=1, le=FORMAT)] = 1
    id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    versions: dict[str, str]
    fingerprint: str
    status: str
    model_settings: dict[str, Any] | None = None
    store: str | None = None
    #: The kind of its settings.
    known: ClassVar[type[DiscoverSettings] | type[PairSettings]]
    _unknown: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def read(cls, content: str | bytes) -> Self:
        """Of what a file holds. Raises ValueError, in one line, for anything else."""
        found = read_as(cls, content)
        found._unknown = tuple(name for name in json.loads(content)["settings"] if name not in cls.known.__dataclass_fields__)
        return found

    @classmethod
    def new(cls, **entries: Any) -> Self:
        """Of a run that starts here and now."""
        versions = {name: version(name) for name in ("genz-ppl", "torch", "pyro-ppl", "numpy")}
        versions["python"] = platform.python_version()
        return cls.model_construct(format=FORMAT, versions=versions, status="running", **entries)

    def changed(self, **entries: Any) -> Self:
        """The same with some entries changed."""
        return self.model_copy(update=entries)

    def content(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the models that the run asks."""
        raise NotImplementedError

    @property
    def by_argument(self) -> dict[str, str]:
        """The same by argument of `resume`."""
        return dict(zip(("model", "column_model"), self.asked, strict=False))

    @property
    def likelihood(self) -> str:
        """The name of its likelihood."""
        raise NotImplementedError

    def following(self, progress: Any) -> Self:
        """The same after what a run has found out about itself on the way; itself where that is nothing."""
        return self

    def check_settings(self, folder: object) -> None:
        """Raise RunDirectoryError for settings of another version, without which the run would not go on as it began."""
        if self._unknown:
            written = self.versions.get("genz-ppl", "unknown")
            raise RunDirectoryError(
                f"{folder}: the settings in run.json are not of this version (it knows no {self._unknown[0]!r}); "
                f"resume with genz-ppl {written}"
            )

    def opened_with(self, changes: Mapping[str, Any]) -> ModelSettings | None:
        """How the run's served model is called, with changes; None where the run has no served model.

        Raises OptionError for changes to what a run cannot change, or of a model that is not served.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if not any(is_served(model) for model in self.asked):
            if given:
                raise OptionError(
                    f"{next(iter(given))}: only for models behind a server (openai:NAME), and the run's is {self.asked[0]!r}"
                )
            return None
        known = self.model_settings or {}
        try:
            TypeAdapter(ModelSettings).validate_python(known)
            recorded, wanted = (ModelSettings.from_dict(values) for values in (known, {**known, **given}))
        except (TypeError, ValidationError) as error:
            fault = " ".join(str(error).split())
            raise RunDirectoryError(f"the model_settings in run.json are not of this version ({fault})") from None
        changed = [name for name in given if getattr(wanted, name) != getattr(recorded, name)]
        return recorded.changed(**{name: getattr(wanted, name) for name in changed})


class RunRecord(AnyRecord):
    """Of one kind of items. roles: of the columns; content: hashes of the items; levels: the groups of the varying column.
    by_tails: whether the run itself chooses between Gaussian and Student-t noise, which its settings then name;
    by_folds: whether it chooses its link, likewise.

    edits: by people, after the end; the last one may be under way.

    sides: of the items, whose ids and hashes are in split.parquet, see `genz_ppl.discovery.run.sides`; earlier forms have them as
    split and contents. source: what the items were read from, for the command line. baseline: of a 0-shot baseline only.
    rest: training items that are on none of these sides, in the last fit alone, see `set_aside`; all items that are on no side.
    loss, optim: classes of what the run was given to train guides with. annotators: who answers, where that is not the model
    alone; gold: whether people have labelled some items.
    """

    known = DiscoverSettings
    source: str | None
    name: str = "items"
    keep_texts: bool = False
    settings: Annotated[DiscoverSettings, settings_form(DiscoverSettings, model=str, link=str, likelihood=str, seed=int)]
    roles: Annotated[Schema, Made(dict[str, Any], Schema.from_dict, Schema.to_dict)] = Field(alias="schema")
    scaling: Units
    split: AllSides = AllSides(train=[], test=[])
    contents: AllSides = Field(alias="content", default=AllSides(train=[], test=[]))
    sides: SideSizes | None = Field(alias="items", default=None)
    rest: Annotated[int, Field(ge=0)] = 0
    n_classes: Whole = 2
    levels: list[str] = Field(default_factory=list)
    by_tails: bool = False
    by_folds: bool = False
    baseline: Brief | None = None
    edits: list[Edit] = Field(default_factory=list)
    loss: str | None = None
    optim: str | None = None
    annotators: Annotated[list[str], Field(max_length=MOST_ANNOTATORS)] = Field(default_factory=list)
    gold: bool = False

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        """Raise ValueError unless what is said of one thing in two places is of one size."""
        scaling, n_covariates = self.scaling, len(self.roles.covariates)
        sizes = {
            "split": (self.format >= SIDES_APART) == (self.sides is not None) == (not self.split.train),
            "content": all(len(getattr(self.contents, side)) == len(getattr(self.split, side)) for side in AllSides.model_fields),
            "scaling of targets": len(scaling.target_centre) == len(scaling.target_spread) == len(self.roles.target) > 0,
            "scaling of covariates": len(scaling.covariate_centre) == len(scaling.covariate_spread) == n_covariates,
            "scaling of effects": [len(row) for row in scaling.effect_spread] == [1 + n_covariates] * len(self.levels),
        }
        wrong = next((name for name, right in sizes.items() if not right), None)
        if wrong is not None:
            raise ValueError(f"the {wrong} is of another size than the items and columns")
        return self

    def content(self) -> dict[str, Any]:
        apart = {"split", "contents"} if self.format >= SIDES_APART else None
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=apart)

    @property
    def asked(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.settings.model, *self.annotators)))

    @property
    def by_argument(self) -> dict[str, str]:
        own = [name for name in self.annotators if not name.startswith(OBJECT)]
        return {"model": self.settings.model} | ({"annotators": ",".join(own)} if own else {})

    @property
    def answering(self) -> tuple[str, ...]:
        """The names of the models that answer."""
        return tuple(self.annotators) or (self.settings.model,)

    @property
    def raters(self) -> tuple[str, ...]:
        """See `raters_of`."""
        return raters_of(self.answering, self.gold)

    @property
    def likelihood(self) -> str:
        return self.settings.likelihood

    def following(self, progress: Any) -> Self:
        settings = progress.followed(self.settings)
        return self if settings == self.settings else self.changed(settings=settings)

    def own_items(self, items: Any, run: object = "the run") -> Items:
        """The items that the run was started on, of Items or a table (see `as_frame`). Raises InputError for others."""
        found = items if isinstance(items, Items) else Items.from_frame(items, **self.roles.roles())
        if found.fingerprint() != self.fingerprint:
            raise InputError(f"{found.name}: the items are not those of {run}; give the data it was started on")
        return found

    def split_of(self, items: Items) -> Split:
        """The split of the run, for the same items."""
        known = ids_of(items)
        split = Split(**{side: places_of(text_cells(getattr(self.split, side)), known) for side in AllSides.model_fields})
        if not self.rest:
            return split
        left = np.ones(len(items), dtype=np.bool_)
        left[np.concatenate([split.train, split.test, split.held])] = False
        return replace(split, rest=np.flatnonzero(left))

    def known_answers(self, progress: Progress, items: Items) -> tuple[FloatArray, list[int]]:
        """Answers to the active features, as `Progress.given`, that the run has of items that say the same, and where others are.

        An item that was not asked about some of them (`predict_with` pool) is one of the others.
        """
        whole = np.ones(len(progress.state.posterior), dtype=np.bool_)
        for record in progress.active:
            whole &= asked(progress.pool[record.text])
        trained = zip(self.contents.train, progress.given(), whole, strict=True)
        known = {name: row for name, row, complete in trained if complete}
        if progress.tested:
            known |= zip(self.contents.test, progress.given("test"), strict=True)
        if progress.held_asked:
            known |= zip(self.contents.held, progress.given("held"), strict=True)
        found = [known.get(name) for name in content_hashes(items)]
        unknown = np.full(progress.state.error_rates.shape if self.raters else len(progress.active), np.nan)
        answers = np.array([unknown if row is None else row for row in found]).reshape(len(items), *unknown.shape)
        return answers, [position for position, row in enumerate(found) if row is None]


class PairRecord(AnyRecord):
    """Of two kinds of items. pairs: how many; search: the settings of the searches that were given; models: of both sides.

    source: what all was read from, for the command line. pair_columns: the names of the columns of ids, rows first.
    """

    known = PairSettings
    pairs: int
    settings: Annotated[PairSettings, settings_form(PairSettings, link=str, likelihood=str, seed=int)]
    search: Annotated[dict[str, Any], Made(part(error_rate_prior=tuple[Positive, Positive]), given_settings, dict)]
    models: tuple[str, str]
    rounds: Whole
    test_fraction: float
    pair_fraction: float
    source: dict[str, Any] | None
    pair_columns: list[str] | None = None
    split: Annotated[dict[str, Sides], Field(min_length=2)]

    @property
    def asked(self) -> tuple[str, ...]:
        return self.models

    @property
    def likelihood(self) -> str:
        return self.settings.likelihood


def content_hashes(items: Sequence[Item]) -> list[str]:
    """What each item says, as 16 hexadecimal digits: equal for equal text, fields and image names."""
    said = written(items, with_id=False)
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in said]
