"""The forms of what a run writes down as JSON: objects with entries of known types, and the edits of people."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

Form = TypeVar("Form", bound=BaseModel)
_STRICT = ConfigDict(strict=True, extra="allow", frozen=True, protected_namespaces=(), populate_by_name=True)


class Part(BaseModel):
    """A JSON object with entries of these types; what a later version has besides is let through."""

    model_config = _STRICT


def part(**entries: Any) -> type[BaseModel]:
    """The same made of types by name, (type, default) where an entry may be missing."""
    needed = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in entries.items()}
    return create_model("part", __config__=_STRICT, **needed)  # type: ignore[call-overload, no-any-return]


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
