"""Blocks of items whose working set stays in a core's cache."""

from __future__ import annotations

from itertools import pairwise


def blocks_of(n_items: int, largest: int) -> list[slice]:
    """As few blocks of at most `largest` items as cover all of them, of nearly equal size."""
    number = max(1, -(-n_items // largest))
    edges = [n_items * block // number for block in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]
