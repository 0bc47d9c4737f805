"""Who answers in a run, by name."""

from __future__ import annotations

from collections.abc import Sequence

from genz_ppl.errors import OptionError
from genz_ppl.types import GOLD

#: The most annotators of a run.
MOST_ANNOTATORS = 10


def raters_of(names: Sequence[str], gold: bool) -> tuple[str, ...]:
    """Whose error rates are apart, people with labels last; nobody's where one model answers alone. names: who answers."""
    return (*names, *([GOLD] if gold else [])) if gold or len(names) > 1 else ()


def check_names(names: Sequence[str]) -> None:
    """Raise OptionError for annotators that are named twice, and for too many."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise OptionError(f"annotators: {twice} is named twice; name each once")
    if len(names) > MOST_ANNOTATORS:
        raise OptionError(f"annotators: expected at most {MOST_ANNOTATORS}, got {len(names)}")
