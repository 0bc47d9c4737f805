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
from genz_ppl.inference.joint_normal import fit_joint_normal
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import predictive_mean
from genz_ppl.inference.start import first_state
from genz_ppl.inference.state import State
from genz_ppl.inference.worth.candidates import finalists, is_balanced
from genz_ppl.models.features import SMALLEST_ERROR_RATE
from genz_ppl.settings import CALIBRATION, DiscoverSettings
from genz_ppl.types import FloatArray

# E- and M-steps of the fit, and parts in which training items are left out.
STEPS, FOLDS = 30, 5
# Answers that a question must have beside those answered on all training items, and the most questions then.
FEWEST_ANSWERS, MOST_QUESTIONS = 15, 100
# Strengths of the prior where answers are missing, in items; the mean of what is predicted with each counts, which on films was
# better than the one that predicts items left out best.
STRENGTHS = (30.0, 100.0, 400.0)


@dataclass(frozen=True)
class Pool:
    """The model of all questions that were answered. progress: the run with it in place of its own.

    list_r2, pool_r2: of training items left out, one fifth at a time, by the questions of the list alone and by all; the list was
    chosen with these items in sight, so that the difference is rather too small. Where answers are missing pool_r2 is from those
    that there are, and a new item, which is asked about everything, is predicted better.
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
    them. Those that were screened, and so have answers on a part of the items only, join as well if that predicts items left
    out better, see `joint_normal`. Raises OptionError for a model whose weights have no closed form, so that they cannot shrink.
    """
    state = progress.state
    if state.model.features.annotators:
        raise OptionError("predict_with: pool takes one annotator without labels; choose list")
    if not state.model.has_closed_form:
        raise OptionError(
            f"predict_with: pool needs weights that shrink, which the link {settings.link} with the likelihood "
            f"{settings.likelihood} does not have; choose list"
        )
    listed = [record.text for record in progress.active]
    whole, partial = _answered(progress, settings.smallest_share, set(listed))
    columns = np.stack([unpack(progress.pool[text]) for text in (*listed, *whole)], axis=1) if whole else progress.train_answers
    used, left = columns[:, : len(listed)], columns[:, len(listed) :]
    chosen = finalists(np.zeros(left.shape[1]), left, used, left.shape[1])
    answers = torch.from_numpy(np.concatenate([used, left[:, chosen]], axis=1))
    texts = [*listed, *(whole[index] for index in chosen)]
    items = replace(fitted, answers=answers)
    best, (alone, *_) = fitted_to(items, settings), left_out(replace(fitted, answers=answers[:, : len(listed)]), settings)
    partial = partial[: max(0, MOST_QUESTIONS - len(texts))] if takes_missing_answers(fitted) else []
    if not partial:
        beside = left_out(items, settings)[0]
    else:
        more = torch.from_numpy(np.stack([unpack(progress.pool[text]) for text in partial], axis=1))
        beside, with_more = left_out(items, settings, more)
        if with_more > beside:
            texts, best, beside = [*texts, *partial], with_partial(best, items, more), with_more
    records = [FeatureRecord(f"p{number}", text, "pool", float("nan"), 0) for number, text in enumerate(texts, start=1)]
    return Pool(replace(progress, state=best, features=records, best=None, outcome={}), alone, beside)


def _answered(progress: Progress, smallest_share: float, listed: set[str]) -> tuple[list[str], list[str]]:
    """Wordings besides the list's, neither too rare nor too common, with answers on all training items, and those with answers on
    enough of them, the most first."""
    known = {text: entry for text, entry in progress.pool.items() if text not in listed}
    known = {text: entry for text, entry in known.items() if is_balanced(unpack(entry), smallest_share)}
    whole = [text for text, entry in known.items() if asked(entry).all()]
    counts = {text: int((entry >= 0).sum()) for text, entry in known.items() if text not in set(whole)}
    partial = [text for text, count in sorted(counts.items(), key=lambda pair: -pair[1]) if count >= FEWEST_ANSWERS]
    return whole, partial


