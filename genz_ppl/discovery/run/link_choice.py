"""`--link auto`: whether it is open, and which link the held-out folds of a run's training items speak for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from genz_ppl.discovery.run.progress import Progress, unpack
from genz_ppl.inference.state import Data
from genz_ppl.inference.worth.links import LINEAR, LinkScore, link_scores
from genz_ppl.models import LIKELIHOODS
from genz_ppl.settings import AUTO, BY_HAND, DiscoverSettings


def may_choose_link(settings: DiscoverSettings, likelihood: str) -> bool:
    """Whether a run looks at other links once its search is over: nobody chose, and y is numbers, with steps in closed form.

    Counts and classes stay linear, and so do embeddings of which the direction alone counts.
    """
    closed = settings.inference in BY_HAND and settings.shortcuts and LIKELIHOODS[likelihood].standardised
    return settings.link == AUTO and closed and not settings.direction


def best_link(progress: Progress, data: Data, seed: int) -> tuple[str, dict[str, dict[str, float]]]:
    """The link that the folds speak for, and the scores of those beside the linear one, by `link_scores`.

    Every wording that was ever answered may be chosen in a fold; nothing is asked.
    """
    wordings = np.stack([unpack(entry) for entry in progress.pool.values()], axis=1) if progress.pool else np.zeros((1, 0))
    scores = link_scores(progress.state, data, wordings, seed) if progress.active else {}
    clear = {name: score.gain for name, score in scores.items() if score.is_clear}
    return max(clear, key=clear.__getitem__, default=LINEAR), {name: asdict(score) for name, score in scores.items()}


def words_of(link: str, scores: dict[str, dict[str, Any]]) -> str:
    """Why a run has the link that it has, in one line; "" where it did not look at others."""
    if not scores:
        return ""
    each = [f"{name} {score['gain']:+.1f} ± {score['standard_error']:.1f}" for name, score in scores.items()]
    told = f"against linear, nats on held-out folds of the training items: {', '.join(each)}"
    clear = LinkScore(**scores[link]).is_clear if link in scores else False
    return f"link {link}, by --link auto ({told}; {'more' if clear else 'none more'} than two standard errors)"
