"""Which training items of a run questions are sought on."""

from __future__ import annotations

from collections.abc import Sequence

from genz_ppl.data import Schema, Split
from genz_ppl.data.split import set_aside
from genz_ppl.settings import BY_HAND, DiscoverSettings


def sampled(split: Split, settings: DiscoverSettings, schema: Schema, raters: Sequence[str] = ()) -> Split:
    """A split of which `DiscoverSettings.sample` training items are for seeking questions, and the others for the last fit.

    All are for both where effects differ by group, several annotate, or steps are others than those derived by hand here.
    """
    by_hand = settings.inference in BY_HAND and settings.shortcuts and settings.engine == "here"
    plain = by_hand and not raters and schema.varying is None
    return set_aside(split, settings.sample, settings.seed) if settings.sample and plain else split
