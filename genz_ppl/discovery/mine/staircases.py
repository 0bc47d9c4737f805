"""Several questions that are steps of one number: better given to the model as that number."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from genz_ppl.data import Items
from genz_ppl.errors import GenzWarning, OptionError
from genz_ppl.llm.rules.predicates import Comparison, parse

STEPS = 3  # questions about one number
# Remainders of larger numbers are steps, too: half a range, a quarter, an eighth.
LONGEST_ROUND = 12


def warn_of_staircases(items: Items, texts: Sequence[str]) -> None:
    """One GenzWarning for each column of numbers without gaps, no covariate yet, on which three or more questions are steps."""
    if items.name == "binary":  # there the number is what is to be explained
        return
    for column, count in Counter(filter(None, map(_stepped, texts))).items():
        if count < STEPS or column in items.covariate_names:
            continue
        if all(type(item.fields.get(column)) in (int, float) for item in items):
            warnings.warn(
                f"{items.name}: {count} of {len(texts)} questions are steps of the number {column!r}: with --covariate "
                "(covariates=) the model has the number itself, and the questions explain what it leaves over",
                GenzWarning,
                stacklevel=2,
            )


def _stepped(text: str) -> str | None:
    """The column of which a question is a step, None for any other question."""
    try:
        predicate = parse(text)
    except OptionError:
        return None
    if not isinstance(predicate, Comparison) or (predicate.modulus is not None and predicate.modulus <= LONGEST_ROUND):
        return None
    return predicate.field
