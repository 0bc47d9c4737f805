"""Everything that a run has answers to, as one model beside its short list: weights that shrink need no choice of questions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from genz_ppl.diagnostics.measures import r2
from genz_ppl.discovery.run.progress import FeatureRecord, Progress, asked, unpack
from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.start import first_state
from genz_ppl.inference.state import State
from genz_ppl.inference.worth.candidates import finalists, is_balanced
from genz_ppl.settings import CALIBRATION, DiscoverSettings

# E- and M-steps of the fit, and parts in which training items are left out.
STEPS, FOLDS = 30, 5


@dataclass(frozen=True)
class Pool:
    """The model of all questions that were answered on every training item. progress: the run with it in place of its own.

    list_r2, pool_r2: of training items left out, one fifth at a time, by the questions of the list alone and by all; the list was
    chosen with these items in sight, so that the difference is rather too small.
    """

    progress: Progress
    list_r2: float
    pool_r2: float

    @property
    def n_questions(self) -> int:
        """How many there are, those of the list among them."""
        return len(self.progress.active)


def pool_of(progress: Progress, fitted: FittedItems, settings: DiscoverSettings) -> Pool:
    """Fit the model of all questions whose answers are known. fitted: the run's training items.

    The questions of the list come first; others join if they are neither too rare nor too common and answer like none before
    them. Raises OptionError for a model whose weights have no closed form, so that they cannot shrink.
    """
    state = progress.state
    if not state.model.has_closed_form:
        raise OptionError(
            f"predict_with: pool needs weights that shrink, which the link {settings.link} with the likelihood "
            f"{settings.likelihood} does not have; choose list"
        )
    listed = [record.text for record in progress.active]
    others = [text for text in _answered(progress, settings.smallest_share) if text not in set(listed)]
    columns = np.stack([unpack(progress.pool[text]) for text in (*listed, *others)], axis=1) if others else progress.train_answers
    used, left = columns[:, : len(listed)], columns[:, len(listed) :]
    chosen = finalists(np.zeros(left.shape[1]), left, used, left.shape[1])
    answers = torch.from_numpy(np.concatenate([used, left[:, chosen]], axis=1))
    texts = [*listed, *(others[index] for index in chosen)]
    whole = fitted_to(replace(fitted, answers=answers), settings)
    records = [FeatureRecord(f"p{number}", text, "pool", float("nan"), 0) for number, text in enumerate(texts, start=1)]
    pooled = replace(progress, state=whole, features=records, best=None, outcome={})
    alone, beside = (left_out(replace(fitted, answers=some), settings) for some in (answers[:, : len(listed)], answers))
    return Pool(pooled, alone, beside)


def _answered(progress: Progress, smallest_share: float) -> list[str]:
    """Wordings with answers on all training items, neither too rare nor too common."""
    whole = [text for text, entry in progress.pool.items() if asked(entry).all()]
    return [text for text in whole if is_balanced(unpack(progress.pool[text]), smallest_share)]


def fitted_to(items: FittedItems, settings: DiscoverSettings) -> State:
    """A calibrated fit to these answers with weights that shrink."""
    with isolated(settings.seed):
        kind = (settings.link, settings.likelihood, settings.error_rate_prior)
        apart = items.state.model.features.asymmetric
        state = first_state(items.data, items.scaling, *kind, calibration=CALIBRATION, shrinkage=True, asymmetric=apart)
        coordinate(state, items.data, STEPS)
    return state


def left_out(items: FittedItems, settings: DiscoverSettings) -> float:
    """R2 of training items, each predicted from a fit to the other folds."""
    folds = np.random.default_rng(settings.seed).permutation(len(items.item_ids)) % FOLDS
    predicted = np.full(items.targets.shape, np.nan)
    for fold in range(FOLDS):
        rest, out = torch.from_numpy(folds != fold), torch.from_numpy(folds == fold)
        state = fitted_to(_rows(items, rest), settings)
        some = _rows(items, out)
        predicted[folds == fold] = predictive_mean(state, items.scaling, some.answers, some.covariates, settings.seed)
    return r2(items.targets.numpy(), predicted)


def _rows(items: FittedItems, chosen: Tensor) -> FittedItems:
    parts = {name: getattr(items, name)[chosen] for name in ("answers", "covariates", "targets")}
    return replace(items, **parts)
