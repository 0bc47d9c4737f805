"""`--likelihood auto`: which likelihood targets speak for, by what the column holds and by the training items alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genz_ppl.data import Items
from genz_ppl.inference.worth.counts import density_gains
from genz_ppl.settings import AUTO, BY_HAND, DiscoverSettings
from genz_ppl.types import FloatArray, Numbers

GAUSSIAN, STUDENT_T = "gaussian", "student_t"
# Of counts the largest value is rare; of a scale that ends, such as one to five stars, it is not: it has more than this share.
LARGEST_SHARE, FEWEST_LARGEST = 0.02, 2
# More columns, such as the numbers of an embedding, are not taken for counts.
MOST_COUNTS = 4


@dataclass(frozen=True)
class Choice:
    """A likelihood, and what the targets were taken for, "" where nothing is to be said."""

    likelihood: str
    taken_for: str = ""


def likelihood_for(items: Items, train: Items, settings: DiscoverSettings) -> Choice:
    """The likelihood that is given; where it is left open, the one that the targets speak for.

    Two classes, or 0 and 1 alone: bernoulli; more classes: categorical; counts (`looks_like_counts`) poisson, or
    negative_binomial if they vary more than their mean; other numbers gaussian, from which a run may turn to student_t.
    items: of which all must suit the likelihood; train: those of them that decide.
    """
    if settings.likelihood != AUTO:
        return Choice(settings.likelihood)
    if items.class_names:
        kind = "bernoulli" if all(len(names) == 2 for names in items.class_names) else "categorical"
        return Choice(kind, _classes(items.class_names[0]))
    if settings.direction or items.targets is None or train.targets is None:
        return Choice(GAUSSIAN)
    some = items.targets[:1000]
    if _is_truth(some) and np.unique(items.targets[~np.isnan(items.targets)]).tolist() == [0, 1]:
        return Choice("bernoulli", _classes(("0", "1")))
    if items.targets.shape[1] > MOST_COUNTS or not all(map(looks_like_counts, train.targets.T)) or not _whole(items.targets):
        return Choice(GAUSSIAN)
    return _of_counts(np.asarray(train.targets, dtype=np.float64))


def may_turn_robust(settings: DiscoverSettings, choice: Choice, n_targets: int) -> bool:
    """Whether a run looks at the tails of the noise: of one number, where steps have closed forms and nobody chose.

    Not where the fit is calibrated, as it is with several targets: most of what it raises is the density of the targets given the
    answers alone, and that has heavy tails wherever answers are wrong.
    """
    open_still = settings.likelihood == AUTO and choice.likelihood == GAUSSIAN and not settings.direction
    closed = settings.inference in BY_HAND and settings.shortcuts and settings.link != "neural"
    return open_still and closed and n_targets == 1 and not settings.calibration


def looks_like_counts(values: Numbers) -> bool:
    """Whether the numbers of a column, (T,) with NaN where missing, are spread as counts are.

    Whole, from 0 on; every whole number from 0 to the median occurs, which ids, years and prices do not have; and the largest
    one is rare, which on a scale that ends, such as stars or grades, it is not.
    """
    known = values[~np.isnan(values)]
    if not len(known) or not _whole(known) or known.min() > 0:
        return False
    low = np.arange(max(1, math.ceil(np.median(known))) + 1)
    largest = int((known == known.max()).sum())
    return bool(np.isin(low, known).all()) and largest <= max(FEWEST_LARGEST, LARGEST_SHARE * len(known))


def _of_counts(targets: FloatArray) -> Choice:
    """By the densities of the targets without features: that of counts must be clearly above the Gaussian one."""
    number = int((~np.isnan(targets)).sum(0).max())
    gains = sum((density_gains(column[~np.isnan(column)]) for column in targets.T), np.zeros(2))
    poisson, dispersed = gains.tolist()
    if max(poisson, dispersed) <= targets.shape[1] * math.log(number):
        return Choice(GAUSSIAN)
    varies = dispersed - poisson > 0.5 * targets.shape[1] * math.log(number)
    more = "more than its mean" if varies else "as its mean does"
    beside = f"{max(poisson, dispersed) / number:.2g} nats an item above a Gaussian"
    return Choice("negative_binomial" if varies else "poisson", f"a count that varies {more} ({beside})")


def _is_truth(values: Numbers) -> bool:
    """Whether all that are there are 0 or 1."""
    return bool(((values == 0) | (values == 1) | np.isnan(values)).all())


def _whole(values: Numbers) -> bool:
    """Whether all that are there are 0, 1, 2, ..."""
    known = values[~np.isnan(values)]
    return bool(((known >= 0) & (known == np.round(known))).all())


def _classes(names: tuple[str, ...]) -> str:
    from genz_ppl.data.values import listing

    return f"a class ({listing(names)})"
