"""What wordings would be worth: which are too rare or too common, and how much each would raise the bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.annotators.answers import voted
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.start import linear_residual, ridge_of
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.inference.worth.freedom import freedoms
from genz_ppl.inference.worth.judge import missed
from genz_ppl.models.features import prior_probability
from genz_ppl.types import FloatArray

# Wordings that get a full refit; the others are ranked by least squares first.
FINALISTS = 6
# Wordings whose answers differ on a smaller share of the items are one feature.
SAME = 0.01
STARTING_RATE, HIGHEST_RATE = 0.01, 0.4
#: The error rates of some wordings, (N,), NaN where nothing is known.
Rates = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True)
class Candidate:
    """A wording with its answers on the training items, (T,), and the nats it adds to the bound.

    freedoms: of its coefficients, see `freedoms`; None where all are whole. searched: how many wordings it was chosen from.
    """

    text: str
    answers: FloatArray
    gain: float
    state: State
    freedoms: tuple[float, ...] | None = None
    searched: float = 1.0


def is_balanced(answers: FloatArray, smallest_share: float) -> bool:
    """Whether yes-answers make up at least `smallest_share` of the valid ones, and no-answers too (the 2 % / 98 % rule)."""
    valid = answers[~np.isnan(answers)]
    if len(valid) == 0:
        return False
    return bool(smallest_share <= valid.mean() <= 1 - smallest_share)


def quick_gains(state: State, data: Data, answers: FloatArray) -> FloatArray:
    """Least-squares estimate of what each candidate column would add to the log likelihood, (N,) nats.

    answers: (T, N). The part of each column that the model's features and covariates do not explain is held against what
    the model misses, as its likelihood sees it: an outlier counts no more than it would in the fit. Where features act
    through products with covariates, the best of the products counts.
    """
    filled = torch.from_numpy(np.where(np.isnan(answers), np.nanmean(answers, axis=0), answers)).to(data.targets.device)
    with torch.no_grad():
        residual = torch.nan_to_num(missed(state, data))
        modifiers = state.model.link.modifiers(data.covariates)
        error = data.targets - state.model.link(state.posterior, data.covariates)
        ridge = ridge_of(state.model.link, float(error.square().nanmean()))
    gains = []
    for modifier in modifiers.T:
        columns = linear_residual(state.posterior, data, filled * modifier.unsqueeze(1), ridge)
        size = (columns**2).sum(0)[:, None] * (residual**2).sum(0)
        share = torch.where(size > 1e-9 * len(columns), (columns.T @ residual) ** 2 / size.clamp(min=1e-300), 0.0)
        gains.append((-0.5 * len(columns) * torch.log1p(-share.clamp(max=1 - 1e-12))).sum(1))
    gain: FloatArray = torch.stack(gains).amax(0).cpu().numpy()
    return gain


def rank_candidates(
    judge: State,
    data: Data,
    texts: list[str],
    answers: FloatArray,
    steps: int,
    rates: Rates | None = None,
    given: Tensor | None = None,
) -> list[Candidate]:
    """The finalists among the wordings, by gain of the judge's bound after a refit, best first. judge: see `judge_of`.

    Without shortcuts all that differ are finalists.

    rates: the error rates at which wordings start, if anything is known of them; it is asked about finalists only. given: what
    each of several annotators has answered, (T, N, A), of which `answers` is the vote.
    """
    quick = judge.model.shortcuts
    gains = quick_gains(judge, data, answers) if quick else np.zeros(len(texts))
    present = data.answers if given is None else voted(data.answers, judge.error_rates)
    order = finalists(gains, answers, present.cpu().numpy(), FINALISTS if quick else len(texts))
    _, base_bound = better_start(judge, data, steps)
    candidates = []
    starts = np.full(len(order), np.nan) if rates is None else rates([texts[index] for index in order])
    for index, rate in zip(order, starts.tolist(), strict=True):
        known = torch.from_numpy(answers) if given is None else given
        column = known[:, index : index + 1].to(data.targets.device)
        enlarged = data.with_answers(torch.cat([data.answers, column], dim=1))
        trial, bound = better_start(extended(judge, column, rate), enlarged, steps)
        shares = freedoms(trial, enlarged)
        own = None if shares is None else tuple(shares[-1])
        candidates.append(Candidate(texts[index], answers[:, index], bound - base_bound, trial, own))
    return sorted(candidates, key=lambda candidate: -candidate.gain)


def better_start(
    state: State, data: Data, steps: int, fitted: Callable[[State, Data, int], Bound] = refit
) -> tuple[State, float]:
    """The better of two refits, and its bound: from the posteriors as they stand, and from the answers. fitted: makes them.

    Posteriors fitted without a feature have already bent to explain what it would; from there its gain can look too small.
    """
    warm, fresh = state.copy(), state.copy()
    fresh.posterior = fresh.prior(data.answers)
    warm_bound, fresh_bound = fitted(warm, data, steps).total, fitted(fresh, data, steps).total
    return (warm, warm_bound) if warm_bound >= fresh_bound else (fresh, fresh_bound)


def finalists(gains: FloatArray, answers: FloatArray, used: FloatArray, most: int = FINALISTS) -> list[int]:
    """At most so many candidates, the largest quick gains first, but none that answers like a feature in use or a better one.

    gains: (N,); answers: (T, N); used: (T, K). The opposite of a wording counts as the same.
    """
    columns = [*answers.T, *used.T]
    return distinct(gains, lambda one, other: _disagreement(columns[one], columns[other]), range(len(gains), len(columns)), most)


def distinct(gains: FloatArray, disagreement: Callable[[int, int], float], used: Sequence[int], most: int) -> list[int]:
    """The same by number. disagreement: of two columns, the first a candidate; used: the numbers of those in use."""
    chosen: list[int] = []
    # Rounded, so that of a wording and its opposite the one proposed first wins, not the one that rounding favours.
    for index in np.argsort(-np.round(gains, 6), kind="stable").tolist():
        if len(chosen) == most:
            break
        if all(disagreement(index, other) > SAME for other in (*used, *chosen)):
            chosen.append(index)
    return chosen


def _disagreement(one: FloatArray, other: FloatArray) -> float:
    both = ~(np.isnan(one) | np.isnan(other))
    share = float((one[both] != other[both]).mean()) if both.any() else 0.5
    return min(share, 1 - share)


def extended(state: State, column: Tensor, known_rate: float = float("nan")) -> State:
    """The state with one more feature whose posterior starts at its answers, (T, 1), or of annotators (T, 1, A).

    known_rate: its error rate as repeated answers tell it, NaN if they do not. Without one it starts low: EM lowers a rate
    that starts at the prior's mean so slowly that a wording that is simply right would look worthless after the few steps of
    a trial.
    """
    kept = list(range(state.posterior.shape[1]))
    if column.dim() == 3:  # at the rates that annotators have in common
        return state.with_columns(kept, prior_probability(column, state.model.features.rates(1)))
    start = min(max(known_rate, STARTING_RATE), HIGHEST_RATE) if known_rate == known_rate else STARTING_RATE
    rate = torch.tensor([start], dtype=torch.float64, device=column.device)
    larger = state.with_columns(kept, prior_probability(column, rate))
    larger.error_rates[-1] = start
    return larger
