"""Items as a run knows them: columns are matched by name, in whatever order they come and whatever else is there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genz_ppl.data import Items, Schema
from genz_ppl.data.columns import BY_WORDS, Roles, as_names, render_lines, render_template
from genz_ppl.data.frames import as_frame
from genz_ppl.data.values import listing, shorten
from genz_ppl.errors import GenzWarning, InputError, OptionError, did_you_mean
from genz_ppl.llm.combined import parts_of
from genz_ppl.llm.rules.columns import field_names
from genz_ppl.llm.rules.predicates import parse
from genz_ppl.settings import AUTO, CLASS_LIKELIHOODS
from genz_ppl.types import FloatArray, Item

RULES = "rules"


def with_roles(items: Any, given: Mapping[str, Any]) -> tuple[Items, dict[str, Any]]:
    """Items, of a table that `as_frame` knows with the roles of its columns among what is given, and the settings left.

    Targets are read as classes as `classes_for` says. Raises OptionError for roles beside Items, InputError for no table.
    """
    roles = Roles(**{name: given[name] for name in Roles.__annotations__ if name in given})  # type: ignore[typeddict-item]
    settings = {name: value for name, value in given.items() if name not in roles}
    if isinstance(items, Items):
        if roles:
            raise OptionError(f"{next(iter(roles))}: the items have their columns already; leave it out, or pass a DataFrame")
        return items, settings
    return Items.from_frame(as_frame(items), **{"classes": classes_for(settings.get("likelihood")), **roles}), settings


def classes_for(likelihood: object) -> bool | str:
    """Whether targets are read as classes: where the likelihood is one of classes; if it is not given, where they are words."""
    return BY_WORDS if likelihood in (None, AUTO) else likelihood in CLASS_LIKELIHOODS


def needed_schema(schema: Schema, texts: Sequence[str], model: str) -> Schema:
    """The roles of the columns that predictions need. texts: of the questions; model: the name of the one that answers them.

    The embedded model reads the fields that its statements name and nothing else; any other one reads all of an item.
    """
    if model != RULES:
        return schema
    named = {parse(part).field for text in texts for part in parts_of(text)}
    needed = tuple(column for column in schema.readable if column in named)
    return replace(schema, text=needed) if len(needed) == len(named) else schema


def matched(items: Items, schema: Schema, needed: Schema) -> Items:
    """The items with the covariates of a run in its order, and what a model reads of them as it was written there.

    schema: of the run; needed: of what a prediction needs (`needed_schema`). Raises InputError, naming it, for a covariate, an
    image, a column to vary by or a column to read that the items lack. Further columns do no harm.
    """
    own = items.schema
    varying = own.varying or (schema.varying if items.varying_labels is not None else None)
    for role, wanted, there in (
        ("covariate", needed.covariates, own.covariates),
        ("image", needed.images, own.images),
        ("varying", as_names(needed.varying), as_names(varying)),
        ("text", needed.readable, tuple(dict.fromkeys((*own.readable, *field_names(items))))),
    ):
        lacking = next((name for name in wanted if name not in there), None)
        if lacking is not None:
            known = f"{did_you_mean(lacking, there)}there are: {listing(there) or 'none'}"
            raise InputError(
                f"{items.name}: expected the column {shorten(lacking)} ({role}) of the run, which is missing; {known}"
            )
    if own.covariates != schema.covariates:
        order = [own.covariates.index(name) for name in schema.covariates]
        items = replace(items, covariates=items.covariates[:, order], schema=replace(own, covariates=schema.covariates))
    if own.text != schema.text and set(schema.readable) <= set(own.readable):
        items = replace(items, items=_read_as(items, schema), schema=replace(items.schema, text=schema.text))
    return items


def _read_as(items: Items, schema: Schema) -> tuple[Item, ...]:
    """The items with text and fields as the schema has them read: what a served model has answered is known by these."""
    more = set(items.schema.readable) - set(schema.readable)
    rows = [{name: value for name, value in item.fields.items() if name not in more} for item in items]
    if isinstance(schema.text, str):
        texts = [render_template(schema.text, row) for row in rows]
    else:
        texts = render_lines({name: [row.get(name) for row in rows] for name in schema.readable})
    return tuple(replace(item, text=text, fields=row) for item, text, row in zip(items, texts, rows, strict=True))


def warn_of_silence(items: Items, texts: Sequence[str], answers: FloatArray, before: FloatArray) -> None:
    """A GenzWarning where questions have much fewer answers about these items, (T, K), than about those of the run, (R, K).

    Of several annotators (T, K, A): none of them has answered.
    """
    gaps = [np.asarray(np.isnan(part.reshape(*part.shape[:2], -1)).all(axis=2)) for part in (answers, before)]
    missing, usual = (gap.mean(axis=0) if len(gap) else np.zeros(len(texts)) for gap in gaps)
    silent = [text for text, share, other in zip(texts, missing, usual, strict=True) if share > (1 + other) / 2]
    if silent:
        more = f" and {len(silent) - 1} more questions have" if len(silent) > 1 else " has"
        said = f"{shorten(silent[0])}{more} hardly any answer here, and predictions average over yes and no"
        warnings.warn(f"{items.name}: {said}; check that columns and ids are those of the run", GenzWarning, stacklevel=4)