def takes_missing_answers(fitted: FittedItems) -> bool:
    """Whether what a fit leaves over is normal and each item's own."""
    model = fitted.state.model
    return not model.likelihood.robust and not fitted.levels


def _beside(state: State, items: FittedItems, partial: Tensor) -> FloatArray:
    """What a joint normal distribution is fitted to: E z of the questions that all items have answers to, the answers to the
    others, (T, N), covariates, and what the targets are beside the fit, standardised."""
    data = items.data
    prior = state.prior(data.answers)
    with torch.no_grad():
        left = data.targets - state.model.link(prior, data.covariates)
    values: FloatArray = torch.cat([prior, partial, data.covariates, left], dim=1).numpy()
    return values


def with_partial(state: State, items: FittedItems, partial: Tensor) -> State:
    """A fit that predicts besides what questions with missing answers, (T, N), tell of what it leaves over.

    Weights and noise are those of the conditional distribution of a joint normal one, the mean over STRENGTHS of its prior.
    """
    n_whole, n_features = items.answers.shape[1], items.answers.shape[1] + partial.shape[1]
    known, values = n_features + state.model.link.covariate_weights.shape[0], _beside(state, items, partial)
    found = [fit_joint_normal(values, strength).regression(known) for strength in STRENGTHS]
    weights, intercept, rest = (torch.from_numpy(np.mean(parts, axis=0)) for parts in zip(*found, strict=True))
    with isolated(0), torch.no_grad():
        larger = state.with_columns(list(range(n_whole)), torch.nan_to_num(partial, nan=0.5))
        larger.error_rates[n_whole:] = SMALLEST_ERROR_RATE
        link = larger.model.link
        coefficients = link.coefficients().detach().clone()
        coefficients[:, 0] += weights[:n_features]
        link.set_solution(coefficients, link.intercept + intercept, link.covariate_weights + weights[n_features:])
        larger.model.likelihood.update(rest.diagonal()[None], torch.ones(1, len(rest), dtype=torch.bool))
    return larger


def fitted_to(items: FittedItems, settings: DiscoverSettings) -> State:
    """A calibrated fit to these answers with weights that shrink."""
    with isolated(settings.seed):
        kind = (settings.link, settings.likelihood, settings.error_rate_prior)
        apart = items.state.model.features.asymmetric
        state = first_state(items.data, items.scaling, *kind, calibration=CALIBRATION, shrinkage=True, asymmetric=apart)
        coordinate(state, items.data, STEPS)
    return state


def left_out(items: FittedItems, settings: DiscoverSettings, partial: Tensor | None = None) -> list[float]:
    """R2 of training items, each predicted from a fit to the other folds. partial: (T, N), further questions with missing
    answers; then also with them, see `with_partial`."""
    folds = np.random.default_rng(settings.seed).permutation(len(items.item_ids)) % FOLDS
    predicted = np.full((1 if partial is None else 2, *items.targets.shape), np.nan)
    for fold in range(FOLDS):
        out = torch.from_numpy(folds == fold)
        rest, some = _rows(items, ~out), _rows(items, out)
        state = fitted_to(rest, settings)
        predicted[:, folds == fold] = predictive_mean(state, items.scaling, some.answers, some.covariates, settings.seed)
        if partial is not None:
            blank, known = _beside(state, some, partial[out]), _beside(state, rest, partial[~out])
            blank[:, -items.targets.shape[1] :] = np.nan
            found = np.mean([fit_joint_normal(known, strength).filled(blank)[0] for strength in STRENGTHS], axis=0)
            predicted[1, folds == fold] += found[:, -items.targets.shape[1] :] * items.scaling.target_spread.numpy()
    return [r2(items.targets.numpy(), one) for one in predicted]


def _rows(items: FittedItems, chosen: Tensor) -> FittedItems:
    parts = {name: getattr(items, name)[chosen] for name in ("answers", "covariates", "targets")}
    return replace(items, **parts)
