"""Answers as a matrix of two bits each, as state files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.discovery.run.progress import UNASKED

_IN_A_BYTE = 4
_SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8)


def to_bits(answers: Sequence[NDArray[np.int8]]) -> NDArray[np.uint8]:
    """(N, ceil(T / 4)) of N columns, (T,) each, of 1, 0, -1 (no valid answer) and -2 (not asked)."""
    rows = []
    for column in answers:
        codes = np.zeros(-(-len(column) // _IN_A_BYTE) * _IN_A_BYTE, dtype=np.uint8)
        codes[: len(column)] = column - UNASKED
        rows.append(np.bitwise_or.reduce(codes.reshape(-1, _IN_A_BYTE) << _SHIFTS, axis=1))
    return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.uint8)


def from_bits(packed: NDArray[Any], n_items: int) -> list[NDArray[np.int8]]:
    """The reverse; files of earlier versions hold a byte an answer. Raises ValueError for an array of another size."""
    if packed.dtype == np.int8:
        return list(packed)
    if packed.dtype != np.uint8 or (len(packed) and packed.shape[1:] != (-(-n_items // _IN_A_BYTE),)):
        raise ValueError("its answers are not those of these items")
    return [((row[:, None] >> _SHIFTS & 3).ravel()[:n_items].astype(np.int8) + np.int8(UNASKED)) for row in packed]
