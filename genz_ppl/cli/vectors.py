"""`--vectors FILE`: vectors of a file of profiles beside SOURCE, and how a run directory remembers them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genz_ppl.errors import OptionError

if TYPE_CHECKING:
    from genz_ppl.data import Items, Schema
    from genz_ppl.data.columns import Writing

COVARIATES, TARGETS, SIMILARITY = "covariates", "targets", "similarity"
ROLES = (COVARIATES, TARGETS, SIMILARITY)
# Between SOURCE and the file in a run's record.
_BESIDE = " --vectors "


def read_vectors_option(text: str) -> tuple[str, str]:
    """The absolute path of FILE and what its vectors are, from "FILE" or "FILE,as=targets". Raises OptionError."""
    file, comma, role = text.rpartition(",as=")
    if not comma:
        file, role = text, COVARIATES
    if role not in ROLES or not file:
        raise OptionError(f"--vectors: expected FILE, or FILE,as= and one of {', '.join(ROLES)}, got {text!r}")
    return os.path.abspath(os.path.expanduser(file)), role


def take_as_model(parameters: dict[str, Any], given: dict[str, Any]) -> None:
    """Where vectors are what the model similarity compares, name that model with them; they are no columns then.

    parameters: the options of a command; given: the settings among them. Both are changed. Raises OptionError for another model.
    """
    text = parameters.get("vectors")
    if text is None or read_vectors_option(text)[1] != SIMILARITY:
        return
    if given.get("model", SIMILARITY) != SIMILARITY:
        raise OptionError(f"--vectors: as={SIMILARITY} goes with --model {SIMILARITY}, and the model is {given['model']!r}")
    given["model"] = f"{SIMILARITY}:{read_vectors_option(text)[0]}"
    parameters["vectors"] = None


def are_targets(parameters: Mapping[str, Any]) -> bool:
    """Whether vectors are what is explained. Raises OptionError for other targets beside them."""
    text = parameters.get("vectors")
    explained = text is not None and read_vectors_option(text)[1] == TARGETS
    if explained and parameters.get("target"):
        raise OptionError("--vectors: as targets they are what is explained; leave out --target, or take them as covariates")
    return explained


def beside(items: Items, text: str | None) -> Items:
    """The items with the vectors of the option, if it was given."""
    if text is None:
        return items
    from genz_ppl.profiles.joining import with_vectors

    return with_vectors(items, *read_vectors_option(text))


def noted(source: str, text: str | None) -> str:
    """What a record says of SOURCE with its vectors."""
    return source if text is None else f"{source}{_BESIDE}{',as='.join(read_vectors_option(text))}"


def recorded(source: str, roles: Schema) -> tuple[str, Schema, str | None]:
    """The reverse of `noted`: SOURCE, the roles of its own columns, and the vectors beside it."""
    plain, found, text = source.partition(_BESIDE)
    if not found:
        return source, roles, None
    from genz_ppl.profiles.joining import without_vectors

    return plain, without_vectors(roles, read_vectors_option(text)[0]), text


def open_to_predict(source: str, needed: Schema, text: str | None, written: Writing) -> Items:
    """The items of SOURCE with the columns that predictions need, vectors of the option among them."""
    from genz_ppl.data import open_like

    if text is None:
        return open_like(source, needed, **written)
    file, role = read_vectors_option(text)
    if role != COVARIATES:
        raise OptionError(f"--vectors: predictions take them as {COVARIATES} only; leave out ,as={role}")
    from genz_ppl.profiles.joining import with_vectors, without_vectors

    own = without_vectors(needed, file)
    if own.covariates == needed.covariates:
        raise OptionError(f"--vectors {file}: the run has no vectors of its encoder among its covariates; leave it out")
    return with_vectors(open_like(source, own, **written), file, role)
