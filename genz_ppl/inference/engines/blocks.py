"""Blocks of items whose working set stays in a core's cache, and work on several of them at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from genz_ppl.inference.isolation import SMALL, allowed_threads, one_thread

Result = TypeVar("Result")


def blocks_of(n_items: int, largest: int) -> list[slice]:
    """As few blocks of at most `largest` items as cover all of them, of nearly equal size."""
    number = max(1, -(-n_items // largest))
    edges = [n_items * block // number for block in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def lanes_for(blocks: Sequence[slice], *values: Tensor) -> int:
    """How many blocks to work on at once: as many as torch may have threads, or one if there is little to do or it is not theirs.

    values: what the work goes through.
    """
    large = sum(part.numel() for part in values) >= SMALL and all(part.device.type == "cpu" for part in values)
    return max(1, min(allowed_threads(), len(blocks))) if large else 1


def each_block(work: Callable[[slice, int], Result], blocks: Sequence[slice], lanes: int = 1) -> list[Result]:
    """work(block, lane) of every block, in their order; blocks of the same lane, 0 to lanes - 1, come one after the other.

    Each lane is a thread of Python's with one of torch's: an operation on a block is too short to be shared, and Python is not
    locked while it runs. What a block gives does not depend on the number of lanes.
    """

    if lanes == 1:
        return [work(block, 0) for block in blocks]

    def one_lane(lane: int) -> list[Result]:
        with torch.no_grad():  # a thread has a setting of its own
            return [work(block, lane) for block in blocks[lane::lanes]]

    with one_thread():
        others = [_helpers(os.getpid()).submit(one_lane, lane) for lane in range(1, lanes)]
        try:
            found = [one_lane(0)]
        finally:
            # Also when this lane fails or is interrupted: the others must not go on with what the caller thinks is its own.
            rest = [other.result() for other in others]
    found += rest
    return [found[number % lanes][number // lanes] for number in range(len(blocks))]


class Results:
    """Small results of blocks, side by side in arrays of their own.

    Each by itself would lie where a block has just given back its working set, which then no longer has room for the next
    block's: with thousands of blocks a process would hold as many working sets.
    """

    def __init__(self, blocks: Sequence[slice]) -> None:
        self._number = {items.start: number for number, items in enumerate(blocks)}
        self._rooms: dict[int, Tensor] = {}

    def put(self, items: slice, *values: Tensor) -> list[Tensor]:
        """What a block has found, of the same shapes as all others, as it is kept."""
        kept = []
        for place, value in enumerate(values):
            if place not in self._rooms:
                self._rooms.setdefault(place, value.new_empty(len(self._number), *value.shape))
            kept.append(self._rooms[place][self._number[items.start]].copy_(value))
        return kept


@lru_cache(maxsize=1)
def _helpers(process: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked process has none of its parent's and needs its own."""
    return ThreadPoolExecutor(
        max_workers=os.cpu_count(), thread_name_prefix="genz-block", initializer=torch.set_num_threads, initargs=(1,)
    )
