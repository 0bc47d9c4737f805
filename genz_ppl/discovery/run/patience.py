"""When a run has looked long enough: additions in a row that find nothing, held against how often they found something before."""

from __future__ import annotations

import math

from genz_ppl.discovery.run.progress import Progress
from genz_ppl.settings import DiscoverSettings

# A run whose finds were rare, in at most so many of its steps, goes on while as long a row of failures is likelier than this.
RARE, BY_CHANCE = 0.25, 0.05


def failures_borne(settings: DiscoverSettings, progress: Progress) -> int:
    """The failures in a row that end a run: `patience`, or more where features were found seldom from the start."""
    return max(settings.patience, _failures_by_chance(settings, progress))


def has_run_dry(settings: DiscoverSettings, progress: Progress) -> bool:
    """Whether a round has left the features as it found them, which ends Algorithm 4; one that looked for some and found none
    does so only where that is no chance."""
    if progress.added_in_cycle > 0:
        return in_use(progress) == progress.cycle_start
    return progress.additions_done == 0 or progress.failures >= _failures_by_chance(settings, progress)


def in_use(progress: Progress) -> str:
    """The wordings in use, whatever their order: their places in the pool."""
    places = {text: place for place, text in enumerate(progress.pool)}
    return " ".join(map(str, sorted(places[record.text] for record in progress.active)))


def _failures_by_chance(settings: DiscoverSettings, progress: Progress) -> int:
    """As many failures in a row as happen by chance one time in twenty at the rate at which steps have found features so far.

    A miner that names the right thing once in five contrasts fails five times in a row every third time, with much left to find.
    Where nothing was found there is no rate; as published nobody asks for one. The steps are those up to the last find.
    """
    steps = progress.features[-1].added_at if progress.features and not settings.paper else 0
    rate = len(progress.features) / steps if steps > 0 else 1.0
    return math.ceil(math.log(BY_CHANCE) / math.log(1 - rate)) if rate <= RARE else 0
