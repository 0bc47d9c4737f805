"""What the pool knows of a contrast: wordings that were tried, and how well they tell its groups apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from genz_ppl.discovery.run.progress import Progress
from genz_ppl.rows import ids_of, places_of
from genz_ppl.types import Contrast, Item, Tried

# The most wordings that are named, and the answers each must have on either side.
MOST_TRIED, FEWEST_ANSWERS = 12, 3
Completed = Callable[[Contrast], Contrast]


def with_tried(progress: Progress, items: Sequence[Item]) -> Completed:
    """Names in a contrast the wordings of the run's pool that are not in use, by their answers about its items.

    items: the training items. Those that tell the groups apart best come first; in the order of letters among equals, so that
    a resumed run asks the same.
    """

    def completed(contrast: Contrast) -> Contrast:
        sides = [places_of(ids_of(side), ids_of(items)) for side in (contrast.positive, contrast.negative)]
        found = []
        for text, answers in progress.pool.items():
            known = [answers[side][answers[side] >= 0] for side in sides]
            if text not in contrast.existing and min(map(len, known)) >= FEWEST_ANSWERS:
                found.append(Tried(text, *(round(float(side.mean()), 4) for side in known)))
        ranked = sorted(found, key=lambda one: (-abs(one.positive - one.negative), one.text))
        return replace(contrast, tried=tuple(ranked[:MOST_TRIED]))

    return completed
