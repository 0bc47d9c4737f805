"""The forms of what a run writes down as JSON: objects with entries of known types, settings, and the edits of people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, create_model
from pydantic_core import core_schema

from genz_ppl.settings import DiscoverSettings, PairSettings

Form = TypeVar("Form", bound=BaseModel)
_STRICT = ConfigDict(strict=True, extra="allow", frozen=True, protected_namespaces=(), populate_by_name=True)


class Part(BaseModel):
    """A JSON object with entries of these types; what a later version has besides is let through."""

    model_config = _STRICT


def part(**entries: Any) -> type[BaseModel]:
    """The same made of types by name, (type, default) where an entry may be missing."""
    needed = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in entries.items()}
    return create_model("part", __config__=_STRICT, **needed)  # type: ignore[call-overload, no-any-return]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Made:
    """Annotation: read as `form`, then made into what it stands for, and written by `plain`."""

    form: Any
    make: Callable[[Any], Any]
    plain: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(self.plain)
        return core_schema.no_info_after_validator_function(self.make, handler.generate_schema(self.form), serialization=written)


# What was done before there were such settings.
EARLIER: dict[str, Any] = {
    **{"calibration": 0.0, "shrinkage": False, "error_rates": "symmetric"},
    **{"combine": 1, "test_at_end": False, "suggestions": 0, "direction": False},
}


def settings_form(kind: type[DiscoverSettings] | type[PairSettings], **entries: Any) -> Made:
    """Settings check themselves; those of later versions are let through here, and refused where a run goes on."""

    def make(read: BaseModel) -> DiscoverSettings | PairSettings:
        return kind(**{name: value for name, value in (EARLIER | dict(read)).items() if name in kind.__dataclass_fields__})

    return Made(part(error_rate_prior=tuple[Positive, Positive], **entries), make, asdict)


def given_settings(read: BaseModel) -> dict[str, Any]:
    """Settings of a search as they were given, if they are such."""
    # A direction is nothing that a search of two kinds of items is given.
    given = {name: value for name, value in EARLIER.items() if name != "direction"} | dict(read)
    DiscoverSettings(**{name: value for name, value in given.items() if name in DiscoverSettings.__dataclass_fields__})
    return given


class Edit(Part):
    """What people changed of a run that ended at a step, in texts; reword: question to wording; mine: additions tried then."""

    step: Annotated[int, Field(ge=0)] = 0
    drop: list[str] = []
    add: list[str] = []
    reword: dict[str, str] = {}
    lock: list[str] = []
    unlock: list[str] = []
    mine: Annotated[int, Field(ge=0)] = 0

    @property
    def gone(self) -> tuple[str, ...]:
        """Questions that go, for good or for another wording."""
        return (*self.drop, *self.reword)

    @property
    def added(self) -> tuple[str, ...]:
        """Questions that come."""
        return (*self.reword.values(), *self.add)


def read_as(form: type[Form], content: str | bytes) -> Form:
    """The JSON object, if it is of that form. Raises ValueError, in one line, for anything else."""
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{place and f'{place}: '}{fault['msg'].removeprefix('Value error, ')}") from None
