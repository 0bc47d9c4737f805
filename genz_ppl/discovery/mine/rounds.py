"""How large a race of wordings is: what `screening` goes by, and what a plan reckons with before anything heavy is loaded."""

from __future__ import annotations

# Items of the first round where the split is vague, and the least share of them where it is sharp; wordings at a time.
FIRST_ROUND, FEWER, WAVE = 20, 0.6, 3
# Entries of the pool that a degree of care looks at again.
MOST_CLOSE = 12


def doubling(first: int, last: int, limit: int) -> list[int]:
    """Items after each round of a race."""
    sizes = [min(first, last, limit)]
    while sizes[-1] < min(last, limit):
        sizes.append(min(2 * sizes[-1], last, limit))
    return sizes
