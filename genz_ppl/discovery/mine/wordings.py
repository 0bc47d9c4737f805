"""What a model is asked to word: questions from a task alone, and what tells the two sides of a contrast apart."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection, Sequence

import numpy as np

from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.task import SHOWN
from genz_ppl.errors import GenzWarning, UnusableReplyError
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, Item


def suggested(oracle: Oracle, settings: DiscoverSettings, items: Sequence[Item], task: str) -> list[str]:
    """Start from knowledge: questions from the task alone, some of the items shown with it; none, with a warning, from a model
    that has none to give."""
    shown = np.sort(np.random.default_rng(settings.seed).permutation(len(items))[:SHOWN])
    try:
        return oracle.suggest([items[t] for t in shown.tolist()], task, settings.suggestions or 0)
    except UnusableReplyError as error:
        warnings.warn(f"the run starts without suggestions: {error}", GenzWarning, stacklevel=2)
        return []


def proposed(oracle: Oracle, settings: DiscoverSettings, contrast: Contrast, vetoed: Collection[str] = ()) -> dict[str, int]:
    """What the model proposes, asked one way round or both, with the side of the split that each is to name, +1 or -1; none of
    those that people do not want."""
    if not contrast.positive or not contrast.negative:
        return {}
    n, polarity = settings.proposals, settings.polarity
    if polarity == "both":
        positive, negative = oracle.propose_both(contrast, n)
    elif polarity == "positive":
        positive, negative = oracle.propose(contrast, n), []
    else:
        positive, negative = [], oracle.propose(contrast.reversed(), n)
    lists = [[(text, 1) for text in positive], [(text, -1) for text in negative]]
    # The best of either side first: which of the two is easier to word is not known.
    turns = [turn for turn in itertools.chain.from_iterable(itertools.zip_longest(*lists)) if turn is not None]
    sides: dict[str, int] = {}
    for text, side in turns:
        if text not in vetoed:
            sides.setdefault(text, side)
    return sides
