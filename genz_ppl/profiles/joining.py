"""The vectors of a file of profiles beside the columns of a table: as covariates, or as what is explained."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from genz_ppl.data import Items, Schema
from genz_ppl.errors import GenzWarning, InputError
from genz_ppl.llm.similarity.vectors import ItemVectors, read_vectors

COVARIATES, TARGETS = "covariates", "targets"
# Of the items, from which on numbers beside them explain anything.
_MOST_SHARE = 0.5


def vector_names(known: ItemVectors) -> tuple[str, ...]:
    """A name for each of the D numbers, which tells the encoder, so that vectors of another are never taken for these."""
    return tuple(f"{known.encoder} {number}" for number in range(1, known.vectors.shape[1] + 1))


def without_vectors(schema: Schema, path: str | Path) -> Schema:
    """The roles of the columns that are not from the file of profiles."""
    names = set(vector_names(read_vectors(path)))
    kept = {role: tuple(name for name in getattr(schema, role) if name not in names) for role in ("target", "covariates")}
    return replace(schema, **kept)  # type: ignore[arg-type]


def with_vectors(items: Items, path: str | Path, role: str) -> Items:
    """The items with the vectors of a file of profiles, matched by id, as `COVARIATES`, or as `TARGETS` in place of others.

    An item without a vector is kept: as a target it is missing, as a covariate the mean of the others, which a GenzWarning says.
    Raises InputError for a file that is wrong or has none of the ids.
    """
    known = read_vectors(path)
    vectors, names = known.by_id, vector_names(known)
    found = np.full((len(items), len(names)), np.nan)
    for row, name in enumerate(items.ids):
        if name in vectors:
            found[row] = vectors[name]
    lacking = [name for name in items.ids if name not in vectors]
    if len(lacking) == len(items):
        raise InputError(f"{path}: has a vector of none of the {len(items)} items; check that its ids are theirs")
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if lacking[5:] else "")
        taken = "count as missing" if role == TARGETS else "have the mean of the others"
        said = f"{len(lacking)} of {len(items)} items have no vector in {path} and {taken}: {shown}"
        warnings.warn(said, GenzWarning, stacklevel=2)
    if role == TARGETS:
        return replace(items, targets=found, schema=replace(items.schema, target=names, classes=(), embedding=True))
    if len(names) >= _MOST_SHARE * len(items):
        warnings.warn(
            f"vectors of {len(names)} numbers beside {len(items)} items explain any target, and leave nothing to questions; "
            "take more items, or an encoder of shorter vectors",
            GenzWarning,
            stacklevel=2,
        )
    covariates = np.where(np.isnan(found), np.nanmean(found, axis=0), found)
    schema = replace(items.schema, covariates=(*items.covariate_names, *names))
    return replace(items, covariates=np.hstack([items.covariates, covariates]), schema=schema)
