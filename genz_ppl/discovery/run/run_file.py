"""What run.json and the progress in a state file must hold, whoever wrote them: checked in one place, when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from genz_ppl.data import Schema
from genz_ppl.discovery.run.records import CURVE, Counters, Progress
from genz_ppl.settings import DiscoverSettings, PairSettings

# As values: the types below are made, not declared.
_ANNOTATED: Any = Annotated
_LIST: Any = list
_TUPLE: Any = tuple
_POSITIVE = _ANNOTATED[float, Field(gt=0, allow_inf_nan=False)]
_FEATURE_NUMBERS = ("gain", "gain_when_added", "searched", "effect", "effect_lower", "effect_upper", "strongest_effect")
_WHOLE = _ANNOTATED[int, Field(ge=1, le=100_000)]


def _part(exactly: bool = False, /, **entries: Any) -> Any:
    """A type of JSON objects: types by name, (type, default) where an entry may be missing; others are let through or not."""
    config = ConfigDict(strict=True, extra="forbid" if exactly else "allow", protected_namespaces=())
    needed = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in entries.items()}
    return create_model("part", __config__=config, **needed)  # type: ignore[call-overload]


def _settle(kind: type[DiscoverSettings] | type[PairSettings], part: BaseModel) -> BaseModel:
    """Settings check themselves; those of later versions are let through."""
    values = {**part.__dict__, **(part.model_extra or {})}
    kind(**{name: value for name, value in values.items() if name in kind.__dataclass_fields__})
    return part


def _settings(kind: type[DiscoverSettings] | type[PairSettings], /, **entries: Any) -> Any:
    part = _part(error_rate_prior=_TUPLE[_POSITIVE, _POSITIVE], **entries)
    return _ANNOTATED[part, AfterValidator(lambda made: _settle(kind, made))]


_NUMBERS = _LIST[float]
_SIDES = _part(train=list[str], test=list[str])
_ANY_RUN = {
    "id": (_ANNOTATED[str, Field(pattern="^[0-9a-f]{32}$")] | None, None),
    "versions": dict[str, str],
    "fingerprint": str,
    "status": str,
    "model_settings": (dict[str, Any] | None, None),
    "store": (str | None, None),
}
_SCALING = dict.fromkeys(("target_centre", "target_spread", "covariate_centre", "covariate_spread"), _NUMBERS)
RUN = _part(
    **_ANY_RUN,
    source=str | None,
    settings=_settings(DiscoverSettings, model=str, link=str, likelihood=str, seed=int),
    roles=(_ANNOTATED[dict[str, Any], AfterValidator(Schema.from_dict)], Field(alias="schema")),
    scaling=_part(True, **_SCALING, effect_spread=(_LIST[_NUMBERS], [])),
    split=_SIDES,
    content=_SIDES,
    n_classes=(_WHOLE, 2),
    levels=(list[str], []),
    baseline=(_part(True, task=str, n_questions=int, examples=int) | None, None),
)
PAIR_RUN = _part(
    **_ANY_RUN,
    pairs=int,
    settings=_settings(PairSettings, link=str, likelihood=str, seed=int),
    search=_settings(DiscoverSettings),
    models=tuple[str, str],
    rounds=_WHOLE,
    test_fraction=float,
    pair_fraction=float,
    source=dict[str, Any] | None,
    split=_part(rows=_SIDES, columns=_SIDES),
)
_BEST = _part(True, step=int, ids=list[str], bound=float, judged=float, freedoms=(_LIST[_NUMBERS] | None, None))
# Of an earlier version those have one gain, and no effects.
_FEATURE = _part(
    id=str,
    text=str,
    origin=str,
    added_at=int,
    removed_at=(int | None, None),
    strongest=(str, ""),
    **dict.fromkeys(_FEATURE_NUMBERS, (float, 0.0)),
)
PROGRESS = _part(
    **{field.name: (type(field.default), field.default) for field in fields(Progress) if isinstance(field.default, int | str)},
    bound=float,
    n_test=int,
    features=_LIST[_FEATURE],
    curve=_ANNOTATED[_LIST[_part(**CURVE)], Field(min_length=1)],
    counters=Counters,
    pool=list[str],
    test_pool=list[str],
    best=_BEST | None,
    outcome=(dict[str, int | float | str | None], {}),
)
_PAIR_ROW = _part(what=str, metric=str, n_row_features=int, n_column_features=int, seconds=float)
PAIR_PROGRESS = _part(
    stage=_WHOLE,
    scores=dict[str, dict[str, float | None]],
    bounds=_NUMBERS,
    links=tuple[str, str],
    curve=_ANNOTATED[_LIST[_PAIR_ROW], Field(min_length=1)],
    status=str,
)


def checked(content: str | bytes, form: Any) -> dict[str, Any]:
    """The JSON object, if it is of that form. Raises ValueError, in one line, for anything else."""
    try:
        found = form.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{place and f'{place}: '}{fault['msg'].removeprefix('Value error, ')}") from None
    if form is RUN:
        _check_sizes(found)
    record: dict[str, Any] = json.loads(content)
    return record


def _check_sizes(run: Any) -> None:
    """Raise ValueError unless what is said of one thing in two places is of one size."""
    scaling, n_covariates = run.scaling, len(run.roles.covariates)
    sizes: Mapping[str, bool] = {
        "content": all(len(getattr(run.content, side)) == len(getattr(run.split, side)) for side in ("train", "test")),
        "scaling of targets": len(scaling.target_centre) == len(scaling.target_spread) == len(run.roles.target) > 0,
        "scaling of covariates": len(scaling.covariate_centre) == len(scaling.covariate_spread) == n_covariates,
        "scaling of effects": [len(row) for row in scaling.effect_spread] == [1 + n_covariates] * len(run.levels),
    }
    wrong = next((name for name, right in sizes.items() if not right), None)
    if wrong is not None:
        raise ValueError(f"the {wrong} is of another size than the items and columns")
