"""How large a race of wordings is: what `screening` goes by, and what a plan reckons with before anything heavy is loaded."""

from __future__ import annotations

# Items of the first round where the split is vague, and the least share of them where it is sharp; wordings at a time.
FIRST_ROUND, FEWER, WAVE = 20, 0.6, 3
# How many times more items a round has than the one before.
GROWTH = 4
# Entries of the pool that a degree of care looks at again.
MOST_CLOSE = 12

# How many times more answers the best wording has to stay good with, again and again, before all items are asked about; and
# how many may fail there in one race.
MORE, MOST_FALLEN = 4, 2


def growing(first: int, last: int, limit: int) -> list[int]:
    """Items after each round of a race."""
    sizes = [min(first, last, limit)]
    while sizes[-1] < min(last, limit):
        sizes.append(min(GROWTH * sizes[-1], last, limit))
    return sizes


def checkpoints(last: int, limit: int) -> list[int]:
    """Items after which the best wording of a race is looked at again, where many are left when its last round is over."""
    sizes = [last * MORE]
    while sizes[-1] * 2 <= limit:
        sizes.append(sizes[-1] * MORE)
    return sizes[:-1]
