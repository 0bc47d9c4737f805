"""What a foundation model is: any object with these three methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from genz_ppl.types import Contrast, Item


@runtime_checkable
class FoundationModel(Protocol):
    """Answers yes/no questions about items and words new ones. No base class is needed.

    A model that has `propose_both(contrast, n)` is asked for what either group has at once: two lists as of `propose`, for the
    contrast and for its reverse.
    """

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """Answer every feature about every item: (len(items), len(features)) of 1., 0. and NaN (no valid answer)."""
        ...

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Word what the positive items share and the negative ones lack: up to n feature texts, best first."""
        ...

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n feature texts from a task description alone (the 0-shot baseline): no posterior is involved."""
        ...
