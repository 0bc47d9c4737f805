"""How sure a model is of an answer, read from the log-probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def probability_of_yes(tokens: Sequence[tuple[str, Mapping[str, float]]]) -> float | None:
    """P(1) against P(0) at the answer in a reply about one item and one feature, which is under "1", or as earlier prompts ask
    under "applies"; None where it cannot be told.

    tokens: each token of the reply with the log-probabilities of its alternatives, as servers report them. Of several such
    values the last counts: before it the model may have thought aloud.
    """
    text, found = "", None
    for token, alternatives in tokens:
        bare = token.strip()
        if bare[:1] in ("0", "1") and text.rstrip().endswith(('"1":', '"applies":')):
            masses = [
                sum(math.exp(value) for other, value in alternatives.items() if other.strip()[:1] == digit) for digit in "01"
            ]
            found = masses[1] / sum(masses) if sum(masses) > 0 else None
        text += token
    return found
